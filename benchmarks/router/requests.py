"""µs per request: pindb's middleware beside django-multidb-router's, and no middleware at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from timeit import Timer
from typing import Any

from django.contrib.auth.models import Group
from django.db.utils import ConnectionRouter
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from multidb import PinningReplicaRouter
from multidb.middleware import PinningRouterMiddleware

import pindb
from benchmarks.router.subjects import everything_on
from benchmarks.timing import Candidate, Case
from pindb.middleware import PinDbMiddleware

__all__ = ["cases"]

REFERENCE = "django-multidb-router"

Handler = Callable[[HttpRequest], Any]


@dataclass(frozen=True)
class Stack:
    """A middleware with its router."""

    name: str
    middleware: Callable[[Handler], Handler]
    router: ConnectionRouter


def cases() -> list[Case]:
    """A visitor who never wrote, one who wrote a moment ago, one who writes."""
    stacks = [
        Stack("no middleware", lambda view: view, ConnectionRouter([])),
        Stack(REFERENCE, PinningRouterMiddleware, ConnectionRouter([PinningReplicaRouter()])),
        Stack("pindb", PinDbMiddleware, ConnectionRouter([pindb.GreedyPinDbRouter()])),
    ]
    return [
        Case(name, "µs", REFERENCE, [candidate(stack) for stack in stacks])
        for name, candidate in (
            ("request, no cookie", _no_cookie),
            ("request, pinned cookie", _pinned_cookie),
            ("request, new pin", _new_pin),
            ("async request, no cookie", _async_no_cookie),
        )
    ]


def _no_cookie(stack: Stack) -> Candidate:
    handler = stack.middleware(_finished_view())
    return Candidate(stack.name, _timer(handler, _get()).timeit, around=everything_on)


def _pinned_cookie(stack: Stack) -> Candidate:
    request = _get()
    handler = stack.middleware(_finished_view())
    return Candidate(
        stack.name, _timer(handler, request).timeit, around=partial(_fresh_cookie, stack, request)
    )


def _new_pin(stack: Stack) -> Candidate:
    handler = stack.middleware(_writing_view(stack.router))
    return Candidate(stack.name, _timer(handler, RequestFactory().post("/")).timeit, around=everything_on)


def _async_no_cookie(stack: Stack) -> Candidate:
    response = HttpResponse()

    async def view(request: HttpRequest) -> HttpResponse:
        return response

    stopwatch = partial(_time_async, stack.middleware(view), _get())
    return Candidate(stack.name, stopwatch, around=everything_on)


def _get() -> HttpRequest:
    """A GET without a cookie, its (empty) cookies parsed."""
    request: HttpRequest = RequestFactory().get("/")
    assert not request.COOKIES
    return request


def _finished_view() -> Handler:
    """A view that costs nearly nothing: for the requests whose response nobody changes."""
    response = HttpResponse()
    return lambda request: response


def _writing_view(router: ConnectionRouter) -> Handler:
    """A view that routes a write and makes its response."""

    def view(request: HttpRequest) -> HttpResponse:
        router.db_for_write(Group)
        return HttpResponse()

    return view


@contextmanager
def _fresh_cookie(stack: Stack, request: HttpRequest) -> Iterator[None]:
    """Give `request` the cookie that a writer got just now."""
    with everything_on():
        response = stack.middleware(_writing_view(stack.router))(RequestFactory().post("/"))
        request.COOKIES.clear()
        request.COOKIES.update({name: morsel.value for name, morsel in response.cookies.items()})
        yield


def _timer(handler: Handler, request: HttpRequest) -> Timer:
    return Timer("handle(request)", "handle = handler", globals={"handler": handler, "request": request})


def _time_async(handler: Callable[[HttpRequest], Awaitable[Any]], request: HttpRequest, count: int) -> float:
    async def loop() -> float:
        start = perf_counter()
        for _ in range(count):
            await handler(request)
        return perf_counter() - start

    return asyncio.run(loop())
