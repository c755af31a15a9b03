"""The admin, the pages, and a search of them."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from wagtail import urls as wagtail_urls
from wagtail.admin import urls as wagtailadmin_urls
from wagtail.documents import urls as wagtaildocs_urls
from wagtail.models import Page


def search(request: HttpRequest) -> JsonResponse:
    found = Page.objects.live().search(request.GET["q"])
    return JsonResponse([page.title for page in found], safe=False)


admin = include(wagtailadmin_urls)
if settings.STRICT and settings.HAS_URLS:
    from pindb.urls import pinned

    admin = pinned(admin)

urlpatterns = [
    path("admin/", admin),
    path("documents/", include(wagtaildocs_urls)),
    path("search/", search),
    path("", include(wagtail_urls)),
]
