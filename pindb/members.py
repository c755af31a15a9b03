"""What this process remembers of each server: whether it is there, and how far it has replayed.

Each process finds out for itself, and the times are spread, so that many processes do not all do the same at
once.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from typing import Any

from django.core.signals import setting_changed
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from pindb.circuit import Circuit
from pindb.conf import conf
from pindb.signals import replica_down, replica_up
from pindb.tracebacks import drop_tracebacks

__all__ = [
    "Member",
    "close_lost",
    "connections_here",
    "get_connection",
    "get_member",
    "in_transaction",
    "is_closed",
    "jitter",
    "opened_at",
]

logger = logging.getLogger("pindb")

#: How much longer or shorter a time may be: a fifth.
SPREAD = 0.2


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
        incarnation: which of its lives that is about; another one may have to replay it again. None: it was
            not asked.
        has_restarted: whether it was found in another life, and has not shown yet how far it is.
        asked_at: when it was last asked for its position (`time.monotonic`).
        asking: held by the thread that asks.
        floor: what it must have replayed to be let in again after a failure; None: not known yet.
        lag_since: when it was found to lag too much (`time.monotonic`); None while it does not.
        lag_due: when that is to be looked at again (`time.monotonic`).
        trust: what a connection that may be used without a further look has as its ``_pindb_trust``; another
            object after each change.
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
        "trust",
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
        self.trust = object()
        self._changing = threading.Lock()

    def mark_down(
        self, reason: str, error: object = "", seconds: float | None = None, still: bool = False
    ) -> None:
        """Leave it alone from now on: for about `seconds`, ``PINDB_REPLICA_DOWNTIME`` where not given.

        Arguments:
            reason: a few words.
            error: what the database said.
            seconds: how long.
            still: nothing new has failed; connections from after the failure stay good.
        """
        seconds = jitter(conf.PINDB_REPLICA_DOWNTIME if seconds is None else seconds)
        with self._changing:
            self.circuit.fail(seconds)
            if not still:
                self.failed_at = time.monotonic()
            self.trust = object()
            # What it has replayed it may have to replay again; or another server comes back in its place.
            self.known = None
            if self.down_since is not None:
                return
            self.down_since = time.monotonic()
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
        """What it has said counts, unless it is found in another life than when it was asked."""
        with self._changing:
            if incarnation == self.incarnation:
                self.known = replayed

    def note_incarnation(self, incarnation: str) -> None:
        """A new connection leads to its life `incarnation`."""
        with self._changing:
            if incarnation != self.incarnation:
                self.trust = object()
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
        # A plain text: what Django keeps as the connection's alias is not to be routed again.
        connection = connections_here.__dict__[alias] = connections[str(alias)]
    return connection


def is_closed(connection: BaseDatabaseWrapper) -> bool:
    """Whether the driver knows that a connection has ended. Asks nobody else."""
    raw: Any = connection.connection
    if raw is None:
        return True
    if connection.vendor == "postgresql":
        return bool(raw.closed)
    if connection.vendor == "mysql":
        return not getattr(raw, "open", True)
    return False


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether a transaction is open, by ``atomic`` or by ``set_autocommit(False)``."""
    return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)


def close_lost(connection: BaseDatabaseWrapper) -> None:
    """Close a connection that has ended, so that the next statement opens another.

    Not in a transaction: what comes next in it must not be committed by itself.
    """
    # Where this is another thread, the connection's own looks at it by that.
    connection.errors_occurred = True
    if in_transaction(connection):
        return
    try:
        connection.close()
    except Error as error:
        drop_tracebacks(error)


def opened_at(connection: BaseDatabaseWrapper) -> float:
    """When a connection was opened (`time.monotonic`); always, where that is not known."""
    opened: float = connection.__dict__.get("_pindb_opened_at", float("-inf"))
    return opened


def _note_opened(connection: Any, **kwargs: object) -> None:
    # Django takes the alias from whoever was first to ask for the connection: the router's may be one that it
    # would route again.
    connection.alias = str(connection.alias)
    # It may have taken the place of another one: connections[alias] can be deleted and set.
    connections_here.__dict__.pop(connection.alias, None)
    raw = connection.connection
    # A pool's connection was opened before it was handed out, and may have been asked before.
    connection._pindb_opened_at = getattr(raw, "_created_at", None) or time.monotonic()
    connection._pindb_trust = None
    connection._pindb_incarnation = getattr(raw, "_pindb_incarnation", None)


connection_created.connect(_note_opened, dispatch_uid="pindb.members")


def _forget(**kwargs: object) -> None:
    _members.clear()


setting_changed.connect(_forget, dispatch_uid="pindb.members")
if hasattr(os, "register_at_fork"):
    # Another thread may have held a lock at that moment.
    os.register_at_fork(after_in_child=_forget)
