"""Checks of the store that keeps pins between requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

from pindb.checks.reporting import failures
from pindb.conf import conf
from pindb.routing.model_lists import unpinned_models
from pindb.stores import BaseStore, CacheStore, token_key, user_key
from pindb.stores._base import load_store
from pindb.stores._cache import load_key

__all__ = ["check_store"]

#: Session engines that use a database.
DATABASE_SESSIONS = ("django.contrib.sessions.backends.db", "django.contrib.sessions.backends.cached_db")

#: Authentication classes of Django REST framework that do not use a token.
WITHOUT_TOKEN = frozenset(
    f"rest_framework.authentication.{name}"
    for name in ("BasicAuthentication", "RemoteUserAuthentication", "SessionAuthentication")
)

#: Headers that have another meaning.
STANDARD_HEADERS = frozenset(
    """
    accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-credentials
    access-control-allow-headers access-control-allow-methods access-control-allow-origin
    access-control-expose-headers access-control-max-age age allow authorization cache-control connection
    content-disposition content-encoding content-language content-length content-location content-range
    content-security-policy content-type cookie cross-origin-opener-policy date etag expect expires forwarded
    from host if-match if-modified-since if-none-match if-range if-unmodified-since keep-alive last-modified
    link location max-forwards origin pragma proxy-authenticate proxy-authorization range referer
    referrer-policy retry-after server set-cookie strict-transport-security te trailer transfer-encoding
    upgrade user-agent vary via www-authenticate x-content-type-options x-csrftoken x-forwarded-for
    x-forwarded-host x-forwarded-port x-forwarded-proto x-frame-options x-real-ip x-request-id
    x-requested-with
    """.split()  # noqa: SIM905 (as a list, a line for each)
)


@register("pindb")
def check_store(**kwargs: Any) -> list[CheckMessage]:
    """Check the pin store and its settings: E013, W006, W008, W009."""
    messages = list(_check_header())
    stores: list[BaseStore] = []
    messages += failures("pindb.E013", "PINDB_PIN_STORE", lambda: stores.append(load_store()))
    if stores and isinstance(stores[0], CacheStore):
        messages += _check_cache()
        messages += _check_key()
    return messages


def _check_header() -> Iterator[CheckMessage]:
    header = conf.PINDB_PIN_HEADER
    if not isinstance(header, str) or not header.replace("-", "").isalnum() or not header.isascii():
        hint = "Write a name of letters, digits and hyphens: 'X-Pindb-Pins'."
        yield Error(
            f"PINDB_PIN_HEADER is {header!r}, which is not a name for a header.", hint=hint, id="pindb.E013"
        )
    elif header.lower() in STANDARD_HEADERS:
        yield Error(
            f"PINDB_PIN_HEADER is {header!r}, a standard header with another meaning.",
            hint="Write a name of your own: 'X-Pindb-Pins'.",
            id="pindb.E013",
        )


def _check_cache() -> Iterator[CheckMessage]:
    alias = conf.PINDB_PIN_CACHE
    if not isinstance(alias, str) or alias not in settings.CACHES:
        yield Error(
            f"PINDB_PIN_CACHE is {alias!r}, which is not in CACHES.",
            hint=f"Write one of: {', '.join(map(repr, settings.CACHES))}.",
            id="pindb.E013",
        )
        return
    backend = _imported(settings.CACHES[alias].get("BACKEND"))
    if isinstance(backend, type) and issubclass(backend, (DummyCache, LocMemCache)):
        flaw = "stores nothing" if issubclass(backend, DummyCache) else "is local to one process"
        yield Warning(
            f"PINDB_PIN_CACHE is {alias!r}, a {backend.__name__}, which {flaw}: pins do not reach the "
            "user's next request.",
            hint="Write the alias of a cache that all processes share: Redis, memcached or a database. "
            "Silence this check if the site has only one process.",
            id="pindb.W009",
        )


def _check_key() -> Iterator[CheckMessage]:
    wrong = list(failures("pindb.E013", "PINDB_PIN_CACHE_KEY", load_key))
    if wrong:
        yield from wrong
        return
    key = load_key()
    if key is user_key and (classes := list(_token_classes())):
        yield Warning(
            "pindb.stores.CacheStore knows the user by the session, but Django REST framework authenticates "
            f"by {', '.join(classes)} inside of the view: clients with a token have no pins.",
            hint="Set PINDB_PIN_CACHE_KEY = 'pindb.stores.token_key'.",
            id="pindb.W008",
        )
    if key in (user_key, token_key) and settings.SESSION_ENGINE in DATABASE_SESSIONS:
        try:
            unpinned = unpinned_models()
        except Exception:  # check_values reports it
            return
        if "sessions.session" not in unpinned:
            yield Warning(
                "pindb.stores.CacheStore reads the session before the pins are known, so from a replica: a "
                "user who has just logged in may seem to be logged out.",
                hint="Add 'sessions.Session' to PINDB_UNPINNED_MODELS, or keep sessions in a cache.",
                id="pindb.W006",
            )


def _token_classes() -> Iterator[str]:
    """Yield the names of the authentication classes of Django REST framework that use a token."""
    options = getattr(settings, "REST_FRAMEWORK", None)
    entries = options.get("DEFAULT_AUTHENTICATION_CLASSES") if isinstance(options, Mapping) else None
    for entry in entries if isinstance(entries, (list, tuple)) else ():
        found = _imported(entry)
        if isinstance(found, type):
            names = {f"{base.__module__}.{base.__qualname__}" for base in found.__mro__}
            if not names & WITHOUT_TOKEN:
                yield found.__qualname__


def _imported(entry: Any) -> Any:
    """Return the object that a dotted path names; None if it cannot be imported, which others report."""
    if not isinstance(entry, str):
        return entry
    try:
        return import_string(entry)
    except Exception:
        return None
