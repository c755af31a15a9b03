"""Checks of the entries of DATABASE_SETS, one replica at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from pindb.checks.reporting import nearest
from pindb.conf import conf
from pindb.sets.definitions import ALIAS, WEIGHT, get_sets, populate_replicas

__all__ = ["check_replicas"]

#: Django's settings of a database that have to do with which server it is; others say how it is used.
ADDRESS = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
USE = (
    "ATOMIC_REQUESTS",
    "AUTOCOMMIT",
    "CONN_HEALTH_CHECKS",
    "CONN_MAX_AGE",
    "DISABLE_SERVER_SIDE_CURSORS",
    "TEST",
    "TIME_ZONE",
)


def check_replicas() -> Iterator[CheckMessage]:
    """The replicas of sets that are in order: E019, W016 to W019."""
    made = populate_replicas(conf.MASTER_DATABASES, conf.DATABASE_SETS, unmanaged_default=True)
    for alias, replicas in get_sets().replicas.items():
        yield from _check_entry(alias, alias, made[alias])
        for index, replica in enumerate(replicas):
            yield from _check_keys(alias, index)
            yield from _check_entry(alias, replica, made[replica])
            if _address(made[replica]) == _address(made[alias]):
                yield Warning(
                    f"The replica {replica!r} differs in nothing from its master {alias!r}: its reads go to "
                    "the master's server.",
                    hint=f"Write into DATABASE_SETS[{alias!r}][{index}] where the replica is: "
                    "{'HOST': ...}. An empty list is a set without replicas.",
                    id="pindb.W016",
                )
                continue
            for other in replicas[:index]:
                if _address(made[replica]) == _address(made[other]):
                    yield Warning(
                        f"The replicas {other!r} and {replica!r} of {alias!r} are the same server.",
                        hint=f"Correct one of them in DATABASE_SETS[{alias!r}]. A server that is to be read "
                        f"more often than others has a {WEIGHT!r}.",
                        id="pindb.W017",
                    )


def _check_keys(alias: str, index: int) -> Iterator[CheckMessage]:
    known = (*ADDRESS, *USE, WEIGHT, ALIAS)
    for key in conf.DATABASE_SETS[alias][index]:
        # What the master has too is for its backend.
        if key in known or key in conf.MASTER_DATABASES[alias]:
            continue
        place, meant = f"DATABASE_SETS[{alias!r}][{index}]", nearest(key, known)
        if meant is not None:
            yield Error(f"{place} has the key {key!r}.", hint=f"Write {meant!r}.", id="pindb.E019")
        else:
            yield Warning(
                f"{place} has the key {key!r}, which neither Django nor pindb knows.",
                hint=f"Write one of {', '.join(known)}. A key that the database's backend takes belongs into "
                f"MASTER_DATABASES[{alias!r}] too; this check leaves it alone then.",
                id="pindb.W018",
            )


def _check_entry(master: str, alias: str, made: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Report an entry of DATABASES that leads elsewhere than what populate_replicas has made of the settings.

    It is another database of that alias, or was changed afterwards. Tests change names of databases, and
    sites wrap engines, so only the server's address counts.
    """
    entry: Any = settings.DATABASES.get(alias)
    if not isinstance(entry, Mapping):
        return
    for key in ("HOST", "PORT"):
        found, expected = (_plain(database.get(key)) for database in (entry, made))
        if found != expected:
            where = "MASTER_DATABASES" if alias == master else f"DATABASE_SETS[{master!r}]"
            yield Warning(
                f"DATABASES[{alias!r}] has the {key} {found!r}, but it is {expected!r} by {where}.",
                hint="Change MASTER_DATABASES and DATABASE_SETS before DATABASES is filled from them, and "
                "give databases that pindb does not manage other aliases.",
                id="pindb.W019",
            )
            return


def _plain(value: object) -> str:
    """Return a host or port as text: Django takes 5432 and "5432", None and ""."""
    return "" if value is None else str(value)


def _address(database: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one server from another: all settings but those that say how it is used."""
    address = {
        key: value for key, value in database.items() if key not in USE and value not in (None, "", {})
    }
    return address | {key: _plain(address[key]) for key in ("HOST", "PORT") if key in address}
