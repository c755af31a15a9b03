"""Views that tell what they read, from which database, and what was pinned meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse

import pindb
from tests.testapp.models import Author


def report(authors: list[Author]) -> dict[str, Any]:
    return {
        "names": sorted(author.name for author in authors),
        "used": sorted({author._state.db for author in authors if author._state.db}),
        "pinned": sorted(pindb.get_pinned()),
        "new": sorted(pindb.get_newly_pinned()),
    }


def read(request: HttpRequest) -> JsonResponse:
    return JsonResponse(report(list(Author.objects.all())))


def write(request: HttpRequest) -> JsonResponse:
    Author.objects.create(name=request.GET.get("name", "written"))
    return read(request)


def declare(request: HttpRequest) -> JsonResponse:
    pindb.pin("default", count_as_new=False)
    return write(request)


def write_api(request: HttpRequest) -> JsonResponse:
    pindb.pin("api")
    return read(request)


def write_and_fail(request: HttpRequest) -> HttpResponse:
    Author.objects.create(name="written")
    raise RuntimeError("a view that fails after its write")


async def aread(request: HttpRequest) -> JsonResponse:
    return JsonResponse(report([author async for author in Author.objects.all()]))


async def awrite(request: HttpRequest) -> JsonResponse:
    await Author.objects.acreate(name="written")
    return await aread(request)


# Two requests that wait for each other: each is in the middle of its work while the other is.
meeting: dict[str, asyncio.Event] = {}


async def meet(request: HttpRequest, name: str) -> JsonResponse:
    if name == "writer":
        await Author.objects.acreate(name="written")
    meeting[name].set()
    for event in meeting.values():
        await event.wait()
    return await aread(request)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[str]:
        for author in Author.objects.all():
            yield f"{author.name} {author._state.db} {sorted(pindb.get_pinned())}\n"

    return StreamingHttpResponse(chunks())


async def astream(request: HttpRequest) -> StreamingHttpResponse:
    async def chunks() -> AsyncIterator[str]:
        async for author in Author.objects.all():
            yield f"{author.name} {author._state.db} {sorted(pindb.get_pinned())}\n"

    return StreamingHttpResponse(chunks())


def atomic(request: HttpRequest) -> JsonResponse:
    with transaction.atomic():
        return read(request)


@pindb.pinning_context()
def context(request: HttpRequest) -> JsonResponse:
    return read(request)


@transaction.non_atomic_requests
def exempt(request: HttpRequest) -> JsonResponse:
    with transaction.atomic():
        return read(request)


def session(request: HttpRequest) -> JsonResponse:
    count = request.session.get("count", 0)
    request.session["count"] = count + 1
    return JsonResponse({"count": count})
