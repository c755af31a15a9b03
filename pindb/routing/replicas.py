"""Which replica of a set is read: each in turn, of those that are fit, and one for the whole of a context."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Collection, Iterator
from itertools import chain, cycle, islice

from django.db import connections

from pindb._stats import count
from pindb.conf import conf, on_change
from pindb.pins.context import Choices, PinningContext, current
from pindb.sets.connections import get_connection
from pindb.sets.definitions import DEFAULT_ALIAS, get_sets
from pindb.sets.health import has_reached, is_known_to_have, is_trusted, is_up
from pindb.sets.lag import is_lagging
from pindb.sets.servers import get_member
from pindb.signals import unpinned

__all__ = ["choose_again", "choose_master", "choose_reached", "choose_replica", "get_replica"]

logger = logging.getLogger("pindb")


class _Rotation:
    """The replicas of a set in turn, each as often as its weight says. Safe under threads.

    Attributes:
        names: the replicas.
        turns: endless aliases; next() on a cycle is atomic, so threads share it without a lock.
        length: after how many turns they begin again.
    """

    __slots__ = ("length", "names", "turns")

    def __init__(self, alias: str) -> None:
        sets = get_sets()
        order = spread(sets.weights[alias])
        # Processes start anywhere, so that a deployment's first requests do not all hit the same replica.
        start = random.randrange(len(order) or 1)  # noqa: S311
        self.turns: Iterator[str] = cycle(order[start:] + order[:start])
        self.names = sets.replicas[alias]
        self.length = len(order)


def spread(weights: dict[str, int]) -> list[str]:
    """Each name as often as its weight says, as evenly as can be: nginx's smooth weighted round robin."""
    total = sum(weights.values())
    credit = dict.fromkeys(weights, 0)
    order = []
    for _ in range(total):
        for name, weight in weights.items():
            credit[name] += weight
        chosen = max(credit, key=credit.__getitem__)
        credit[chosen] -= total
        order.append(chosen)
    return order


_rotations: dict[str, _Rotation] = {}
# Masters that are down, while replicas serve the reads of pinned sets.
_without_master: set[str] = set()


def choose_replica(context: PinningContext, alias: str) -> str:
    """The replica that `context` reads of the set `alias`, chosen at its first use.

    The master where the set has none or none is fit, but any replica that answers where the master does not.
    """
    choices = context._choices or context.choices
    chosen = choices.replicas.get(alias)
    if chosen is None:
        chosen = choices.replicas[alias] = _next(alias, choices.passed_over) or _last_resort(alias)
    elif chosen != alias and not is_up(get_member(chosen), get_connection(chosen)):
        chosen = choose_again(context, alias, chosen)
    return chosen


def choose_reached(context: PinningContext, alias: str, position: str) -> str:
    """The member that `context` reads of a set pinned by position: a replica that is there, or the master.

    Where all replicas have got there, the context carries the pin no further.
    """
    while True:
        chosen = _next_reached(context.choices, alias, position)
        if chosen is not None:
            if alias in context.carried:
                _drop_if_reached(context, alias, position)
            return chosen
        if time.monotonic() >= context.wait_until or not get_sets().replicas[alias]:
            break
        time.sleep(max(conf.PINDB_POSITION_CHECK_MS, 1) / 1000)
    if get_sets().replicas[alias] and not is_up(get_member(alias), get_connection(alias)):
        # Nobody else can serve: a replica that was behind a moment ago may be there now.
        chosen = _next_reached(context.choices, alias, position, insist=True)
    return chosen or choose_master(context, alias)


def _next_reached(choices: Choices, alias: str, position: str, insist: bool = False) -> str | None:
    """The replica that is read of those that have got to `position`; None: none has."""
    first = choices.replicas.get(alias)
    if first in choices.served:
        # Another one may be behind what was seen on this one.
        return first if _is_fit(first, alias, position, insist) else None
    chosen = _next(alias, choices.passed_over, first, position, insist)
    if chosen is not None:
        choices.replicas[alias] = chosen
    return chosen


