"""The site's own middleware: queries made visible, and refused writes explained."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

import pindb
from testproject.queries import HEADER, QueryLog

__all__ = ["QueryLogMiddleware", "RefusedWriteMiddleware"]


class QueryLogMiddleware:
    """Puts the request's queries at the foot of every page and, for programs, into a header.

    The footer goes in when the response is done, since the session is saved after the page was rendered.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        log = QueryLog()
        # For pages that say which server they are from.
        request.query_log = log  # type: ignore[attr-defined]
        with log.recording():
            response = self.get_response(request)
        response.headers[HEADER] = log.as_header()
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        if is_page and not response.streaming:
            footer = render_to_string("board/queries.html", {"queries": log.queries})
            before, end, after = response.content.rpartition(b"</body>")
            if end:
                response.content = before + footer.encode(response.charset) + end + after
        return response


class RefusedWriteMiddleware:
    """Answers a write that `pindb.StrictPinDbRouter` refused with a page that has its message."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A page for `UnpinnedWriteException`; Django's own handling for all else."""
        if isinstance(exception, pindb.UnpinnedWriteException):
            return render(request, "board/refused.html", {"message": str(exception)}, status=500)
        return None
