"""The demo site's addresses; a page that fails says why."""

from __future__ import annotations

import traceback

from django.http import HttpRequest, HttpResponse, HttpResponseServerError

from testproject.urls import urlpatterns

__all__ = ["handler500", "urlpatterns"]


def handler500(request: HttpRequest) -> HttpResponse:
    """The traceback, which tells a failed read from another."""
    return HttpResponseServerError(traceback.format_exc(), content_type="text/plain")
