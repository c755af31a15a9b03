"""The middleware that makes each request a pinning context, and the one that pins by the request's method."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeGuard, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.db import connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase, StreamingHttpResponse

from pindb.conf import conf
from pindb.pins.context import PinningContext, aiterate_in, get_context, iterate_in, set_context
from pindb.pins.pinning import SAFE_METHODS, pin
from pindb.pins.propagation import aoutgoing_pins, outgoing_pins
from pindb.sets.definitions import DEFAULT_ALIAS, get_sets
from pindb.stores import load_store

__all__ = ["PinDbMiddleware", "PinUnsafeMethodsMiddleware"]

logger = logging.getLogger("pindb")


class PinDbMiddleware:
    """Runs each request in a pinning context of its own.

    The context starts with the pins that ``PINDB_PIN_STORE`` has for the request: those in its cookie, where
    the site says nothing else. Where the request pinned anything, or a pin has ended early, the store is
    told: the response carries a new cookie. Streamed content is worked out in the request's context too, but
    what it pins comes too late for the cookie; the pins of such a response go by time. A store that fails is
    logged, and all sets are pinned for the request.

    Put it before every middleware that uses a database. Native under WSGI and under ASGI.

    Raises:
        PinDbConfigError: ``PINDB_PIN_STORE`` names no store.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        self.store = load_store()
        self.loads_at_once = not self.store.waits_for_view
        self.loads_always = self.loads_at_once and not self.store.needs_cookies
        self.store_fails = False
        if self.is_async:
            markcoroutinefunction(self)
        self.atomic_aliases = frozenset(
            alias for alias, options in connections.settings.items() if options["ATOMIC_REQUESTS"]
        )
        if self.atomic_aliases or self.store.waits_for_view:
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
        if self.loads_always or (self.loads_at_once and request.COOKIES):
            self._load(request, context)
        try:
            response: HttpResponseBase = self.get_response(request)
        finally:
            set_context(before)
        if context.new or context.changed:
            self._save(request, response, context)
        if response.streaming:
            stream_in(context, response)
        return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        if not conf.PINDB_ENABLED:
            return cast(HttpResponseBase, await self.get_response(request))
        before = get_context()
        context = PinningContext()
        set_context(context)
        if self.loads_always or (self.loads_at_once and request.COOKIES):
            await self._aload(request, context)
        try:
            response: HttpResponseBase = await self.get_response(request)
        finally:
            set_context(before)
        if context.new or context.changed:
            await self._asave(request, response, context)
        if response.streaming:
            stream_in(context, response)
        return response

    # The pairs differ in what they wait for, and in nothing else.

    def _load(self, request: HttpRequest, context: PinningContext) -> None:
        try:
            pins = self.store.load(request)
        except Exception as error:  # whatever keeps the pins of a site
            self._do_without(context, error)
        else:
            if pins:
                context.carry(pins)
            if self.store_fails:
                self.store_fails = False

    async def _aload(self, request: HttpRequest, context: PinningContext) -> None:
        try:
            pins = await self.store.aload(request)
        except Exception as error:
            self._do_without(context, error)
        else:
            if pins:
                context.carry(pins)
            if self.store_fails:
                self.store_fails = False

    def _do_without(self, context: PinningContext, error: Exception) -> None:
        for alias, replicas in get_sets().replicas.items():
            if replicas:
                context.pin(alias, new=False, declared=False)
        self._tell("Pins cannot be loaded, and all sets are pinned for each request", error)

    def _save(self, request: HttpRequest, response: HttpResponseBase, context: PinningContext) -> None:
        try:
            self.store.save(request, response, outgoing_pins(context, is_streamed(response)))
        except Exception as error:
            self._tell("Pins cannot be kept", error)

    async def _asave(self, request: HttpRequest, response: HttpResponseBase, context: PinningContext) -> None:
        try:
            await self.store.asave(request, response, await aoutgoing_pins(context, is_streamed(response)))
        except Exception as error:
            self._tell("Pins cannot be kept", error)

    def _tell(self, what: str, error: Exception) -> None:
        if not self.store_fails:
            self.store_fails = True
            logger.exception("%s: %s.", what, type(error).__name__)

    def _process_view(self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> None:
        context = self._note_blocks(view)
        if context is not None:
            self._load(request, context)

    async def _aprocess_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        context = self._note_blocks(view)
        if context is not None:
            await self._aload(request, context)

    def _note_blocks(self, view: Callable[..., Any]) -> PinningContext | None:
        """Note which transactions Django opens; the context, if its pins are to be loaded now."""
        context = get_context()
        if context is None or not conf.PINDB_ENABLED:
            return None
        exempt: Collection[str] = getattr(view, "_non_atomic_requests", frozenset())
        context.request_blocks = self.atomic_aliases.difference(exempt)
        return None if self.loads_at_once else context


class PinUnsafeMethodsMiddleware:
    """Pins every request whose method may write: all but GET, HEAD, OPTIONS and TRACE.

    Such a request reads the master from its beginning, and `StrictPinDbRouter` takes it for declared. Put it
    directly after `PinDbMiddleware`. Native under WSGI and under ASGI.

    Attributes:
        aliases: the masters whose sets are pinned. A site with several sets names them in a subclass.

    Raises:
        PinDbConfigError: one of `aliases` is not a master's.
    """

    sync_capable = True
    async_capable = True

    aliases: Collection[str] = (DEFAULT_ALIAS,)

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if conf.PINDB_ENABLED:
            for alias in self.aliases:
                get_sets().check_master(alias)
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if request.method not in SAFE_METHODS:
            for alias in self.aliases:
                pin(alias)
        # Under ASGI this is a coroutine, which whoever called awaits.
        return self.get_response(request)


def is_streamed(response: HttpResponseBase) -> TypeGuard[StreamingHttpResponse]:
    """Whether a response's content is still to be worked out; a file is not, and is left to the server."""
    return response.streaming and not hasattr(response, "file_to_stream")


def stream_in(context: PinningContext, response: HttpResponseBase) -> None:
    """Let a response's streamed content be worked out in `context`."""
    if not is_streamed(response):
        return
    if response.is_async:
        response.streaming_content = aiterate_in(context, cast(Any, response.streaming_content))
    else:
        response.streaming_content = iterate_in(context, cast(Any, response.streaming_content))
