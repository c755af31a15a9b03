"""Checks of the entries of ``DATABASE_SETS``, one replica at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from pindb.checks.reporting import nearest
from pindb.conf import conf
from pindb.sets.definitions import get_sets, populate_replicas
from pindb.sets.validation import ALIAS, WEIGHT

__all__ = ["check_replicas"]

#: Django's settings of a database that identify the server, and those that control how it is used.
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
    """Check the replicas of valid sets: E019, W016 to W019."""
    made = populate_replicas(conf.MASTER_DATABASES, conf.DATABASE_SETS, unmanaged_default=True)
    for alias, replicas in get_sets().replicas.items():
        yield from _check_entry(alias, alias, made[alias])
        for index, replica in enumerate(replicas):
            yield from _check_keys(alias, index)
            yield from _check_entry(alias, replica, made[replica])
            if _address(made[replica]) == _address(made[alias]):
                yield Warning(
                    f"The replica {replica!r} has the same address as its master {alias!r}, so its reads go "
                    "to the master.",
                    hint=f"Write the replica's address into DATABASE_SETS[{alias!r}][{index}]: "
                    "{'HOST': ...}. Write an empty list if the set has no replicas.",
                    id="pindb.W016",
                )
                continue
            for other in replicas[:index]:
                if _address(made[replica]) == _address(made[other]):
                    yield Warning(
                        f"The replicas {other!r} and {replica!r} of {alias!r} are the same server.",
                        hint=f"Correct one of them in DATABASE_SETS[{alias!r}]. To read a server more often, "
                        f"give it a {WEIGHT!r}.",
                        id="pindb.W017",
                    )


def _check_keys(alias: str, index: int) -> Iterator[CheckMessage]:
    known = (*ADDRESS, *USE, WEIGHT, ALIAS)
    for key in conf.DATABASE_SETS[alias][index]:
        # A key that the master has too is for its database backend.
        if key in known or key in conf.MASTER_DATABASES[alias]:
            continue
        place, meant = f"DATABASE_SETS[{alias!r}][{index}]", nearest(key, known)
        if meant is not None:
            yield Error(f"{place} has the unknown key {key!r}.", hint=f"Write {meant!r}.", id="pindb.E019")
        else:
            yield Warning(
                f"{place} has the key {key!r}, which neither Django nor pindb knows.",
                hint=f"Write one of {', '.join(known)}. If the database backend takes the key, write it into "
                f"MASTER_DATABASES[{alias!r}] too.",
                id="pindb.W018",
            )


def _check_entry(master: str, alias: str, made: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Report an entry of ``DATABASES`` whose address differs from the one that `populate_replicas` returns.

    Then the site has another database of that alias, or has changed the entry afterwards. Only the address is
    compared, since tests change the names of databases, and sites wrap engines.
    """
    entry: Any = settings.DATABASES.get(alias)
    if not isinstance(entry, Mapping):
        return
    for key in ("HOST", "PORT"):
        found, expected = (_plain(database.get(key)) for database in (entry, made))
        if found != expected:
            where = "MASTER_DATABASES" if alias == master else f"DATABASE_SETS[{master!r}]"
            yield Warning(
                f"DATABASES[{alias!r}] has the {key} {found!r}, but {where} says {expected!r}.",
                hint="Change MASTER_DATABASES and DATABASE_SETS before DATABASES is made from them. Give "
                "databases that pindb does not manage other aliases.",
                id="pindb.W019",
            )
            return


def _plain(value: object) -> str:
    """Return a host or port as text: Django accepts 5432 and "5432", None and ""."""
    return "" if value is None else str(value)


def _address(database: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that identify a server."""
    address = {
        key: value for key, value in database.items() if key not in USE and value not in (None, "", {})
    }
    return address | {key: _plain(address[key]) for key in ("HOST", "PORT") if key in address}
