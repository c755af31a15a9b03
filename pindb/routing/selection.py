"""Selection of the server that a read goes to: a replica that can be used, or the master.

Each new pinning context takes the next replica in turn, and then keeps it.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from itertools import chain, islice

from django.db import connections

from pindb import _events as events
from pindb.conf import conf, on_change
from pindb.pins.context import PinningContext, ReplicaChoices, current
from pindb.pins.expiry import end_if_caught_up
from pindb.routing.rotation import make_rotation, rotations
from pindb.sets.aliases import DEFAULT_ALIAS
from pindb.sets.connections import get_connection
from pindb.sets.definitions import get_sets
from pindb.sets.health import is_up, is_verified
from pindb.sets.lag import is_lagging
from pindb.sets.replay import has_replayed
from pindb.sets.servers import get_server

__all__ = ["get_replica", "select_after_failure", "select_caught_up", "select_master", "select_replica"]

# Masters that are down while replicas serve their pinned reads; each is logged once.
_replaced_masters: set[str] = set()


def select_replica(context: PinningContext, alias: str) -> str:
    """Return the replica of the set `alias` that `context` reads; its first read selects one.

    If the set has no replicas, or none can be used, the result is the master. If the master does not answer
    either, the result is any replica that answers.
    """
    choices = context._choices or context.choices
    chosen = choices.replicas.get(alias)
    if chosen is None:
        chosen = choices.replicas[alias] = _next_usable(alias, choices.failed) or _last_resort(alias)
    elif chosen != alias and not is_up(get_server(chosen), get_connection(chosen)):
        chosen = select_after_failure(context, alias, chosen)
    return chosen


def select_caught_up(context: PinningContext, alias: str, position: str) -> str:
    """Return a replica that has replayed a pin's position; the master if no replica has.

    If all replicas have replayed the position, the pin ends early.

    Arguments:
        context: the context that reads.
        alias: the master's alias.
        position: the pin's position.
    """
    while True:
        chosen = _next_caught_up(context.choices, alias, position)
        if chosen is not None:
            if alias in context.carried:
                end_if_caught_up(context, alias, position)
            return chosen
        if time.monotonic() >= context.wait_until or not get_sets().replicas[alias]:
            break
        time.sleep(max(conf.PINDB_POSITION_CHECK_MS, 1) / 1000)
    if get_sets().replicas[alias] and not is_up(get_server(alias), get_connection(alias)):
        # The master cannot serve the read. A replica that was behind a moment ago may have caught up.
        chosen = _next_caught_up(context.choices, alias, position, force=True)
    return chosen or select_master(context, alias)


def select_master(context: PinningContext, alias: str) -> str:
    """Return the master of a pinned set.

    With ``PINDB_READ_REPLICAS_WHEN_MASTER_DOWN``, the result is a replica while the master is down.
    """
    if not conf.PINDB_READ_REPLICAS_WHEN_MASTER_DOWN:
        return alias
    if is_up(get_server(alias), get_connection(alias)):
        _replaced_masters.discard(alias)
        return alias
    choices = context.choices
    chosen = choices.replicas.get(alias) or _next_usable(alias, choices.failed)
    if chosen is None:
        return alias
    if alias not in _replaced_masters:
        _replaced_masters.add(alias)
        events.PINNED_READS_ON_REPLICA.log(db_set=alias, alias=chosen)
    choices.replicas[alias] = chosen
    return chosen


def select_after_failure(context: PinningContext, alias: str, failed: str) -> str:
    """Return the server that `context` reads for the rest of its life, after the replica `failed` has failed.

    If the replica had returned rows before, the master comes first: another replica could be further behind,
    and time must not run backwards for the reader.
    """
    choices = context.choices
    choices.failed |= {failed}
    if choices.replicas.get(alias) == failed:
        del choices.replicas[alias]
    position = context.positions.get(alias)
    if failed in choices.served and is_up(get_server(alias), get_connection(alias)):
        chosen = alias
    elif position is not None and alias not in context.from_replica:
        chosen = select_caught_up(context, alias, position)
    else:
        chosen = select_replica(context, alias)
    context.routes[alias] = get_sets().routed[chosen]
    return chosen


def _next_caught_up(choices: ReplicaChoices, alias: str, position: str, force: bool = False) -> str | None:
    """Select a replica that has replayed `position`; None if no replica has."""
    first = choices.replicas.get(alias)
    if first in choices.served:
        # This context has seen rows of that replica, and another one could be further behind.
        return first if _is_usable(first, alias, position, force) else None
    chosen = _next_usable(alias, choices.failed, first, position, force)
    if chosen is not None:
        choices.replicas[alias] = chosen
    return chosen


def _next_usable(
    alias: str,
    without: Collection[str],
    first: str | None = None,
    position: str | None = None,
    force: bool = False,
) -> str | None:
    """Return the next replica in turn that can be used; None if there is none.

    Arguments:
        alias: the master's alias.
        without: replicas to skip.
        first: the replica to try first.
        position: the position that the replica must have replayed.
        force: ask replicas for their position even if they were asked a moment ago.
    """
    rotation = rotations.get(alias) or make_rotation(alias)
    if not rotation.replicas:
        return None
    if first is None or first == alias:
        first = next(rotation.turns)
    if first not in without and _is_usable(first, alias, position, force):
        return first
    tried = {first, *without}
    # The next ones in turn, so that all other replicas share the reads of one that is down. Other threads
    # take turns at the same time and may take all turns of a replica, so each replica follows once more.
    for other in chain(islice(rotation.turns, rotation.length), rotation.replicas):
        if other not in tried:
            if _is_usable(other, alias, position, force):
                return other
            tried.add(other)
    return None


def _is_usable(replica: str, master: str, position: str | None, force: bool = False) -> bool:
    if conf.PINDB_MAX_REPLICA_LAG is None and position is None and is_verified(replica):
        return True
    server, connection = get_server(replica), get_connection(replica)
    if not is_up(server, connection) or is_lagging(server, connection, master):
        return False
    return position is None or has_replayed(server, connection, position, force)


def _last_resort(alias: str) -> str:
    """Return the master, or, if the master is down, any replica that answers."""
    replicas = get_sets().replicas[alias]
    if replicas and not is_up(get_server(alias), get_connection(alias)):
        for replica in replicas:
            if is_up(get_server(replica), get_connection(replica), force=True):
                return replica
    return alias


def get_replica(alias: str = DEFAULT_ALIAS) -> str:
    """Return the alias of a replica, for ``.using(...)`` and ``connections[...]``.

    It is the replica that this pinning context reads, even if the set is pinned. If the context has not read
    one yet, the next one in turn is selected. A connection to the replica is open.

    Arguments:
        alias: the alias of a master, or of a database that pindb does not manage.

    Returns:
        An alias in ``DATABASES``. It is `alias` itself if the set has no replicas or none can be used, if
        pindb does not manage the database, or if ``PINDB_ENABLED`` is off.

    Raises:
        PinDbConfigError: `alias` is the alias of a replica, or is not in ``DATABASES``.
    """
    if not conf.PINDB_ENABLED:
        return alias
    sets = get_sets()
    if alias not in sets.masters and alias in connections.settings:
        return alias
    sets.check_master(alias)
    # A plain string: the caller has decided where to read, so pindb must not route the alias again.
    return str(select_replica(current(), alias))


@on_change
def _forget(setting: str) -> None:
    _replaced_masters.clear()
