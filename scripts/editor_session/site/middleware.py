"""The middleware that the documentation has for Strict, for a pindb that ships none."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

import pindb

__all__ = ["pin_admin"]


def pin_admin(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Pin requests that are meant to write, and all of the admin's."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD", "OPTIONS", "TRACE") or request.path.startswith("/admin/"):
            pindb.pin("default")
        return get_response(request)

    return middleware
