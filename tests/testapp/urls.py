from __future__ import annotations

from django.urls import path

from tests.testapp import views

urlpatterns = [
    path("read/", views.read),
    path("write/", views.write),
    path("declare/", views.declare),
    path("write-api/", views.write_api),
    path("write-and-fail/", views.write_and_fail),
    path("aread/", views.aread),
    path("awrite/", views.awrite),
    path("meet/<str:name>/", views.meet),
    path("stream/", views.stream),
    path("astream/", views.astream),
    path("atomic/", views.atomic),
    path("context/", views.context),
    path("exempt/", views.exempt),
    path("session/", views.session),
]