def choose_master(context: PinningContext, alias: str) -> str:
    """The master of a pinned set; where it is down and the site wants that, a replica."""
    if not conf.PINDB_READ_REPLICAS_WHEN_MASTER_DOWN:
        return alias
    if is_up(get_member(alias), get_connection(alias)):
        _without_master.discard(alias)
        return alias
    choices = context.choices
    chosen = choices.replicas.get(alias) or _next(alias, choices.passed_over)
    if chosen is None:
        return alias
    if alias not in _without_master:
        _without_master.add(alias)
        logger.warning("The master %r is down: reads of the pinned set go to replicas.", alias)
    choices.replicas[alias] = chosen
    return chosen


def choose_again(context: PinningContext, alias: str, failed: str) -> str:
    """The member that `context` reads after the replica `failed` has failed it, for the rest of the context.

    Where the replica had returned something before, the master comes first: it is never behind what was seen.
    """
    choices = context.choices
    choices.passed_over |= {failed}
    if choices.replicas.get(alias) == failed:
        del choices.replicas[alias]
    position = context.positions.get(alias)
    if failed in choices.served and is_up(get_member(alias), get_connection(alias)):
        chosen = alias
    elif position is not None and alias not in context.from_replica:
        chosen = choose_reached(context, alias, position)
    else:
        chosen = choose_replica(context, alias)
    context.reads[alias] = get_sets().answers[chosen]
    return chosen


def _next(
    alias: str,
    without: Collection[str],
    first: str | None = None,
    position: str | None = None,
    insist: bool = False,
) -> str | None:
    """The next replica in turn that is fit; None: none is.

    Arguments:
        alias: the set.
        without: replicas to pass over.
        first: the replica to begin with.
        position: what it must have replayed.
        insist: ask each how far it is, however lately it was asked.
    """
    rotation = _rotations.get(alias) or _rotations.setdefault(alias, _Rotation(alias))
    if not rotation.names:
        return None
    if first is None or first == alias:
        first = next(rotation.turns)
    if first not in without and _is_fit(first, alias, position, insist):
        return first
    tried = {first, *without}
    # Whoever's turn comes next, so that all others share what one of them cannot serve. Other threads may
    # take the turn of one that is fit.
    for other in chain(islice(rotation.turns, rotation.length), rotation.names):
        if other not in tried:
            if _is_fit(other, alias, position, insist):
                return other
            tried.add(other)
    return None


def _is_fit(replica: str, master: str, position: str | None, insist: bool = False) -> bool:
    if conf.PINDB_MAX_REPLICA_LAG is None and position is None and is_trusted(replica):
        return True
    member, connection = get_member(replica), get_connection(replica)
    if not is_up(member, connection) or is_lagging(member, connection, master):
        return False
    return position is None or has_reached(member, connection, position, insist)


def _last_resort(alias: str) -> str:
    """Where no replica is fit: the master, or whichever replica answers."""
    replicas = get_sets().replicas[alias]
    if replicas and not is_up(get_member(alias), get_connection(alias)):
        for replica in replicas:
            if is_up(get_member(replica), get_connection(replica), insist=True):
                return replica
    return alias


def _drop_if_reached(context: PinningContext, alias: str, position: str) -> None:
    members = [(get_member(name), get_connection(name)) for name in get_sets().replicas[alias]]
    if all(is_known_to_have(member, connection, position) for member, connection in members):
        context.drop(alias)
        count("pins_dropped")
        unpinned.send_robust(PinningContext, alias=alias, position=position)


def get_replica(alias: str = DEFAULT_ALIAS) -> str:
    """The alias of a replica of the set `alias`, for ``.using(...)`` and ``connections[...]``.

    It is the replica that this pinning context reads, chosen in turn where it has read none yet, whether
    the set is pinned or not. A connection to it is open.

    Arguments:
        alias: the alias of a master, or of a database that pindb does not manage.

    Returns:
        An alias in ``DATABASES``: `alias` itself where the set has no replicas, none of them is there, pindb
        does not manage the database, or ``PINDB_ENABLED`` is off.

    Raises:
        PinDbConfigError: `alias` is a replica's, or not in ``DATABASES``.
    """
    if not conf.PINDB_ENABLED:
        return alias
    sets = get_sets()
    if alias not in sets.masters and alias in connections.settings:
        return alias
    sets.check_master(alias)
    # A plain text: who asks for it decides where to read.
    return str(choose_replica(current(), alias))


@on_change
def _forget(setting: str) -> None:
    _rotations.clear()
    _without_master.clear()
