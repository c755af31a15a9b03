"""Middleware: a pinning context for each request, and pins by the request's method."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeGuard, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.db import connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase, StreamingHttpResponse

from pindb import _events as events
from pindb._events import Event
from pindb.conf import conf
from pindb.pins.context import PinningContext, aiterate_in, get_context, iterate_in, set_context
from pindb.pins.pinning import pin
from pindb.pins.propagation import aexport_pins, export_pins
from pindb.sets.aliases import DEFAULT_ALIAS
from pindb.sets.definitions import get_sets
from pindb.stores._base import load_store

__all__ = ["SAFE_METHODS", "PinDbMiddleware", "PinUnsafeMethodsMiddleware"]

#: The request methods that are not supposed to write.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class PinDbMiddleware:
    """A middleware that runs each request in a pinning context of its own.

    The context starts with the user's pins, from the store ``PINDB_PIN_STORE``: by default the request's
    cookie. If the request has pinned a set, or a pin has ended early, the middleware saves the pins: the
    response carries a new cookie.

    Streamed content is also computed in the request's context. Pins made there come too late for the cookie,
    and the pins of a streaming response go by time. If the store fails, the middleware logs the error, and
    all sets are pinned for the request.

    Put it before every middleware that uses a database. It runs natively under WSGI and ASGI.

    Raises:
        PinDbConfigError: ``PINDB_PIN_STORE`` is not a store.
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
            # Only sites that need process_view have it, since Django calls it for every request.
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

    # The synchronous and asynchronous methods differ only in what they await.

    def _load(self, request: HttpRequest, context: PinningContext) -> None:
        try:
            pins = self.store.load(request)
        except Exception as error:  # a store may raise anything
            self._pin_all(context, error)
        else:
            if pins:
                context.carry(pins)
            if self.store_fails:
                self.store_fails = False

    async def _aload(self, request: HttpRequest, context: PinningContext) -> None:
        try:
            pins = await self.store.aload(request)
        except Exception as error:
            self._pin_all(context, error)
        else:
            if pins:
                context.carry(pins)
            if self.store_fails:
                self.store_fails = False

    def _pin_all(self, context: PinningContext, error: Exception) -> None:
        for alias, replicas in get_sets().replicas.items():
            if replicas:
                context.pin(alias, new=False, declared=False)
        self._log_failure(events.PINS_NOT_LOADED, error)

    def _save(self, request: HttpRequest, response: HttpResponseBase, context: PinningContext) -> None:
        try:
            self.store.save(request, response, export_pins(context, is_streamed(response)))
        except Exception as error:
            self._log_failure(events.PINS_NOT_SAVED, error)

    async def _asave(self, request: HttpRequest, response: HttpResponseBase, context: PinningContext) -> None:
        try:
            await self.store.asave(request, response, await aexport_pins(context, is_streamed(response)))
        except Exception as error:
            self._log_failure(events.PINS_NOT_SAVED, error)

    def _log_failure(self, event: Event, error: Exception) -> None:
        # Once until the store works again, not for every request.
        if not self.store_fails:
            self.store_fails = True
            event.log(error=type(error).__name__, traceback=True)

    def _process_view(self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> None:
        context = self._prepare_view(view)
        if context is not None:
            self._load(request, context)

    async def _aprocess_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        context = self._prepare_view(view)
        if context is not None:
            await self._aload(request, context)

    def _prepare_view(self, view: Callable[..., Any]) -> PinningContext | None:
        """Record the transactions that Django opens around a view.

        Returns:
            The context if its pins have to be loaded now, else None.
        """
        context = get_context()
        if context is None or not conf.PINDB_ENABLED:
            return None
        exempt: Collection[str] = getattr(view, "_non_atomic_requests", frozenset())
        context.request_blocks = self.atomic_aliases.difference(exempt)
        return None if self.loads_at_once else context


class PinUnsafeMethodsMiddleware:
    """A middleware that pins every request whose method may write: all but GET, HEAD, OPTIONS and TRACE.

    Such a request reads the master from its beginning, and `StrictPinDbRouter` allows its writes. Put the
    middleware directly after `PinDbMiddleware`. It runs natively under WSGI and ASGI.

    Attributes:
        aliases: the aliases of the masters to pin. A site with several sets sets them in a subclass.

    Raises:
        PinDbConfigError: one of `aliases` is not the alias of a master.
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
        # Under ASGI this is a coroutine, which the caller awaits.
        return self.get_response(request)


def is_streamed(response: HttpResponseBase) -> TypeGuard[StreamingHttpResponse]:
    """Return whether a response computes its content while it is sent. A file does not."""
    return response.streaming and not hasattr(response, "file_to_stream")


def stream_in(context: PinningContext, response: HttpResponseBase) -> None:
    """Compute the streamed content of a response in `context`."""
    if not is_streamed(response):
        return
    if response.is_async:
        response.streaming_content = aiterate_in(context, cast(Any, response.streaming_content))
    else:
        response.streaming_content = iterate_in(context, cast(Any, response.streaming_content))
