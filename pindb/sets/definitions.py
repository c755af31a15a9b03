"""Definitions of the DB sets: masters, their replicas, and the aliases of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pindb.conf import conf, on_change
from pindb.exceptions import PinDbConfigError
from pindb.sets.aliases import DEFAULT_ALIAS, RoutedAlias
from pindb.sets.pools import pool_timeout
from pindb.sets.validation import ALIAS, WEIGHT, check_aliases, check_shapes, listed

__all__ = ["DatabaseSets", "get_sets", "populate_replicas"]


def populate_replicas(
    masters: Mapping[str, Mapping[str, Any]],
    replica_overrides: Mapping[str, Sequence[Mapping[str, Any]]],
    unmanaged_default: bool = False,
) -> dict[str, dict[str, Any]]:
    """Make the entries of ``DATABASES`` for masters and their replicas.

    For a settings module: ``DATABASES.update(populate_replicas(MASTER_DATABASES, DATABASE_SETS))``.

    Arguments:
        masters: the settings of each master by its alias, as in ``DATABASES``.
        replica_overrides: for each master's alias a list with one dict per replica. The dict has the settings
            in which the replica differs from its master, usually ``{"HOST": ...}``. An empty list is a set
            without replicas. Two more keys are pindb's own: ``"WEIGHT"`` (1 to 100, by default 1) is the
            replica's share of the reads, relative to the weights of the other replicas; ``"ALIAS"`` is the
            replica's alias.
        unmanaged_default: accept that no master is called ``"default"``.

    Returns:
        A new dict with each master under its alias, and each replica under its ``"ALIAS"``, or under
        ``"<master>-<index in the list>"`` if it has none: ``"default-0"``, ``"default-1"``.

        A replica has its master's settings, with its own dict merged in; ``OPTIONS`` and ``TEST`` are merged
        key by key. It is a test mirror of its master. Its ``ATOMIC_REQUESTS`` is off: a request would open a
        transaction on each replica, read or not. A PostgreSQL pool without a ``"timeout"`` gets the
        replica's ``connect_timeout``, or 5 seconds. The arguments are not changed, and the result shares no
        dict with them.

    Raises:
        PinDbConfigError: the arguments contradict each other or have the wrong shape.
    """
    sets = DatabaseSets(masters, replica_overrides)
    if DEFAULT_ALIAS not in masters and not unmanaged_default:
        raise PinDbConfigError(
            f"MASTER_DATABASES has no 'default' master (it has: {listed(masters)}). Rename one of the "
            "masters to 'default'. If pindb is not to manage the 'default' of DATABASES, call "
            "populate_replicas(MASTER_DATABASES, DATABASE_SETS, unmanaged_default=True)."
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
            _limit_pool_timeout(replica)
            databases[str(name)] = replica
    return databases


class DatabaseSets:
    """The DB sets that ``MASTER_DATABASES`` and ``DATABASE_SETS`` define. Immutable.

    Attributes:
        replicas: the aliases of the replicas in their order, by the master's alias; an empty tuple for a set
            without replicas.
        routed: every managed alias as a `RoutedAlias`, by its text: the answers of the routers.
        masters: for every managed alias, of a master or a replica, the alias of its set's master.
        weights: by the master's alias and the replica's alias, the replica's weight.

    Raises:
        PinDbConfigError: the dicts contradict each other or have the wrong shape.
    """

    __slots__ = ("masters", "replicas", "routed", "weights")

    replicas: dict[str, tuple[RoutedAlias, ...]]
    routed: dict[str, RoutedAlias]
    masters: dict[str, str]
    weights: dict[str, dict[str, int]]

    def __init__(self, masters: Any, replica_overrides: Any) -> None:
        check_shapes(masters, replica_overrides)
        self.replicas = {
            alias: tuple(
                RoutedAlias(_replica_alias(alias, i, one), alias)
                for i, one in enumerate(replica_overrides[alias])
            )
            for alias in masters
        }
        self.routed = {alias: RoutedAlias(alias, alias) for alias in masters}
        self.masters = {alias: alias for alias in masters}
        check_aliases(self.replicas, replica_overrides)
        self.weights = {
            alias: dict(zip(names, (one.get(WEIGHT, 1) for one in replica_overrides[alias]), strict=True))
            for alias, names in self.replicas.items()
        }
        for alias, replicas in self.replicas.items():
            self.masters.update(dict.fromkeys(map(str, replicas), alias))
            self.routed.update({str(replica): replica for replica in replicas})

    def check_master(self, alias: str) -> None:
        """Raise `PinDbConfigError` unless `alias` is the alias of a master."""
        if alias in self.replicas:
            return
        if alias in self.masters:
            raise PinDbConfigError(
                f"{alias!r} is the alias of a replica. A DB set is named by its master's alias: "
                f"write {self.masters[alias]!r}."
            )
        raise PinDbConfigError(
            f"{alias!r} is not a master in MASTER_DATABASES (it has: {listed(self.replicas)}). Write one of "
            "these. pindb does not manage other databases."
        )


_sets: DatabaseSets | None = None


def get_sets() -> DatabaseSets:
    """Return the DB sets of the settings. They are read once, and again after a setting has changed.

    Raises:
        PinDbConfigError: ``MASTER_DATABASES`` or ``DATABASE_SETS`` is missing or wrong.
    """
    global _sets
    if _sets is None:
        for name in ("MASTER_DATABASES", "DATABASE_SETS"):
            if getattr(conf, name) is None:
                raise PinDbConfigError(
                    f"The setting {name} is missing. Define MASTER_DATABASES (the masters, as in DATABASES) "
                    "and DATABASE_SETS (for each master's alias a list of its replicas' settings), and write "
                    "DATABASES.update(pindb.populate_replicas(MASTER_DATABASES, DATABASE_SETS))."
                )
        _sets = DatabaseSets(conf.MASTER_DATABASES, conf.DATABASE_SETS)
    return _sets


@on_change
def _forget(setting: str) -> None:
    global _sets
    _sets = None


def _limit_pool_timeout(replica: dict[str, Any]) -> None:
    """Give a replica's pool a timeout, so that no read waits for psycopg_pool's default of 30 seconds."""
    options = replica.get("OPTIONS") or {}
    pool = options.get("pool")
    if (pool is True or isinstance(pool, Mapping)) and "oracle" not in str(replica.get("ENGINE")):
        options["pool"] = {"timeout": pool_timeout(options), **({} if pool is True else pool)}


def _replica_alias(master: str, index: int, overrides: Mapping[str, Any]) -> str:
    alias: str = overrides.get(ALIAS, f"{master}-{index}")
    return alias


def _merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two dicts, and the dicts inside them; the result shares no dict with either."""
    merged = dict(base)
    for key, value in overrides.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(old, value) if both and old is not None else value
    return {k: _merged(v, {}) if isinstance(v, Mapping) else v for k, v in merged.items()}
