"""The site's addresses."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from testproject.board import views

urlpatterns = [
    path("", views.board, name="board"),
    path("poster/", views.poster, name="poster"),
    path("new/", views.post, name="post"),
    path("<int:pk>/edit/", views.edit, name="edit"),
    path("<int:pk>/thanks/", views.thank, name="thank"),
    path("servers/<str:alias>/", views.change_server, name="server"),
    path("login/", LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]
