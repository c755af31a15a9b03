"""Where pins are kept from one request to the next: ``PINDB_PIN_STORE``."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.cache import caches
from django.db import connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.crypto import salted_hmac
from django.utils.functional import LazyObject, cached_property

from pindb.conf import conf, import_entry
from pindb.exceptions import PinDbConfigError
from pindb.pins.context import Pin, current
from pindb.pins.propagation import aoutgoing_pins, outgoing_pins
from pindb.pins.tokens import dump_pins, load_pins, read_pin, write_pin
from pindb.sets.definitions import get_sets
from pindb.sets.positions import covers

__all__ = [
    "BaseStore",
    "CacheStore",
    "CookieStore",
    "HeaderStore",
    "aget_pin_headers",
    "get_pin_headers",
    "load_store",
    "take_pin_headers",
    "token_key",
    "user_key",
]

#: How much longer than its pins a cookie lasts (seconds): clients that count whole seconds drop it early.
GRACE = 2


#: Schemes of the header Authorization with one word of credentials that is another one each time.
CHANGING_SCHEMES = frozenset({"negotiate", "ntlm"})


def lifetime(pins: Mapping[str, Pin], now: float) -> int:
    """How long (seconds) something that keeps `pins` has to last from `now` (Unix time, seconds)."""
    longest = 0.0
    for pin in pins.values():
        seconds = pin.until - now
        if pin.position is not None and not 0 < seconds <= conf.PINDB_POSITION_PIN_SECONDS:
            # The clock that it was made by is not this one.
            seconds = conf.PINDB_POSITION_PIN_SECONDS
        longest = max(longest, seconds)
    return math.ceil(longest) + GRACE


def _is_further(alias: str, pin: Pin, other: Pin) -> bool:
    """Whether a pin of the master `alias` has all that another one is about."""
    if pin.position is not None and other.position is not None:
        return covers(connections[alias], pin.position, other.position)
    return _made_at(pin) >= _made_at(other)


def _made_at(pin: Pin) -> float:
    """When a pin was made: Unix time, seconds."""
    by_time = pin.position is None
    return pin.until - (conf.PINDB_PINNING_SECONDS if by_time else conf.PINDB_POSITION_PIN_SECONDS)


class BaseStore:
    """Keeps the pins of whoever makes a request. Safe under threads and in async code.

    What its methods raise fails no request: where pins cannot be loaded, all sets are pinned for it.

    Attributes:
        waits_for_view: pins are loaded just before the view and not at once, since it takes what other
            middleware adds to the request.
        needs_cookies: a request without any cookie has no pins, and nothing is loaded for it.
    """

    waits_for_view = False
    needs_cookies = False

    def load(self, request: HttpRequest) -> Mapping[str, Pin]:
        """The pins of whoever makes the request, by master alias."""
        raise NotImplementedError

    def save(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        """Keep `pins`, by master alias; none: what is kept is of no use any more.

        Called only where they have changed.
        """
        raise NotImplementedError

    async def aload(self, request: HttpRequest) -> Mapping[str, Pin]:
        """`load`, in async code."""
        return await sync_to_async(self.load)(request)

    async def asave(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        """`save`, in async code."""
        await sync_to_async(self.save)(request, response, pins)


class _TokenStore(BaseStore):
    """Carries pins in a token, in what the request and the response have anyway: nothing is waited for."""

    async def aload(self, request: HttpRequest) -> Mapping[str, Pin]:
        return self.load(request)

    async def asave(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        self.save(request, response, pins)


class CookieStore(_TokenStore):
    """Carries pins in a signed cookie. Stateless."""

    needs_cookies = True

    def load(self, request: HttpRequest) -> Mapping[str, Pin]:
        token = request.COOKIES.get(conf.PINDB_PINNING_COOKIE)
        return {} if token is None else load_pins(token, time.time())

    def save(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        attributes: dict[str, Any] = {
            "domain": conf.PINDB_PINNING_COOKIE_DOMAIN,
            "path": conf.PINDB_PINNING_COOKIE_PATH,
            "samesite": conf.PINDB_PINNING_COOKIE_SAMESITE,
        }
        if pins:
            response.set_cookie(
                conf.PINDB_PINNING_COOKIE,
                dump_pins(pins),
                max_age=lifetime(pins, time.time()),
                secure=conf.PINDB_PINNING_COOKIE_SECURE,
                httponly=conf.PINDB_PINNING_COOKIE_HTTPONLY,
                **attributes,
            )
        else:
            response.delete_cookie(conf.PINDB_PINNING_COOKIE, **attributes)
        # A shared cache must not hand one visitor's pins to the others.
        patch_vary_headers(response, ("Cookie",))


class HeaderStore(_TokenStore):
    """Carries pins in a signed token in a header, for services that call services.

    The header ``PINDB_PIN_HEADER`` of a request has the pins of whoever calls; that of the response has what
    they are afterwards, where the request changed them. The caller sends `get_pin_headers` with its calls and
    gives the answers' headers to `take_pin_headers`. Both need the same ``SECRET_KEY`` and aliases.
    Stateless.
    """

    def load(self, request: HttpRequest) -> Mapping[str, Pin]:
        token = request.headers.get(conf.PINDB_PIN_HEADER)
        return {} if token is None else load_pins(token, time.time())

    def save(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        response.headers[conf.PINDB_PIN_HEADER] = dump_pins(pins)
        patch_vary_headers(response, (conf.PINDB_PIN_HEADER,))


def get_pin_headers() -> dict[str, str]:
    """The headers to send with a call to a service that has the same databases and a `HeaderStore`.

    Returns:
        One header by its name, with the pins that are in force here; none where nothing is pinned.
    """
    return _headers(outgoing_pins(current()) if conf.PINDB_ENABLED else {})


async def aget_pin_headers() -> dict[str, str]:
    """`get_pin_headers`, in async code."""
    return _headers(await aoutgoing_pins(current()) if conf.PINDB_ENABLED else {})


def _headers(pins: Mapping[str, Pin]) -> dict[str, str]:
    return {conf.PINDB_PIN_HEADER: dump_pins(pins)} if pins else {}


def take_pin_headers(headers: Mapping[str, str]) -> None:
    """Take over the pins in the headers of a service's answer: what it wrote is read here from now on.

    They are carried on to the caller's next requests and tasks. Under `StrictPinDbRouter` they allow no
    writes. Headers that hold nothing of use are ignored.

    Arguments:
        headers: of the response; its names may be in any case.
    """
    if not conf.PINDB_ENABLED:
        return
    wanted = conf.PINDB_PIN_HEADER.lower()
    token = next((value for name, value in headers.items() if name.lower() == wanted), None)
    pins = {} if token is None else load_pins(token, time.time())
    context = current()
    for alias, pin in pins.items():
        if alias in context.pinned or alias in context.carried:
            # Which of both is further only the master can tell, when this unit of work ends.
            context.renew(alias)
        else:
            context.carry({alias: pin})
            context.changed = True


def user_key(request: HttpRequest) -> str | None:
    """Whose pins a request has: its user's. None for visitors who have not logged in."""
    session: Any = getattr(request, "session", None)
    key = None
    # A session that is looked at varies the response by cookie, which no page for everybody should do.
    if session is not None and (session.accessed or settings.SESSION_COOKIE_NAME in request.COOKIES):
        key = session.get("_auth_user_id")
    user = getattr(request, "user", None)
    # Django's own user, which is made when it is looked at, is the one of the session.
    by_session = session is not None and isinstance(user, LazyObject)
    if key is None and user is not None and not by_session and user.is_authenticated:
        key = user.pk
    return None if key is None else str(key)


