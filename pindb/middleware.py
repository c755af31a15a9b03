"""The middleware that makes each request a pinning context and carries its pins to the next one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.db import connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase, StreamingHttpResponse

from pindb.conf import conf
from pindb.pinning import PinningContext, aiterate_in, get_context, iterate_in, set_context
from pindb.stores import CookieStore

__all__ = ["PinDbMiddleware"]


class PinDbMiddleware:
    """Runs each request in a pinning context of its own.

    The context starts with the pins that the request's cookie carries. Where the request pinned anything,
    and only there, the response carries a cookie with its pins. Streamed content is worked out in the
    request's context too, but what it pins comes too late for the cookie.

    Put it before every middleware that uses a database. Native under WSGI and under ASGI.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        self.store = CookieStore()
        if self.is_async:
            markcoroutinefunction(self)
        self.atomic_aliases = frozenset(
            alias for alias, options in connections.settings.items() if options["ATOMIC_REQUESTS"]
        )
        if self.atomic_aliases:
            # Django calls process_view for every request; only these sites pay for it.
            self.process_view = self._aprocess_view if self.is_async else self._process_view

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._acall(request)
        if not conf.PINDB_ENABLED:
            return cast(HttpResponseBase, self.get_response(request))
        before = get_context()
        context = PinningContext()
        set_context(context)
        if request.COOKIES:
            self._carry(request, context)
        try:
            response: HttpResponseBase = self.get_response(request)
        finally:
            set_context(before)
        if context.new or response.streaming:
            self._finish(response, context)
        return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        if not conf.PINDB_ENABLED:
            return cast(HttpResponseBase, await self.get_response(request))
        before = get_context()
        context = PinningContext()
        set_context(context)
        if request.COOKIES:
            self._carry(request, context)
        try:
            response: HttpResponseBase = await self.get_response(request)
        finally:
            set_context(before)
        if context.new or response.streaming:
            self._finish(response, context)
        return response

    def _carry(self, request: HttpRequest, context: PinningContext) -> None:
        pins = self.store.load(request)
        if pins:
            context.carry(pins)

    def _finish(self, response: HttpResponseBase, context: PinningContext) -> None:
        if context.new:
            self.store.save(response, context)
        if isinstance(response, StreamingHttpResponse) and not hasattr(response, "file_to_stream"):
            if response.is_async:
                response.streaming_content = aiterate_in(context, cast(Any, response.streaming_content))
            else:
                response.streaming_content = iterate_in(context, cast(Any, response.streaming_content))

    def _process_view(self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> None:
        context = get_context()
        if context is not None:
            exempt: Collection[str] = getattr(view, "_non_atomic_requests", frozenset())
            context.request_blocks = self.atomic_aliases.difference(exempt)

    async def _aprocess_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        self._process_view(request, view, args, kwargs)
