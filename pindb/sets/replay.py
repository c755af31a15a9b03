"""Replay progress of replicas: how far each has got in its master's replication stream."""

from __future__ import annotations

import time

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from pindb import _events as events
from pindb._stats import count
from pindb._tracebacks import drop_tracebacks
from pindb.conf import conf
from pindb.sets.connections import close_lost, is_lost
from pindb.sets.positions import get_backend, has_reached
from pindb.sets.servers import Server, note_failure

__all__ = ["has_replayed", "is_known_to_have_replayed", "read_replayed"]

#: How long (seconds) a forced question waits for another thread that is asking the same replica.
FORCED_TIMEOUT = 1.0


def has_replayed(server: Server, connection: BaseDatabaseWrapper, position: str, force: bool = False) -> bool:
    """Return whether a replica has replayed its master's `position`.

    The replica is asked only if the answer is not known, and at most once in ``PINDB_POSITION_CHECK_MS`` by
    all threads together. A replica keeps what it has replayed until it restarts.

    Arguments:
        server: the replica.
        connection: this thread's open connection to the replica; `is_up` has returned True for it.
        position: a position of the replica's master.
        force: ask the replica even if it was asked a moment ago.
    """
    if is_known_to_have_replayed(server, connection, position):
        return True
    interval = conf.PINDB_POSITION_CHECK_MS / 1000
    was_asked = not force and time.monotonic() - server.asked_at < interval
    if was_asked or connection.in_atomic_block:
        return False
    replayed = read_replayed(server, connection, FORCED_TIMEOUT if force else 0)
    return replayed is not None and has_reached(connection, replayed, position)


def is_known_to_have_replayed(server: Server, connection: BaseDatabaseWrapper, position: str) -> bool:
    """Return whether this process knows, without a query, that a replica has replayed `position`."""
    known = server.replayed
    return known is not None and has_reached(connection, known, position)


def read_replayed(server: Server, connection: BaseDatabaseWrapper, timeout: float = 0) -> str | None:
    """Ask a replica for the position that it has replayed.

    Arguments:
        server: the replica.
        connection: this thread's open connection to the replica.
        timeout: how long (seconds) to wait for another thread that is asking.

    Returns:
        The position; None if another thread is asking, or the query failed.
    """
    backend = get_backend(connection)
    if backend is None or not server.asking.acquire(timeout=timeout):
        return None
    try:
        server.asked_at = time.monotonic()
        # Read before the query: if the replica restarts meanwhile, the answer may be of its earlier life.
        incarnation = server.incarnation
        count("position_queries")
        try:
            replayed = backend.replayed(connection)
        except Error as error:
            if is_lost(connection, error):
                close_lost(connection)
                note_failure(server, connection, "connection lost", error)
            else:
                events.REPLICA_POSITION_UNREADABLE.log(alias=server.alias, error=error)
            drop_tracebacks(error)
            return None
        server.set_replayed(replayed, incarnation)
        return replayed
    finally:
        server.asking.release()
