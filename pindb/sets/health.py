"""Which servers are there, and how far replicas are: found out in passing.

Nothing runs in the background. Whoever finds a server down notes it, and all threads of the process leave it
alone for ``PINDB_REPLICA_DOWNTIME`` seconds; then one of them tries it again.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.db import Error, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from pindb._stats import count
from pindb._tracebacks import drop_tracebacks
from pindb.conf import conf
from pindb.sets.connections import close_lost, connections_here, get_connection, is_closed, opened_at
from pindb.sets.definitions import get_sets
from pindb.sets.pools import drop_pool, has_open_pool, has_pool, is_pool_error, knock
from pindb.sets.positions import covers, find_positions, take_position
from pindb.sets.servers import Member, get_member

__all__ = [
    "ask_position",
    "has_reached",
    "is_known_to_have",
    "is_lost",
    "is_trusted",
    "is_up",
    "note_failure",
]

logger = logging.getLogger("pindb")

#: How long (seconds) a replica is left alone that has come back behind where it was.
CATCHING_UP = 1.0

#: How long (seconds) whoever has to know how far a replica is waits for another thread that is asking.
PATIENCE = 1.0

#: MySQL's and MariaDB's errors that end a connection: the server shuts down, the connection was killed, is
#: gone, was lost, was lost with the reason, was idle for too long.
LOST_CODES = frozenset({1053, 1927, 2006, 2013, 2055, 4031})


def is_up(member: Member, connection: BaseDatabaseWrapper, insist: bool = False) -> bool:
    """Whether a server can be used; this thread's connection to it is opened if it is not.

    Arguments:
        member: the server.
        connection: this thread's connection to it.
        insist: try it although its time to be tried again has not come.
    """
    trust = member.trust
    if member.down_since is not None and not insist and member.circuit.wait():
        return False
    if connection.in_atomic_block:
        return member.down_since is None
    if connection.connection is not None:
        if opened_at(connection) < member.failed_at or is_closed(connection):
            # It was opened before the server failed, or the driver has seen its end.
            connection.close()
        else:
            # With CONN_HEALTH_CHECKS; otherwise Django would find out, and connect, outside of any statement.
            connection.close_if_health_check_failed()
    if connection.connection is None:
        try:
            if not _open(member, connection):
                return False
        except Exception as error:
            # Not for the server's sake: asynchronous code may not connect, nor tests that must not. What is
            # wrong shows itself at the query.
            drop_tracebacks(error)
            return member.down_since is None
    if conf.PINDB_CONSISTENCY == "position" and member.alias != get_sets().masters.get(member.alias):
        _note_incarnation(member, connection)
        if connection.connection is None:
            # It broke at that question.
            return False
    if member.down_since is not None or member.has_restarted:
        is_back = insist or _is_back(member, connection)
        if is_back is False or (is_back is None and member.down_since is not None):
            is_still_down = member.down_since is not None
            if not is_still_down:
                # It has restarted: what the pool has is dead.
                drop_pool(connection)
            member.mark_down("it is behind", seconds=CATCHING_UP, still=is_still_down)
        if not is_back:
            return False
        member.mark_up()
    if trust is member.trust:
        connection.__dict__["_pindb_trust"] = trust
    return True


def _open(member: Member, connection: BaseDatabaseWrapper) -> bool:
    """Open this thread's connection to a server; False: there is none, and whose fault that is was noted."""
    was_up = member.down_since is None
    try:
        if has_pool(connection) and not (was_up and has_open_pool(connection)):
            # The pool would let this thread wait, and not say why.
            knock(connection)
        connection.ensure_connection()
        return True
    except Error as error:
        if not (was_up and is_pool_error(error)):
            note_failure(member, connection, "it refuses connections", error)
            drop_tracebacks(error)
            return False
        drop_tracebacks(error)
    if member.down_since is None:
        try:
            # All connections of the pool may be in use: that is no failure.
            knock(connection)
        except Error as error:
            note_failure(member, connection, "it refuses connections", error)
            drop_tracebacks(error)
    return False


def note_failure(member: Member, connection: BaseDatabaseWrapper, reason: str, error: object) -> None:
    """A server failed: leave it alone, and give up what this process has of connections to it.

    Arguments:
        member: the server.
        connection: this thread's connection to it.
        reason: a few words.
        error: what the database said.
    """
    member.mark_down(reason, error)
    drop_pool(connection)


