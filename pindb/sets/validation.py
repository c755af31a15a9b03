"""Validation of ``MASTER_DATABASES`` and ``DATABASE_SETS``: shapes, keys, weights and aliases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pindb.exceptions import PinDbConfigError
from pindb.sets.aliases import DEFAULT_ALIAS

__all__ = ["ALIAS", "WEIGHT", "check_aliases", "check_shapes", "listed"]

#: The keys of a replica's dict that are pindb's own, and do not get into ``DATABASES``.
WEIGHT = "WEIGHT"
ALIAS = "ALIAS"

#: Weights express differences in capacity; a higher number is probably a mistake.
MAX_WEIGHT = 100


def listed(aliases: Mapping[str, Any]) -> str:
    """Return aliases as a part of a message."""
    return ", ".join(map(repr, aliases)) or "none"


def check_shapes(masters: Any, replica_overrides: Any) -> None:
    """Raise `PinDbConfigError` unless both settings have the right shape, and the same aliases.

    Arguments:
        masters: ``MASTER_DATABASES``.
        replica_overrides: ``DATABASE_SETS``.
    """
    for name, value in (("MASTER_DATABASES", masters), ("DATABASE_SETS", replica_overrides)):
        if not isinstance(value, Mapping):
            raise PinDbConfigError(
                f"{name} is {value!r}, not a dict. Write a dict whose keys are the aliases of the masters."
            )
    for alias, master in masters.items():
        if not isinstance(alias, str) or not alias:
            raise PinDbConfigError(
                f"MASTER_DATABASES has the alias {alias!r}, which is not a name. Write text: 'default'."
            )
        if not isinstance(master, Mapping):
            raise PinDbConfigError(
                f"MASTER_DATABASES[{alias!r}] is {type(master).__name__}, not a dict. "
                "Write the master's settings as in DATABASES: {'ENGINE': ..., 'NAME': ..., ...}."
            )
        _check_inner_dicts(f"MASTER_DATABASES[{alias!r}]", master)
        if WEIGHT in master:
            raise PinDbConfigError(
                f"MASTER_DATABASES[{alias!r}] has {WEIGHT!r}, which is a replica's share of the reads. Write "
                f"it into the dicts of DATABASE_SETS[{alias!r}]."
            )
        if ALIAS in master:
            raise PinDbConfigError(
                f"MASTER_DATABASES[{alias!r}] has {ALIAS!r}, which is for replicas. The alias of a master is "
                f"its key in MASTER_DATABASES: remove {ALIAS!r}, or write it into the dicts of "
                f"DATABASE_SETS[{alias!r}]."
            )
        if alias not in replica_overrides:
            raise PinDbConfigError(
                f"The master {alias!r} of MASTER_DATABASES has no entry in DATABASE_SETS. Write "
                f"DATABASE_SETS[{alias!r}] = [{{'HOST': ...}}, ...] with a dict for each of its replicas, "
                "or [] if it has none."
            )
    for alias, replicas in replica_overrides.items():
        if alias not in masters:
            raise PinDbConfigError(
                f"DATABASE_SETS has an entry {alias!r}, but MASTER_DATABASES has no such master (it has: "
                f"{listed(masters)}). Add MASTER_DATABASES[{alias!r}] or remove the entry."
            )
        if not isinstance(replicas, (list, tuple)):
            raise PinDbConfigError(
                f"DATABASE_SETS[{alias!r}] is {type(replicas).__name__}, not a list. Write a list with a "
                "dict for each replica: [{'HOST': ...}, ...]."
            )
        for index, overrides in enumerate(replicas):
            if not isinstance(overrides, Mapping):
                raise PinDbConfigError(
                    f"DATABASE_SETS[{alias!r}][{index}] is {type(overrides).__name__}, not a dict. Write "
                    "the settings in which this replica differs from its master: {'HOST': ...}."
                )
            _check_inner_dicts(f"DATABASE_SETS[{alias!r}][{index}]", overrides)
            weight = overrides.get(WEIGHT, 1)
            if type(weight) is not int or not 1 <= weight <= MAX_WEIGHT:
                raise PinDbConfigError(
                    f"DATABASE_SETS[{alias!r}][{index}][{WEIGHT!r}] is {weight!r}. Write an integer from 1 "
                    f"to {MAX_WEIGHT}; leave out a replica that is not to be read."
                )
            name = overrides.get(ALIAS, "a name")
            if not isinstance(name, str) or not name.strip():
                raise PinDbConfigError(
                    f"DATABASE_SETS[{alias!r}][{index}][{ALIAS!r}] is {name!r}. Write the alias that this "
                    f"replica gets in DATABASES, such as {alias + '-eu1'!r}, or leave it out."
                )


def check_aliases(replicas: Mapping[str, Sequence[str]], replica_overrides: Any) -> None:
    """Raise `PinDbConfigError` if a replica has the alias of a master or of another replica.

    Arguments:
        replicas: the aliases of the replicas by the master's alias.
        replica_overrides: ``DATABASE_SETS``.
    """
    places: dict[str, str] = {}
    for alias, names in replicas.items():
        for index, name in enumerate(names):
            place = f"DATABASE_SETS[{alias!r}][{index}]"
            named = ALIAS in replica_overrides[alias][index]
            if named and (name in replicas or name == DEFAULT_ALIAS):
                owner = "of a master" if name in replicas else "of the database that Django requires"
                raise PinDbConfigError(
                    f"{place}[{ALIAS!r}] is {name!r}, the alias {owner}. Write another alias, such as "
                    f"{alias + '-eu1'!r}."
                )
            if name in replicas:
                raise PinDbConfigError(
                    f"MASTER_DATABASES has a master {name!r}, and {place}, a replica, gets the same alias. "
                    f"Rename the master {name!r}, or give {place} an {ALIAS!r}."
                )
            other = places.setdefault(name, place)
            if other != place:
                raise PinDbConfigError(
                    f"{other} and {place} both get the alias {name!r}. Give each replica an {ALIAS!r} of its "
                    "own. A replica without one is named by its master and its index in the list."
                )


def _check_inner_dicts(where: str, database: Mapping[str, Any]) -> None:
    for key in ("OPTIONS", "TEST"):
        value = database.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise PinDbConfigError(
                f"{where}[{key!r}] is {value!r}, not a dict. Write a dict, as in DATABASES."
            )
