"""What DB sets exist: masters, their replicas, and the aliases that both go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pindb.conf import conf, on_change
from pindb.exceptions import PinDbConfigError
from pindb.sets.aliases import RoutedAlias

__all__ = ["DatabaseSets", "get_sets", "pool_timeout", "populate_replicas"]

DEFAULT_ALIAS = "default"

#: The keys of DATABASE_SETS that are pindb's own: how many of the set's reads a replica gets, and the alias
#: that it goes by, instead of one by its place in the list.
WEIGHT = "WEIGHT"
ALIAS = "ALIAS"

#: The highest weight: they are written for what one server can do more than another.
MAX_WEIGHT = 100


#: How long (seconds) a read waits for a connection of a replica's pool, where no setting says.
POOL_TIMEOUT = 5.0


def populate_replicas(
    masters: Mapping[str, Mapping[str, Any]],
    replica_overrides: Mapping[str, Sequence[Mapping[str, Any]]],
    unmanaged_default: bool = False,
) -> dict[str, dict[str, Any]]:
    """Expand masters and their replicas into entries for ``DATABASES``.

    For use in a settings module: ``DATABASES.update(populate_replicas(MASTER_DATABASES, DATABASE_SETS))``.

    Arguments:
        masters: settings of each master by its alias, as in ``DATABASES``.
        replica_overrides: for each master alias a list with one dict for each of its replicas, of the
            settings in which the replica differs (usually ``{"HOST": ...}``). An empty list is a set
            without replicas. ``"WEIGHT"`` (1 to 100, usually 1) is how often its turn comes to be read,
            beside the weights of the others. ``"ALIAS"`` is the replica's alias, which then does not depend
            on its place in the list.
        unmanaged_default: the ``"default"`` database is not one of the masters.

    Returns:
        A new dict: each master under its alias, its replicas under their ``"ALIAS"``, or as ``"<alias>-0"``,
        ``"<alias>-1"`` ... where they have none; the number is the replica's index in its list. A replica
        has its master's settings with the overrides merged in, dicts inside them (``OPTIONS``, ``TEST``) key
        by key; it is a test mirror of its master, and ``ATOMIC_REQUESTS`` is off, so that a request opens no
        transaction on a database that it may never read. The pool of a PostgreSQL replica gets a
        ``"timeout"`` where it has none: ``connect_timeout``, else 5 seconds. The arguments are not changed
        and share no dict with the result.

    Raises:
        PinDbConfigError: the arguments contradict each other or have the wrong shape.
    """
    sets = DatabaseSets(masters, replica_overrides)
    if DEFAULT_ALIAS not in masters and not unmanaged_default:
        raise PinDbConfigError(
            f"MASTER_DATABASES has no 'default' master (it has: {_listed(masters)}). Name one of the "
            "masters 'default', or, if DATABASES has a 'default' of its own that pindb is not to manage, "
            "call populate_replicas(MASTER_DATABASES, DATABASE_SETS, unmanaged_default=True)."
        )
    databases = {}
    for alias, master in masters.items():
        databases[alias] = _merged(master, {})
        for name, overrides in zip(sets.replicas[alias], replica_overrides[alias], strict=True):
            replica = _merged(master, overrides)
            for key in (WEIGHT, ALIAS):
                replica.pop(key, None)
            replica["ATOMIC_REQUESTS"] = False
            replica["TEST"] = {**(replica.get("TEST") or {}), "MIRROR": alias}
            _bound_pool(replica)
            databases[str(name)] = replica
    return databases


class DatabaseSets:
    """The DB sets of two dicts, ``MASTER_DATABASES`` and ``DATABASE_SETS``. Never changes.

    Attributes:
        replicas: the replicas' aliases by master alias, in their order; an empty tuple where there are none.
        answers: all managed aliases by themselves, as answers for reads.
        masters: for every managed alias, of a master or a replica, the alias of its set's master.
        weights: by master alias and replica's alias, how often its turn comes.

    Raises:
        PinDbConfigError: the dicts contradict each other or have the wrong shape.
    """

    __slots__ = ("answers", "masters", "replicas", "weights")

    replicas: dict[str, tuple[RoutedAlias, ...]]
    answers: dict[str, RoutedAlias]
    masters: dict[str, str]
    weights: dict[str, dict[str, int]]

    def __init__(self, masters: Any, replica_overrides: Any) -> None:
        _check_shapes(masters, replica_overrides)
        self.replicas = {
            alias: tuple(
                RoutedAlias(_replica_alias(alias, i, one), alias)
                for i, one in enumerate(replica_overrides[alias])
            )
            for alias in masters
        }
        self.answers = {alias: RoutedAlias(alias, alias) for alias in masters}
        self.masters = {alias: alias for alias in masters}
        _check_names(self.replicas, replica_overrides)
        self.weights = {
            alias: dict(zip(names, (one.get(WEIGHT, 1) for one in replica_overrides[alias]), strict=True))
            for alias, names in self.replicas.items()
        }
        for alias, replicas in self.replicas.items():
            self.masters.update(dict.fromkeys(map(str, replicas), alias))
            self.answers.update({str(replica): replica for replica in replicas})

    def check_master(self, alias: str) -> None:
        """Raise `PinDbConfigError` unless `alias` is a master's."""
        if alias in self.replicas:
            return
        if alias in self.masters:
            raise PinDbConfigError(
                f"{alias!r} is the alias of a replica. A DB set goes by its master's alias: "
                f"write {self.masters[alias]!r}."
            )
        raise PinDbConfigError(
            f"{alias!r} is not a master in MASTER_DATABASES (it has: {_listed(self.replicas)}). "
            "Databases that are not listed there are not managed by pindb."
        )


