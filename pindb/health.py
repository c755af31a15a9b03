"""Which servers are there: found out in passing, and remembered for a while.

Nothing runs in the background. Whoever finds a server down notes it, and all threads of the process leave it
alone for ``PINDB_REPLICA_DOWNTIME`` seconds; then one of them tries it again. Each process finds out for
itself, and the times are spread, so that many processes do not all try at once.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from typing import Any

from django.core.signals import setting_changed
from django.db import Error, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from pindb.circuit import Circuit
from pindb.conf import conf
from pindb.counters import count
from pindb.positions import covers, find_positions, take_position
from pindb.sets import get_sets
from pindb.signals import replica_down, replica_up

__all__ = [
    "Member",
    "ask_position",
    "connections_here",
    "get_connection",
    "get_member",
    "has_reached",
    "is_known_to_have",
    "is_lost",
    "is_up",
    "jitter",
    "opened_at",
]

logger = logging.getLogger("pindb")

#: How much longer or shorter a time may be: a fifth.
SPREAD = 0.2

#: How long (seconds) a replica is left alone that has come back behind where it was.
CATCHING_UP = 1.0

#: How long (seconds) whoever has to know how far a replica is waits for another thread that is asking.
PATIENCE = 1.0

#: MySQL's and MariaDB's errors that end a connection: the server shuts down, the connection was killed, is
#: gone, was lost, was lost with the reason, was idle for too long.
LOST_CODES = frozenset({1053, 1927, 2006, 2013, 2055, 4031})


def jitter(seconds: float) -> float:
    """A time near `seconds`, so that not all processes do something at the same time."""
    return seconds * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311


class Member:
    """What this process knows of one server. Safe under threads.

    Attributes:
        alias: its alias.
        circuit: whether it is left alone, and until when.
        down_since: when it was found down (`time.monotonic`); None while it is up.
        failed_at: when it last failed (`time.monotonic`); connections from before are not trusted.
        known: a position that it has replayed; None: not known.
        incarnation: which of its lives that is about; another one may have to replay it again.
        has_restarted: whether it was found in another life, and has not shown yet how far it is.
        asked_at: when it was last asked for its position (`time.monotonic`).
        asking: held by the thread that asks.
        floor: what it must have replayed to be let in again after a failure; None: not known yet.
        lag_since: when it was found to lag too much (`time.monotonic`); None while it does not.
        lag_due: when that is to be looked at again (`time.monotonic`).
    """

    __slots__ = (
        "_changing",
        "alias",
        "asked_at",
        "asking",
        "circuit",
        "down_since",
        "failed_at",
        "floor",
        "has_restarted",
        "incarnation",
        "known",
        "lag_due",
        "lag_since",
    )

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.circuit = Circuit(conf.PINDB_REPLICA_DOWNTIME)
        self.down_since: float | None = None
        self.failed_at = self.asked_at = self.lag_due = float("-inf")
        self.known: str | None = None
        self.incarnation: str | None = None
        self.has_restarted = False
        self.asking = threading.Lock()
        self.floor: str | None = None
        self.lag_since: float | None = None
        self._changing = threading.Lock()

    def mark_down(self, reason: str, error: object = "", seconds: float | None = None) -> None:
        """Leave it alone from now on: for about `seconds`, ``PINDB_REPLICA_DOWNTIME`` where not given."""
        seconds = jitter(conf.PINDB_REPLICA_DOWNTIME if seconds is None else seconds)
        with self._changing:
            self.circuit.fail(seconds)
            self.failed_at = time.monotonic()
            # What it has replayed it may have to replay again; or another server comes back in its place.
            self.known = None
            if self.down_since is not None:
                return
            self.down_since = self.failed_at
        text = " ".join(str(error).split())
        logger.warning("%r is down: %s. It is left alone for %.1f s. %s", self.alias, reason, seconds, text)
        replica_down.send_robust(Member, alias=self.alias, reason=reason, error=error or None)

    def mark_up(self) -> None:
        """Use it again."""
        with self._changing:
            self.circuit.succeed()
            self.has_restarted = False
            since, self.down_since = self.down_since, None
        if since is not None:
            seconds = time.monotonic() - since
            logger.warning("%r is up again, after %.1f s.", self.alias, seconds)
            replica_up.send_robust(Member, alias=self.alias, seconds=seconds)

    def know(self, replayed: str, incarnation: str | None) -> None:
        """What a connection to its life `incarnation` has said counts, unless it has restarted since."""
        with self._changing:
            if incarnation == self.incarnation:
                self.known = replayed

    def note_incarnation(self, incarnation: str | None) -> None:
        """A new connection leads to its life `incarnation`."""
        with self._changing:
            if incarnation != self.incarnation:
                self.has_restarted = self.incarnation is not None
                self.incarnation, self.known, self.floor = incarnation, None, None


_members: dict[str, Member] = {}
#: This thread's connections by alias: Django's own registry takes 20 times as long to ask. Its ``__dict__``
#: is read, which is faster than an attribute that holds a dict.
connections_here = threading.local()


def get_member(alias: str) -> Member:
    """What this process knows of the server `alias`."""
    return _members.get(alias) or _members.setdefault(alias, Member(alias))


def get_connection(alias: str) -> BaseDatabaseWrapper:
    """This thread's connection to the server `alias`, open or not."""
    connection: BaseDatabaseWrapper | None = connections_here.__dict__.get(alias)
    if connection is None:
        connection = connections_here.__dict__[alias] = connections[alias]
    return connection


