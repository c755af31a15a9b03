"""Which replica of a set is read: each in turn, and one for the whole of a pinning context."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import cycle

from pindb.conf import conf
from pindb.pinning import PinningContext, current
from pindb.sets import DEFAULT_ALIAS, get_sets

__all__ = ["choose_replica", "get_replica"]

# By the members of a set, so that changed settings start a rotation of their own. next() on a cycle is
# atomic, so threads share it without a lock.
_rotations: dict[tuple[str, ...], Iterator[str]] = {}


def choose_replica(context: PinningContext, alias: str, replicas: tuple[str, ...]) -> str:
    """The replica that `context` reads of the set `alias`, chosen at its first use; the master if none."""
    chosen = context.replicas.get(alias)
    if chosen is None:
        if not replicas:
            return alias
        chosen = context.replicas[alias] = next(_rotations.get(replicas) or _new_rotation(replicas))
    return chosen


def _new_rotation(replicas: tuple[str, ...]) -> Iterator[str]:
    # Processes start anywhere, so that a deployment's first requests do not all hit the same replica.
    start = random.randrange(len(replicas))  # noqa: S311
    return _rotations.setdefault(replicas, cycle(replicas[start:] + replicas[:start]))


def get_replica(alias: str = DEFAULT_ALIAS) -> str:
    """The alias of a replica of the set `alias`, for ``.using(...)`` and ``connections[...]``.

    It is the replica that this pinning context reads, chosen in turn where it has read none yet, whether
    the set is pinned or not.

    Arguments:
        alias: the alias of a master.

    Returns:
        An alias in ``DATABASES``: `alias` itself where the set has no replicas or ``PINDB_ENABLED`` is off.

    Raises:
        PinDbConfigError: `alias` is not a master's.
    """
    if not conf.PINDB_ENABLED:
        return alias
    sets = get_sets()
    sets.check_master(alias)
    return choose_replica(current(), alias, sets.replicas[alias])
