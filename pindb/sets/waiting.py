"""Functions that wait until replicas have caught up, for scripts and tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from asgiref.sync import sync_to_async
from django.db import Error, connections

from pindb._tracebacks import drop_tracebacks
from pindb.exceptions import ReplicasBehind
from pindb.sets.aliases import DEFAULT_ALIAS
from pindb.sets.connections import close_lost, is_lost
from pindb.sets.definitions import get_sets
from pindb.sets.positions import current_position, get_backend

__all__ = ["acurrent_position", "await_for_replicas", "wait_for_replicas"]

#: The pause (seconds) between two rounds of questions: the first, and the longest.
PAUSE, LONGEST_PAUSE = 0.002, 0.05


def wait_for_replicas(
    alias: str = DEFAULT_ALIAS, timeout: float = 10, *, position: str | None = None
) -> None:
    """Wait until all replicas of a set have replayed everything that is committed on the master.

    Call it outside of transactions: changes that are not committed never reach a replica.

    Arguments:
        alias: the alias of a master.
        timeout: how long to wait, in seconds.
        position: the position that the replicas have to replay, as `current_position` returned it. By
            default the master's position now.

    Raises:
        ReplicasBehind: some replicas have not replayed the position in time; the message names them.
        PinDbConfigError: `alias` is not the alias of a master.
        PositionUnavailable: the database has no positions.
        ValueError: `position` is not a position of this database vendor.
        django.db.Error: the master's position could not be read.
    """
    for pause in _pauses(alias, timeout, position):
        time.sleep(pause)


async def await_for_replicas(
    alias: str = DEFAULT_ALIAS, timeout: float = 10, *, position: str | None = None
) -> None:
    """Wait like `wait_for_replicas`, in async code."""
    pauses = _pauses(alias, timeout, position)
    ask = sync_to_async(lambda: next(pauses, None))
    while (pause := await ask()) is not None:
        await asyncio.sleep(pause)


async def acurrent_position(alias: str = DEFAULT_ALIAS) -> str:
    """Return `current_position`, in async code."""
    return await sync_to_async(current_position)(alias)


def _pauses(alias: str, timeout: float, position: str | None) -> Iterator[float]:
    """Ask the replicas until all have replayed the position; yield the seconds to sleep between rounds."""
    get_sets().check_master(alias)
    if position is None:
        position = current_position(alias)
    end = time.monotonic() + timeout
    behind = dict.fromkeys(get_sets().replicas[alias], "has not been asked")
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
            raise ReplicasBehind(
                f"After {timeout} s, not all replicas of {alias!r} have replayed {position}: {states}. Pass "
                "a longer timeout, or check the replication."
            )
        yield pause
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _state(replica: str, position: str) -> str | None:
    """Return what keeps a replica from `position`, for a message; None if the replica has replayed it."""
    connection = connections[replica]
    try:
        connection.ensure_connection()
        backend = get_backend(connection)
        if backend is None:
            return f"has no positions, since its vendor is {connection.vendor!r}"
        replayed = backend.replayed(connection)
    except Error as error:
        if is_lost(connection, error):
            close_lost(connection)
        drop_tracebacks(error)
        return f"cannot be asked ({' '.join(str(error).split())})"
    return None if backend.has_reached(replayed, position) else f"is at {replayed}"
