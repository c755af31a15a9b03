"""Health of database servers: whether a server can be used now.

There is no background thread. The thread whose query finds a server down records the failure; all threads of
the process then leave that server alone for ``PINDB_REPLICA_DOWNTIME`` seconds, after which one of them tries
the server again.
"""

from __future__ import annotations

from typing import Any

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from pindb import _events as events
from pindb._tracebacks import drop_tracebacks
from pindb.conf import conf
from pindb.sets.connections import get_connection, is_closed, opened_at, thread_connections
from pindb.sets.definitions import get_sets
from pindb.sets.pools import drop_pool, has_open_pool, has_pool, is_pool_error, probe
from pindb.sets.positions import get_backend, has_reached, try_read_position
from pindb.sets.replay import read_replayed
from pindb.sets.servers import Server, get_server, note_failure

__all__ = ["is_up", "is_verified"]

#: How long (seconds) not to use a replica that is catching up after a restart.
CATCHING_UP = 1.0


def is_up(server: Server, connection: BaseDatabaseWrapper, force: bool = False) -> bool:
    """Return whether a server can be used. Opens this thread's connection to the server.

    Arguments:
        server: the server.
        connection: this thread's connection to the server.
        force: try the server even if it failed a moment ago.
    """
    generation = server.generation
    if server.down_since is not None and not force and server.circuit.wait():
        return False
    if connection.in_atomic_block:
        return server.down_since is None
    if connection.connection is not None:
        if opened_at(connection) < server.failed_at or is_closed(connection):
            # The connection is older than the failure, or the driver has noticed its end.
            connection.close()
        else:
            # For CONN_HEALTH_CHECKS. Django would check later and reconnect outside of any statement, where
            # a failure could not be handled.
            connection.close_if_health_check_failed()
    if connection.connection is None:
        try:
            if not _open(server, connection):
                return False
        except Exception as error:
            # The server is not to blame: asynchronous code, or a test that may not use this database, must
            # not connect. The query itself will raise the error.
            drop_tracebacks(error)
            return server.down_since is None
    if conf.PINDB_CONSISTENCY == "position" and server.alias != get_sets().masters.get(server.alias):
        _check_incarnation(server, connection)
        if connection.connection is None:
            # Reading the incarnation broke the connection.
            return False
    if server.down_since is not None or server.has_restarted:
        is_back = force or _is_back(server, connection)
        if is_back is False or (is_back is None and server.down_since is not None):
            was_down = server.down_since is not None
            if not was_down:
                # The replica has restarted, so the pool's connections are dead.
                drop_pool(connection)
            server.mark_down("catching up after a restart", seconds=CATCHING_UP, keep_connections=was_down)
        if not is_back:
            return False
        server.mark_up()
    if generation is server.generation:
        connection.__dict__["_pindb_verified"] = generation
    return True


def is_verified(alias: str) -> bool:
    """Return whether `is_up` was true for this thread's connection, and nothing has changed since."""
    connection = thread_connections.__dict__.get(alias)
    if connection is None:
        return False
    state = connection.__dict__
    raw = state["connection"]
    return (
        state.get("_pindb_verified") is get_server(alias).generation
        and raw is not None
        # For PostgreSQL, like is_closed. Connections of other vendors are checked when a cursor is opened.
        and not getattr(raw, "closed", False)
        and (state["health_check_done"] or not state["health_check_enabled"])
    )


def _open(server: Server, connection: BaseDatabaseWrapper) -> bool:
    """Open this thread's connection to a server. Return False if there is none; a failure was recorded."""
    was_up = server.down_since is None
    try:
        if has_pool(connection) and not (was_up and has_open_pool(connection)):
            # The pool would let this thread wait, and hide the server's error.
            probe(connection)
        connection.ensure_connection()
        return True
    except Error as error:
        if not (was_up and is_pool_error(error)):
            note_failure(server, connection, "cannot connect", error)
            drop_tracebacks(error)
            return False
        drop_tracebacks(error)
    if server.down_since is None:
        try:
            # If the server accepts a connection, all connections of the pool are in use, which is no failure.
            probe(connection)
        except Error as error:
            note_failure(server, connection, "cannot connect", error)
            drop_tracebacks(error)
    return False


def _check_incarnation(server: Server, connection: Any) -> None:
    """Record the incarnation of the replica that a new connection leads to."""
    incarnation = connection.__dict__.get("_pindb_incarnation")
    if incarnation is None:
        incarnation = connection._pindb_incarnation = _read_incarnation(server, connection)
        if incarnation and has_pool(connection):
            # The pool hands the driver's connection to other threads, and need not be asked there again.
            connection.connection._pindb_incarnation = incarnation
    elif server.incarnation is not None:
        return
    server.set_incarnation(incarnation)


def _read_incarnation(server: Server, connection: BaseDatabaseWrapper) -> str:
    """Return the incarnation of a replica; an empty text if its vendor has none, or the query failed."""
    backend = get_backend(connection)
    try:
        return (backend and backend.incarnation(connection)) or ""
    except Error as error:
        events.INCARNATION_UNREADABLE.log(alias=server.alias, error=error)
        drop_tracebacks(error)
        return ""


def _is_back(server: Server, connection: BaseDatabaseWrapper) -> bool | None:
    """Return whether a server that accepts connections again may be used; None if that is not known yet.

    With positions, a replica must first have replayed everything that its master had when the replica was
    found reachable again. After a crash, a replica replays changes again that users have already seen; after
    a long downtime, it lags far behind. Without positions, nothing is known about that.
    """
    master = get_sets().masters.get(server.alias, server.alias)
    if conf.PINDB_CONSISTENCY != "position" or master == server.alias:
        return True
    if server.required_position is None:
        if get_connection(master).in_atomic_block:
            return None
        server.required_position = try_read_position(master)
    required = server.required_position
    if required is not None:
        replayed = read_replayed(server, connection)
        if replayed is None:
            return None
        if not has_reached(connection, replayed, required):
            return False
    server.required_position = None
    return True
