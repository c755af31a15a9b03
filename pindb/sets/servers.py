"""State of database servers, as far as this process knows it: up or down, and how much is replayed.

Each process finds out for itself.
"""

from __future__ import annotations

import os
import threading
import time

from django.db.backends.base.base import BaseDatabaseWrapper

from pindb import _events as events
from pindb._circuit import CircuitBreaker
from pindb._jitter import jitter
from pindb.conf import conf, on_change
from pindb.sets.definitions import get_sets
from pindb.sets.pools import drop_pool
from pindb.signals import replica_down, replica_up

__all__ = ["Server", "get_server", "note_failure"]


class Server:
    """The state of one database server, a master or a replica. Safe under threads.

    Attributes:
        alias: the server's alias.
        circuit: the circuit breaker: open while the server is not to be used.
        down_since: when the server was found down (`time.monotonic`); None while it is up.
        failed_at: when the server last failed (`time.monotonic`). Older connections are not used again.
        generation: an object that is replaced whenever the state changes. A connection that was verified is
            marked with it (``_pindb_verified``), and needs no check until the next change.
        replayed: a position that the replica has replayed; None if unknown.
        incarnation: the incarnation that `replayed` belongs to (see `BasePositions.incarnation`): a replica
            that restarts may lose what it had replayed. None if it was not read yet.
        has_restarted: the replica was found restarted, and has not shown since then how much it has replayed.
        required_position: what a replica that was down must have replayed before it is used again; None if
            not determined yet.
        asked_at: when the replica was last asked for its position (`time.monotonic`).
        asking: held by the thread that asks for the position.
        lagging_since: when the replica was found lagging (`time.monotonic`); None while it is not.
        next_lag_check: when to measure the lag again (`time.monotonic`).
    """

    __slots__ = (
        "_lock",
        "alias",
        "asked_at",
        "asking",
        "circuit",
        "down_since",
        "failed_at",
        "generation",
        "has_restarted",
        "incarnation",
        "lagging_since",
        "next_lag_check",
        "replayed",
        "required_position",
    )

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.circuit = CircuitBreaker(conf.PINDB_REPLICA_DOWNTIME)
        self.down_since: float | None = None
        self.failed_at = self.asked_at = self.next_lag_check = float("-inf")
        self.generation = object()
        self.replayed: str | None = None
        self.incarnation: str | None = None
        self.has_restarted = False
        self.required_position: str | None = None
        self.asking = threading.Lock()
        self.lagging_since: float | None = None
        self._lock = threading.Lock()

    @property
    def is_master(self) -> bool:
        """Whether the server is the master of its set."""
        return get_sets().masters.get(self.alias) == self.alias

    def mark_down(
        self,
        reason: str,
        error: object = None,
        seconds: float | None = None,
        keep_connections: bool = False,
    ) -> None:
        """Stop using the server for a while.

        Arguments:
            reason: a few words.
            error: the database's error.
            seconds: for about how long; ``PINDB_REPLICA_DOWNTIME`` by default.
            keep_connections: open connections stay usable, since nothing new has failed.
        """
        seconds = jitter(conf.PINDB_REPLICA_DOWNTIME if seconds is None else seconds)
        with self._lock:
            self.circuit.fail(seconds)
            if not keep_connections:
                self.failed_at = time.monotonic()
            self.generation = object()
            # After a crash the replica replays again, or another server has taken its address.
            self.replayed = None
            if self.down_since is not None:
                return
            self.down_since = time.monotonic()
        event = events.MASTER_DOWN if self.is_master else events.REPLICA_DOWN
        event.log(alias=self.alias, reason=reason, retry_in=seconds, error=error)
        replica_down.send_robust(Server, alias=self.alias, reason=reason, error=error or None)

    def mark_up(self) -> None:
        """Use the server again."""
        with self._lock:
            self.circuit.succeed()
            self.has_restarted = False
            since, self.down_since = self.down_since, None
        if since is not None:
            seconds = time.monotonic() - since
            event = events.MASTER_UP if self.is_master else events.REPLICA_UP
            event.log(alias=self.alias, down_for=seconds)
            replica_up.send_robust(Server, alias=self.alias, seconds=seconds)

    def set_replayed(self, replayed: str, incarnation: str | None) -> None:
        """Record what the replica has replayed, unless it has restarted since it was asked.

        Arguments:
            replayed: a position.
            incarnation: the value of `Server.incarnation` before the replica was asked.
        """
        with self._lock:
            if incarnation == self.incarnation:
                self.replayed = replayed

    def set_incarnation(self, incarnation: str) -> None:
        """Record the incarnation that a new connection leads to."""
        with self._lock:
            if incarnation != self.incarnation:
                self.generation = object()
                self.has_restarted = self.incarnation is not None
                self.incarnation, self.replayed, self.required_position = incarnation, None, None


def note_failure(server: Server, connection: BaseDatabaseWrapper, reason: str, error: object) -> None:
    """Mark a server that failed as down, and drop this process's pool of connections to it.

    Arguments:
        server: the server.
        connection: this thread's connection to the server.
        reason: a few words.
        error: the database's error.
    """
    server.mark_down(reason, error)
    drop_pool(connection)


_servers: dict[str, Server] = {}


def get_server(alias: str) -> Server:
    """Return the state of the server with this alias."""
    return _servers.get(alias) or _servers.setdefault(alias, Server(alias))


@on_change
def _forget(setting: str = "") -> None:
    _servers.clear()


if hasattr(os, "register_at_fork"):
    # Another thread of the parent may have held a lock during the fork.
    os.register_at_fork(after_in_child=_forget)