def is_trusted(alias: str) -> bool:
    """Whether this thread's connection to a server is one for which `is_up` said yes, with no news since."""
    connection = connections_here.__dict__.get(alias)
    if connection is None:
        return False
    state = connection.__dict__
    raw = state["connection"]
    return (
        state.get("_pindb_trust") is get_member(alias).trust
        and raw is not None
        # As `is_closed`, for PostgreSQL; connections of other kinds are looked at by their next cursor.
        and not getattr(raw, "closed", False)
        and (state["health_check_done"] or not state["health_check_enabled"])
    )


def _note_incarnation(member: Member, connection: Any) -> None:
    """Find out whether the replica that a new connection leads to has restarted since it was last seen."""
    incarnation = connection.__dict__.get("_pindb_incarnation")
    if incarnation is None:
        incarnation = connection._pindb_incarnation = _ask_incarnation(member, connection)
        if incarnation and has_pool(connection):
            connection.connection._pindb_incarnation = incarnation
    elif member.incarnation is not None:
        return
    member.note_incarnation(incarnation)


def _ask_incarnation(member: Member, connection: BaseDatabaseWrapper) -> str:
    """Which of its lives a replica is in; an empty text where that does not matter, or it cannot say."""
    positions = find_positions(connection)
    try:
        return (positions and positions.incarnation(connection)) or ""
    except Error as error:
        logger.debug("%r does not say since when it runs: %s", member.alias, error)
        drop_tracebacks(error)
        return ""


def _is_back(member: Member, connection: BaseDatabaseWrapper) -> bool | None:
    """Whether a server that can be connected to again may be used; None: it cannot be told now.

    A replica has to have what its master had when it was first found there again: after a crash it replays
    once more what readers may rely on it to have, and it may have missed a lot. Without positions nothing is
    known about that.
    """
    master = get_sets().masters.get(member.alias, member.alias)
    if conf.PINDB_CONSISTENCY != "position" or master == member.alias:
        return True
    if member.floor is None:
        if get_connection(master).in_atomic_block:
            return None
        member.floor = take_position(master)
    floor = member.floor
    if floor is not None:
        replayed = ask_position(member, connection)
        if replayed is None:
            return None
        if not covers(connection, replayed, floor):
            return False
    member.floor = None
    return True


def has_reached(member: Member, connection: BaseDatabaseWrapper, position: str, insist: bool = False) -> bool:
    """Whether a replica has replayed the master's `position`.

    It is asked only where that is not known, once in ``PINDB_POSITION_CHECK_MS`` by all threads. What it has
    replayed it has for good, until it restarts.

    Arguments:
        member: the replica.
        connection: this thread's open connection to it, for which `is_up` said yes.
        position: a position of its master.
        insist: ask it however lately it was asked.
    """
    if is_known_to_have(member, connection, position):
        return True
    interval = conf.PINDB_POSITION_CHECK_MS / 1000
    was_asked = not insist and time.monotonic() - member.asked_at < interval
    if was_asked or connection.in_atomic_block:
        return False
    replayed = ask_position(member, connection, PATIENCE if insist else 0)
    return replayed is not None and covers(connection, replayed, position)


def ask_position(member: Member, connection: BaseDatabaseWrapper, patience: float = 0) -> str | None:
    """Ask a replica how far it is. None: another thread is asking, or the replica cannot say.

    Arguments:
        member: the replica.
        connection: this thread's open connection to it.
        patience: how long (seconds) to wait for another thread that is asking.
    """
    positions = find_positions(connection)
    if positions is None or not member.asking.acquire(timeout=patience):
        return None
    try:
        member.asked_at = time.monotonic()
        # Whatever answers lives now, also on a connection from before the replica lost its master.
        incarnation = member.incarnation
        count("position_queries")
        try:
            replayed = positions.replayed(connection)
        except Error as error:
            if is_lost(connection, error):
                close_lost(connection)
                note_failure(member, connection, "it broke the connection", error)
            else:
                logger.debug("%r does not say how far it is: %s", member.alias, error)
            drop_tracebacks(error)
            return None
        member.know(replayed, incarnation)
        return replayed
    finally:
        member.asking.release()


def is_known_to_have(member: Member, connection: BaseDatabaseWrapper, position: str) -> bool:
    """Whether it is known without asking that a replica has replayed `position`."""
    known = member.known
    return known is not None and covers(connection, known, position)


def is_lost(connection: BaseDatabaseWrapper, error: BaseException) -> bool:
    """Whether an error of a statement came with the end of the connection."""
    if is_closed(connection):
        return True
    if connection.vendor == "mysql":
        # PyMySQL says no more than that once it has lost a connection.
        code = error.args[0] if error.args else None
        return isinstance(error, InterfaceError) or code in LOST_CODES
    if connection.vendor == "postgresql":
        return False
    return not connection.in_atomic_block and not connection.is_usable()
