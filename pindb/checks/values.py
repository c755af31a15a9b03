"""What is wrong with the other settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections

from pindb.conf import conf
from pindb.exceptions import PinDbConfigError
from pindb.positions import find_positions, load_positions
from pindb.routers import greedy_models, load_delegates, unpinned_models
from pindb.sets import get_sets
from pindb.stores import CacheStore, HeaderStore, load_key, load_store, user_key

__all__ = ["check_consistency", "check_store", "check_values"]

#: Sessions that are rows of a database.
DATABASE_SESSIONS = ("django.contrib.sessions.backends.db", "django.contrib.sessions.backends.cached_db")


class Number(NamedTuple):
    """What a setting that is a number may be."""

    code: str
    what: str
    least: float = 0
    may_be_least: bool = False
    may_be_none: bool = False

    def allows(self, value: Any) -> bool:
        if value is None:
            return self.may_be_none
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return (value == self.least and self.may_be_least) or self.least < value < 1e9


NUMBERS = {
    "PINDB_PINNING_SECONDS": Number(
        "pindb.E004", "a number of seconds above 0; replication lag should stay below it"
    ),
    "PINDB_POSITION_PIN_SECONDS": Number("pindb.E011", "a number of seconds above 0"),
    "PINDB_POSITION_CHECK_MS": Number("pindb.E011", "a number of milliseconds, 0 or more", may_be_least=True),
    "PINDB_REPLICA_DOWNTIME": Number("pindb.E011", "a number of seconds, 0 or more", may_be_least=True),
    "PINDB_MAX_REPLICA_LAG": Number(
        "pindb.E011", "a number of seconds above 0, or None to leave lag alone", may_be_none=True
    ),
}


@register("pindb")
def check_values(**kwargs: Any) -> list[CheckMessage]:
    """Numbers, names and dotted paths: E004 to E007, E011, E014."""
    errors: list[CheckMessage] = []
    for name, number in NUMBERS.items():
        value = getattr(conf, name)
        if not number.allows(value):
            errors.append(Error(f"{name} is {value!r}.", hint=f"Write {number.what}.", id=number.code))
    cookie = conf.PINDB_PINNING_COOKIE
    if not isinstance(cookie, str) or not cookie:
        errors.append(
            Error(
                f"PINDB_PINNING_COOKIE is {cookie!r}.",
                hint="Write the name of a cookie: 'pindb_pinned_set'.",
                id="pindb.E005",
            )
        )
    errors += _failures("pindb.E006", load_delegates)
    errors += _failures("pindb.E007", unpinned_models)
    errors += _failures("pindb.E014", greedy_models)
    if conf.PINDB_STRICT not in ("raise", "log"):
        hint = "Write 'raise', or 'log' while a site is moved to StrictPinDbRouter."
        errors.append(Error(f"PINDB_STRICT is {conf.PINDB_STRICT!r}.", hint=hint, id="pindb.E014"))
    return errors


def _failures(code: str, *loaders: Callable[[], Any]) -> Iterator[CheckMessage]:
    for load in loaders:
        try:
            load()
        except PinDbConfigError as error:
            yield Error(str(error), hint="Correct the setting or drop the entry.", id=code)


@register("pindb")
def check_consistency(**kwargs: Any) -> list[CheckMessage]:
    """What ends pins: E010, E012, W007. Nothing is connected to."""
    if conf.PINDB_CONSISTENCY not in ("time", "position"):
        return [
            Error(
                f"PINDB_CONSISTENCY is {conf.PINDB_CONSISTENCY!r}.",
                hint="Write 'time' or 'position'.",
                id="pindb.E010",
            )
        ]
    failures = list(_failures("pindb.E012", load_positions))
    wanted = conf.PINDB_CONSISTENCY == "position" or conf.PINDB_MAX_REPLICA_LAG is not None
    if failures or not wanted or not conf.PINDB_ENABLED:
        return failures
    return list(_check_vendors())


def _check_vendors() -> Iterator[CheckMessage]:
    try:
        sets = get_sets()
    except PinDbConfigError:  # check_sets reports it
        return
    for alias, replicas in sets.replicas.items():
        if not replicas or alias not in settings.DATABASES:
            continue
        connection = connections[alias]
        if connection.vendor != "mysql" and find_positions(connection) is None:
            yield Warning(
                f"pindb knows no positions of {connection.vendor!r}, the database {alias!r}: its pins go by "
                "time, and the lag of its replicas is not looked at.",
                hint="Add a class to PINDB_POSITIONS, or silence this check if that is meant.",
                id="pindb.W007",
            )


@register("pindb")
def check_store(**kwargs: Any) -> list[CheckMessage]:
    """Where pins are kept: E013, W006."""
    try:
        store = load_store()
    except PinDbConfigError as error:
        return [Error(str(error), hint="Correct the setting or drop it.", id="pindb.E013")]
    if isinstance(store, HeaderStore):
        header = conf.PINDB_PIN_HEADER
        if not isinstance(header, str) or not header.replace("-", "").isalnum() or not header.isascii():
            hint = "Write the name of a header, of letters, digits and hyphens: 'X-Pindb-Pins'."
            return [Error(f"PINDB_PIN_HEADER is {header!r}.", hint=hint, id="pindb.E013")]
    return list(_check_cache_store()) if isinstance(store, CacheStore) else []


def _check_cache_store() -> Iterator[CheckMessage]:
    if conf.PINDB_PIN_CACHE not in settings.CACHES:
        yield Error(
            f"PINDB_PIN_CACHE is {conf.PINDB_PIN_CACHE!r}, which is not in CACHES.",
            hint=f"Write one of its aliases: {', '.join(map(repr, settings.CACHES))}.",
            id="pindb.E013",
        )
    failures = list(_failures("pindb.E013", load_key))
    yield from failures
    if failures or load_key() is not user_key or settings.SESSION_ENGINE not in DATABASE_SESSIONS:
        return
    if not any(str(label).lower() == "sessions.session" for label in conf.PINDB_UNPINNED_MODELS):
        yield Warning(
            "pindb.stores.CacheStore finds the user in the session, which is read before the pins are known, "
            "and from a replica: whoever has just logged in may seem to be logged out.",
            hint="Add 'sessions.Session' to PINDB_UNPINNED_MODELS, or keep sessions in a cache.",
            id="pindb.W006",
        )
