"""The pin store that uses a Django cache, and the functions that tell whose pins a request has."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import salted_hmac
from django.utils.functional import LazyObject, cached_property

from pindb.conf import conf, import_entry
from pindb.exceptions import PinDbConfigError
from pindb.pins.context import Pin
from pindb.pins.expiry import covers, time_to_live
from pindb.pins.tokens import read_pin, write_pin
from pindb.sets.definitions import get_sets
from pindb.stores._base import BaseStore
from pindb.stores._cookie import CookieStore

__all__ = ["CacheStore", "load_key", "token_key", "user_key"]

#: Schemes of the header Authorization whose credentials are one word that changes with every request.
CHANGING_SCHEMES = frozenset({"negotiate", "ntlm"})


def user_key(request: HttpRequest) -> str | None:
    """Return whose pins a request has: those of its user; None if nobody is logged in."""
    session: Any = getattr(request, "session", None)
    key = None
    # Reading the session adds "Vary: Cookie" to the response, so it is read only if the request uses it.
    if session is not None and (session.accessed or settings.SESSION_COOKIE_NAME in request.COOKIES):
        key = session.get("_auth_user_id")
    user = getattr(request, "user", None)
    # Django's own lazy user would only read the session again.
    by_session = session is not None and isinstance(user, LazyObject)
    if key is None and user is not None and not by_session and user.is_authenticated:
        key = user.pk
    return None if key is None else str(key)


def token_key(request: HttpRequest) -> str | None:
    """Return whose pins a request has: those of its token in the header ``Authorization``, else `user_key`.

    For APIs whose clients keep no cookies: with ``Token``, ``Bearer``, ``Basic``, and any other scheme that
    sends the same credentials in each request. No query is made, and the token need not be valid, since only
    successful writes make pins. The key is a keyed hash of the header, so the cache does not hold the token.
    """
    words = request.headers.get("Authorization", "").split()
    # Digest, OAuth 1 and signatures have parameters that change with every request.
    if len(words) == 2 and words[0].lower() not in CHANGING_SCHEMES and not set(words[1]) & {",", '"'}:
        text = f"{words[0].lower()} {words[1]}".encode(errors="surrogatepass")
        digest = salted_hmac("pindb.stores.token_key", text, algorithm="sha256").hexdigest()
        return f"authorization {digest}"
    return user_key(request)


class CacheStore(BaseStore):
    """A store that keeps pins in a Django cache, by user: for clients without cookies, and several devices.

    The cache is ``PINDB_PIN_CACHE``; all servers of a site have to share it. ``PINDB_PIN_CACHE_KEY`` is a
    callable, or its dotted path, that takes a request and returns whose pins it has, as text: `user_key` by
    default, or `token_key` for APIs. If it returns None, the pins of that request travel in the cookie.

    Pins are loaded just before the view. A pin that ends early stays in the cache until it expires, and ends
    early again in each request: deleting it would race with the user's next write.
    """

    waits_for_view = True

    def __init__(self) -> None:
        self.cookies = CookieStore()

    def load(self, request: HttpRequest) -> Mapping[str, Pin]:
        keys = self._keys(request)
        if keys is None:
            return self.cookies.load(request)
        return self._read(keys)

    def save(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        keys = self._keys(request)
        if keys is None:
            return self.cookies.save(request, response, pins)
        if not pins:
            return None
        # The user may have written from another device since the pins were loaded.
        known = self._read({alias: keys[alias] for alias in pins})
        newer = {
            alias: pin
            for alias, pin in pins.items()
            if alias not in known or not covers(alias, known[alias], pin)
        }
        if newer:
            entries = {keys[alias]: write_pin(pin) for alias, pin in newer.items()}
            failed = self._cache.set_many(entries, timeout=time_to_live(newer, time.time()))
            if failed:
                raise OSError(f"The cache {conf.PINDB_PIN_CACHE!r} has not saved {len(failed)} pins.")
        return None

    @property
    def _cache(self) -> Any:
        return caches[conf.PINDB_PIN_CACHE]

    @cached_property
    def _get_key(self) -> Any:
        # Not in __init__: a store may be made in a settings module.
        return load_key()

    def _keys(self, request: HttpRequest) -> dict[str, str] | None:
        """Return the keys in the cache by the master's alias; None if the request has no user."""
        key = self._get_key(request)
        if key is None:
            return None
        # A hash, since some caches limit the length and the characters of keys.
        digest = hashlib.sha256(str(key).encode(errors="surrogatepass")).hexdigest()[:32]
        return {
            alias: f"pindb.pins.{digest}.{hashlib.sha256(alias.encode()).hexdigest()[:8]}"
            for alias, replicas in get_sets().replicas.items()
            if replicas
        }

    def _read(self, keys: Mapping[str, str]) -> dict[str, Pin]:
        entries = self._cache.get_many(keys.values())
        now = time.time()
        pins = {}
        for alias, key in keys.items():
            pin = read_pin(entries.get(key), now)
            if pin is not None:
                pins[alias] = pin
        return pins


def load_key() -> Any:
    """Return the callable of ``PINDB_PIN_CACHE_KEY``.

    Raises:
        PinDbConfigError: the setting is not a callable.
    """
    entry = conf.PINDB_PIN_CACHE_KEY
    found = import_entry("PINDB_PIN_CACHE_KEY", entry, "a callable: 'pindb.stores.user_key'")
    if not callable(found):
        raise PinDbConfigError(
            f"PINDB_PIN_CACHE_KEY is {entry!r}, not a callable. Write a callable that takes a request and "
            "returns whose pins it has, as text or None, or the dotted path of such a callable."
        )
    return found
