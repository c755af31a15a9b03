"""The base class of pin stores, and the store of the setting ``PINDB_PIN_STORE``."""

from __future__ import annotations

from collections.abc import Mapping

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from pindb.conf import conf, import_entry
from pindb.exceptions import PinDbConfigError
from pindb.pins.context import Pin

__all__ = ["BaseStore", "TokenStore", "load_store"]


class BaseStore:
    """A backend that keeps a user's pins between requests. Safe under threads and in async code.

    A store that raises does not fail the request. If pins cannot be loaded, all sets are pinned for the
    request.

    Attributes:
        waits_for_view: load pins just before the view, after all middleware: for stores that need what other
            middleware adds to the request.
        needs_cookies: a request without any cookie has no pins, and nothing is loaded for it.
    """

    waits_for_view = False
    needs_cookies = False

    def load(self, request: HttpRequest) -> Mapping[str, Pin]:
        """Return the pins of the request's user, by the master's alias."""
        raise NotImplementedError

    def save(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        """Save the user's pins, if the request has changed them.

        Arguments:
            request: the request.
            response: the response, which may carry the pins.
            pins: all pins by the master's alias. Empty: what was saved before has ended.
        """
        raise NotImplementedError

    async def aload(self, request: HttpRequest) -> Mapping[str, Pin]:
        """Load pins like `load`, in async code."""
        return await sync_to_async(self.load)(request)

    async def asave(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        """Save pins like `save`, in async code."""
        await sync_to_async(self.save)(request, response, pins)


class TokenStore(BaseStore):
    """The base of stores that carry pins in a token, in the request and response: they never block."""

    async def aload(self, request: HttpRequest) -> Mapping[str, Pin]:
        return self.load(request)

    async def asave(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        self.save(request, response, pins)


def load_store() -> BaseStore:
    """Return the store of ``PINDB_PIN_STORE``.

    Raises:
        PinDbConfigError: the setting is not a store.
    """
    entry = conf.PINDB_PIN_STORE
    found = import_entry("PINDB_PIN_STORE", entry, "a store: 'pindb.stores.CookieStore'")
    if isinstance(found, type) and issubclass(found, BaseStore):
        return found()
    if isinstance(found, BaseStore):
        return found
    raise PinDbConfigError(
        f"PINDB_PIN_STORE is {entry!r}, not a store. Write 'pindb.stores.CookieStore', "
        "'pindb.stores.CacheStore', 'pindb.stores.HeaderStore', or the dotted path of a subclass of "
        "pindb.stores.BaseStore."
    )
