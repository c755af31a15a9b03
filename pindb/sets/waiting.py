"""Waiting until replicas have caught up, for scripts and tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from asgiref.sync import sync_to_async
from django.db import Error, connections

from pindb._tracebacks import drop_tracebacks
from pindb.exceptions import ReplicasBehind
from pindb.sets.connections import close_lost
from pindb.sets.definitions import DEFAULT_ALIAS, get_sets
from pindb.sets.health import is_lost
from pindb.sets.positions import current_position, find_positions

__all__ = ["acurrent_position", "await_for_replicas", "wait_for_replicas"]

#: How long (seconds) to wait between two questions: at first, and at most.
PAUSE, LONGEST_PAUSE = 0.002, 0.05


def wait_for_replicas(
    alias: str = DEFAULT_ALIAS, timeout: float = 10, *, position: str | None = None
) -> None:
    """Wait until all replicas of a set have what is on its master now.

    Outside of transactions: what is not committed is on no replica, however long one waits.

    Arguments:
        alias: the alias of a master.
        timeout: how long to wait, in seconds.
        position: where the replicas have to be, as `current_position` said it; where the master is now.

    Raises:
        ReplicasBehind: some replicas did not get there in time; the message names them.
        PinDbConfigError: `alias` is not a master's.
        PositionUnavailable: the database has no positions.
        ValueError: `position` is none of this kind of database.
        django.db.Error: the master cannot be asked.
    """
    for pause in _pauses(alias, timeout, position):
        time.sleep(pause)


async def await_for_replicas(
    alias: str = DEFAULT_ALIAS, timeout: float = 10, *, position: str | None = None
) -> None:
    """`wait_for_replicas`, in async code."""
    pauses = _pauses(alias, timeout, position)
    ask = sync_to_async(lambda: next(pauses, None))
    while (pause := await ask()) is not None:
        await asyncio.sleep(pause)


async def acurrent_position(alias: str = DEFAULT_ALIAS) -> str:
    """`current_position`, in async code."""
    return await sync_to_async(current_position)(alias)


def _pauses(alias: str, timeout: float, position: str | None) -> Iterator[float]:
    """Seconds to sleep before the replicas are asked again, until all have got there."""
    get_sets().check_master(alias)
    if position is None:
        position = current_position(alias)
    end = time.monotonic() + timeout
    behind = dict.fromkeys(get_sets().replicas[alias], "was not asked")
    pause = PAUSE
    while True:
        for replica in list(behind):
            state = _state(replica, position)
            if state is None:
                del behind[replica]
            else:
                behind[replica] = state
        if not behind:
            return
        if time.monotonic() + pause > end:
            states = "; ".join(f"{replica!r} {state}" for replica, state in behind.items())
            raise ReplicasBehind(f"After {timeout} s, not all replicas have reached {position}: {states}.")
        yield pause
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _state(replica: str, position: str) -> str | None:
    """None where a replica has got to `position`, else how it is."""
    connection = connections[replica]
    try:
        connection.ensure_connection()
        positions = find_positions(connection)
        if positions is None:
            return f"is of a kind that has no positions ({connection.vendor})"
        replayed = positions.replayed(connection)
    except Error as error:
        if is_lost(connection, error):
            close_lost(connection)
        drop_tracebacks(error)
        return f"does not answer ({' '.join(str(error).split())})"
    return None if positions.has_reached(replayed, position) else f"is at {replayed}"