_sets: DatabaseSets | None = None


def get_sets() -> DatabaseSets:
    """The DB sets of the settings, worked out once and again after a setting changed.

    Raises:
        PinDbConfigError: ``MASTER_DATABASES`` or ``DATABASE_SETS`` is missing or wrong.
    """
    global _sets
    if _sets is None:
        for name in ("MASTER_DATABASES", "DATABASE_SETS"):
            if getattr(conf, name) is None:
                raise PinDbConfigError(
                    f"The setting {name} is missing. Define MASTER_DATABASES (masters, as in DATABASES) and "
                    "DATABASE_SETS (for each master alias a list of its replicas' settings), and write "
                    "DATABASES.update(pindb.populate_replicas(MASTER_DATABASES, DATABASE_SETS))."
                )
        _sets = DatabaseSets(conf.MASTER_DATABASES, conf.DATABASE_SETS)
    return _sets


@on_change
def _forget(setting: str) -> None:
    global _sets
    _sets = None


def pool_timeout(options: Mapping[str, Any]) -> float:
    """How long (seconds) to wait for a connection of a pool, as ``OPTIONS`` say.

    The pool's own ``"timeout"``, else ``connect_timeout``, else `POOL_TIMEOUT`.
    """
    pool = options.get("pool")
    for value in (pool.get("timeout") if isinstance(pool, Mapping) else None, options.get("connect_timeout")):
        try:
            seconds = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        # To PostgreSQL's drivers, 0 and less mean that they wait for ever.
        if seconds > 0:
            return seconds
    return POOL_TIMEOUT


def _bound_pool(replica: dict[str, Any]) -> None:
    """Let no read wait for a replica's pool for the 30 seconds that psycopg's pools wait by themselves."""
    options = replica.get("OPTIONS") or {}
    pool = options.get("pool")
    if (pool is True or isinstance(pool, Mapping)) and "oracle" not in str(replica.get("ENGINE")):
        options["pool"] = {"timeout": pool_timeout(options), **({} if pool is True else pool)}


def _replica_alias(master: str, index: int, overrides: Mapping[str, Any]) -> str:
    alias: str = overrides.get(ALIAS, f"{master}-{index}")
    return alias