def is_up(member: Member, connection: BaseDatabaseWrapper, insist: bool = False) -> bool:
    """Whether a server can be used; this thread's connection to it is opened if it is not.

    Arguments:
        member: the server.
        connection: this thread's connection to it.
        insist: try it although its time to be tried again has not come.
    """
    if member.down_since is not None and not insist and member.circuit.wait():
        return False
    if connection.in_atomic_block:
        return member.down_since is None
    if connection.connection is not None:
        if opened_at(connection) < member.failed_at:
            # It was opened before the server failed.
            connection.close()
        else:
            # With CONN_HEALTH_CHECKS; otherwise Django would find out, and connect, outside of any statement.
            connection.close_if_health_check_failed()
    if connection.connection is None:
        try:
            connection.ensure_connection()
        except Error as error:
            member.mark_down("it refuses connections", error)
            return False
        except Exception:
            # Not for the server's sake: asynchronous code may not connect, nor tests that must not. What is
            # wrong shows itself at the query.
            return member.down_since is None
    if conf.PINDB_CONSISTENCY == "position" and member.alias != get_sets().masters.get(member.alias):
        _note_incarnation(member, connection)
    if member.down_since is not None or member.has_restarted:
        is_back = insist or _is_back(member, connection)
        if is_back is False or (is_back is None and member.down_since is not None):
            member.mark_down("it is behind", seconds=CATCHING_UP)
        if not is_back:
            return False
        member.mark_up()
    return True


def _note_incarnation(member: Member, connection: Any) -> None:
    """Find out whether the replica that a new connection leads to has restarted since it was last seen."""
    about, incarnation = connection.__dict__.get("_pindb_incarnation", (None, None))
    if about is not connection.connection:
        positions = find_positions(connection)
        incarnation = None
        try:
            if positions is not None:
                incarnation = positions.incarnation(connection)
        except Error as error:
            logger.debug("%r does not say since when it runs: %s", member.alias, error)
        connection._pindb_incarnation = connection.connection, incarnation
    elif member.incarnation is not None:
        return
    member.note_incarnation(incarnation)


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
        count("position_queries")
        try:
            replayed = positions.replayed(connection)
        except Error as error:
            if is_lost(connection, error):
                connection.close()
                member.mark_down("it broke the connection", error)
            else:
                logger.debug("%r does not say how far it is: %s", member.alias, error)
            return None
        member.know(replayed, connection.__dict__.get("_pindb_incarnation", (None, None))[1])
        return replayed
    finally:
        member.asking.release()


def is_known_to_have(member: Member, connection: BaseDatabaseWrapper, position: str) -> bool:
    """Whether it is known without asking that a replica has replayed `position`."""
    known = member.known
    return known is not None and covers(connection, known, position)


def is_lost(connection: BaseDatabaseWrapper, error: BaseException) -> bool:
    """Whether an error of a statement came with the end of the connection."""
    raw: Any = connection.connection
    if raw is None or isinstance(error, InterfaceError):
        return True
    if connection.vendor == "mysql":
        return bool(error.args) and error.args[0] in LOST_CODES
    if connection.vendor == "postgresql":
        return bool(raw.closed)
    return not connection.in_atomic_block and not connection.is_usable()


def opened_at(connection: BaseDatabaseWrapper) -> float:
    """When a connection was opened (`time.monotonic`); always, where that is not known."""
    opened: float = connection.__dict__.get("_pindb_opened_at", float("-inf"))
    return opened


def _note_opened(connection: Any, **kwargs: object) -> None:
    connection._pindb_opened_at = time.monotonic()


connection_created.connect(_note_opened, dispatch_uid="pindb.health")


def _forget(**kwargs: object) -> None:
    _members.clear()


setting_changed.connect(_forget, dispatch_uid="pindb.health")
if hasattr(os, "register_at_fork"):
    # Another thread may have held a lock at that moment.
    os.register_at_fork(after_in_child=_forget)
