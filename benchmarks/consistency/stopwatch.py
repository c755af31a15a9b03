"""Times what a rule does in a request, where it does it: in its middleware, in its router, around statements.

Every strategy gets all of these clocks, also the one that has nothing but a router.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

from benchmarks.consistency.tally import tally

__all__ = ["TimedRouter", "begin", "end"]

View = Callable[[HttpRequest], HttpResponseBase]


def begin(get_response: View) -> View:
    """A middleware, outside of the strategy's."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        # Sites have sessions, and read their cookies with or without a rule. Django parses them once.
        assert request.COOKIES is not None
        start = perf_counter()
        response = get_response(request)
        tally.rule += perf_counter() - start
        return response

    return middleware


def end(get_response: View) -> View:
    """A middleware, inside of the strategy's."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        start = perf_counter()
        response = get_response(request)
        tally.rule -= perf_counter() - start
        return response

    return middleware


class TimedRouter:
    """A router with a clock around it.

    Arguments:
        path: the router's dotted path.
    """

    def __init__(self, path: str) -> None:
        router = import_string(path)()
        self._read, self._write = router.db_for_read, router.db_for_write

    def db_for_read(self, model: Any, **hints: Any) -> Any:
        start = perf_counter()
        try:
            return self._read(model, **hints)
        finally:
            tally.rule += perf_counter() - start

    def db_for_write(self, model: Any, **hints: Any) -> Any:
        start = perf_counter()
        try:
            return self._write(model, **hints)
        finally:
            tally.rule += perf_counter() - start