def _listed(aliases: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, aliases)) or "none"


def _merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `overrides`, dicts inside them merged the same way; shares no dict with either."""
    merged = dict(base)
    for key, value in overrides.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(old, value) if both and old is not None else value
    return {k: _merged(v, {}) if isinstance(v, Mapping) else v for k, v in merged.items()}


def _check_shapes(masters: Any, replica_overrides: Any) -> None:
    for name, value in (("MASTER_DATABASES", masters), ("DATABASE_SETS", replica_overrides)):
        if not isinstance(value, Mapping):
            raise PinDbConfigError(
                f"{name} is {value!r}. Write a dict with the aliases of the masters as its keys."
            )
    for alias, master in masters.items():
        if not isinstance(alias, str) or not alias:
            raise PinDbConfigError(f"MASTER_DATABASES has the alias {alias!r}. Write a name: 'default'.")
        if not isinstance(master, Mapping):
            raise PinDbConfigError(
                f"MASTER_DATABASES[{alias!r}] is {type(master).__name__}, not a dict. "
                "Write the master's settings as in DATABASES: {'ENGINE': ..., 'NAME': ..., ...}."
            )
        _check_inner_dicts(f"MASTER_DATABASES[{alias!r}]", master)
        if WEIGHT in master:
            raise PinDbConfigError(
                f"MASTER_DATABASES[{alias!r}] has {WEIGHT!r}, which says how often a replica is read. Write "
                f"it into the dicts of DATABASE_SETS[{alias!r}]."
            )
        if ALIAS in master:
            raise PinDbConfigError(
                f"MASTER_DATABASES[{alias!r}] has {ALIAS!r}, which names a replica. A master goes by its key "
                f"in MASTER_DATABASES: remove {ALIAS!r}, or write it into the dicts of "
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
                f"{_listed(masters)}). Add MASTER_DATABASES[{alias!r}] or remove the entry."
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
                    f"to {MAX_WEIGHT}; a replica that is not to be read is left out."
                )
            name = overrides.get(ALIAS, "a name")
            if not isinstance(name, str) or not name.strip():
                raise PinDbConfigError(
                    f"DATABASE_SETS[{alias!r}][{index}][{ALIAS!r}] is {name!r}. Write the alias that this "
                    f"replica gets in DATABASES, such as {alias + '-eu1'!r}, or leave it out."
                )


def _check_names(replicas: Mapping[str, Sequence[str]], replica_overrides: Any) -> None:
    """Raise `PinDbConfigError` unless every replica has an alias to itself."""
    places: dict[str, str] = {}
    for alias, names in replicas.items():
        for index, name in enumerate(names):
            place = f"DATABASE_SETS[{alias!r}][{index}]"
            named = ALIAS in replica_overrides[alias][index]
            if named and (name in replicas or name == DEFAULT_ALIAS):
                owner = "of a master" if name in replicas else "of the database that Django cannot do without"
                raise PinDbConfigError(
                    f"{place}[{ALIAS!r}] is {name!r}, the alias {owner}. Write another alias, such as "
                    f"{alias + '-eu1'!r}."
                )
            if name in replicas:
                raise PinDbConfigError(
                    f"MASTER_DATABASES has a master {name!r}, and a replica of {alias!r} in "
                    f"DATABASE_SETS[{alias!r}] gets the same alias. Rename the master {name!r}, or give "
                    f"{place} an {ALIAS!r}."
                )
            other = places.setdefault(name, place)
            if other != place:
                raise PinDbConfigError(
                    f"{other} and {place} both get the alias {name!r}. Give each replica an {ALIAS!r} of its "
                    "own; without one, a replica is called after its master and its place in the list."
                )


def _check_inner_dicts(where: str, database: Mapping[str, Any]) -> None:
    for key in ("OPTIONS", "TEST"):
        value = database.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise PinDbConfigError(f"{where}[{key!r}] is {value!r}. Write a dict, as in DATABASES.")