def token_key(request: HttpRequest) -> str | None:
    """Whose pins a request has: its token's, in the header ``Authorization``; without one, `user_key`'s.

    For APIs, whose clients keep no cookies: ``Token``, ``Bearer``, ``Basic`` and any other scheme that sends
    the same credentials with each request. No database is asked, and the token need not be valid: pins are
    made by writes. The key is a keyed hash of the header, in which nobody can read the token.
    """
    words = request.headers.get("Authorization", "").split()
    # Digest, OAuth 1 and signatures have parameters, which are others in each request.
    if len(words) == 2 and words[0].lower() not in CHANGING_SCHEMES and not set(words[1]) & {",", '"'}:
        text = f"{words[0].lower()} {words[1]}".encode(errors="surrogatepass")
        digest = salted_hmac("pindb.stores.token_key", text, algorithm="sha256").hexdigest()
        return f"authorization {digest}"
    return user_key(request)


class CacheStore(BaseStore):
    """Keeps pins in a Django cache, by user: for clients without cookies and users with several devices.

    The cache is ``PINDB_PIN_CACHE``; ``PINDB_PIN_CACHE_KEY`` is a callable (or the dotted path of one) that
    takes a request and returns whose pins it has, as text: `user_key` where not given, `token_key` for APIs.
    Where that returns None, the pins travel in the cookie. All servers of a site have to share the cache.

    Pins are loaded just before the view. A pin that has ended early stays in the cache to the end of its
    life, and ends again in each request: to remove it would race with the next write.
    """

    waits_for_view = True

    def __init__(self) -> None:
        self.cookies = CookieStore()

    def load(self, request: HttpRequest) -> Mapping[str, Pin]:
        names = self._names(request)
        if names is None:
            return self.cookies.load(request)
        return self._found(names)

    def save(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        names = self._names(request)
        if names is None:
            return self.cookies.save(request, response, pins)
        if not pins:
            return None
        # Another device may have written in the meantime.
        known = self._found({alias: names[alias] for alias in pins})
        newer = {
            alias: pin
            for alias, pin in pins.items()
            if alias not in known or not _is_further(alias, known[alias], pin)
        }
        if newer:
            entries = {names[alias]: write_pin(pin) for alias, pin in newer.items()}
            failed = self._cache.set_many(entries, timeout=lifetime(newer, time.time()))
            if failed:
                raise OSError(f"The cache {conf.PINDB_PIN_CACHE!r} did not keep {len(failed)} pins.")
        return None

    @property
    def _cache(self) -> Any:
        return caches[conf.PINDB_PIN_CACHE]

    @cached_property
    def _key(self) -> Any:
        # Looked up once, and not where the store is made: that may be in a settings module.
        return load_key()

    def _names(self, request: HttpRequest) -> dict[str, str] | None:
        """The cache's keys by master alias; None: the request is nobody's."""
        key = self._key(request)
        if key is None:
            return None
        # Whatever the site takes for a key; some caches take only some characters, and not many.
        digest = hashlib.sha256(str(key).encode(errors="surrogatepass")).hexdigest()[:32]
        return {
            alias: f"pindb.pins.{digest}.{hashlib.sha256(alias.encode()).hexdigest()[:8]}"
            for alias, replicas in get_sets().replicas.items()
            if replicas
        }

    def _found(self, names: Mapping[str, str]) -> dict[str, Pin]:
        entries = self._cache.get_many(names.values())
        now = time.time()
        pins = {}
        for alias, name in names.items():
            pin = read_pin(entries.get(name), now)
            if pin is not None:
                pins[alias] = pin
        return pins


def load_store() -> BaseStore:
    """The store of ``PINDB_PIN_STORE``.

    Raises:
        PinDbConfigError: the setting names none.
    """
    entry = conf.PINDB_PIN_STORE
    found = import_entry("PINDB_PIN_STORE", entry, "a store: 'pindb.stores.CookieStore'")
    if isinstance(found, type) and issubclass(found, BaseStore):
        return found()
    if isinstance(found, BaseStore):
        return found
    raise PinDbConfigError(
        f"PINDB_PIN_STORE is {entry!r}. Write 'pindb.stores.CookieStore', 'pindb.stores.CacheStore', "
        "'pindb.stores.HeaderStore', or the dotted path of a subclass of pindb.stores.BaseStore."
    )


def load_key() -> Any:
    """The callable of ``PINDB_PIN_CACHE_KEY``.

    Raises:
        PinDbConfigError: the setting names none.
    """
    entry = conf.PINDB_PIN_CACHE_KEY
    found = import_entry("PINDB_PIN_CACHE_KEY", entry, "a callable: 'pindb.stores.user_key'")
    if not callable(found):
        raise PinDbConfigError(
            f"PINDB_PIN_CACHE_KEY is {entry!r}. Write a callable that takes a request and returns whose pins "
            "it has, as text or None, or its dotted path."
        )
    return found
