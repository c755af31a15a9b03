"""Carries the schedule out, and keeps a record of which server was there when, and how far."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import psycopg

from benchmarks.chaos.schedule import MASTER, REPLICAS, SETTLED, Action
from benchmarks.chaos.visitors import BY_TIME, Read
from pindb.testing.postgres import PostgresReplicaSet, connect

__all__ = ["Done", "Record", "Watcher", "carry_out"]

#: Seconds between two looks at a replica.
PAUSE = 0.02


class Done(NamedTuple):
    """An action that was carried out.

    Attributes:
        verb, member: the action.
        began, ended: when (`time.monotonic`). A server that is started answers at the end.
    """

    verb: str
    member: str
    began: float
    ended: float


def carry_out(actions: Sequence[Action], servers: PostgresReplicaSet, started: float) -> list[Done]:
    """Do everything at its time, or as soon as what comes before it has been done."""
    done = []
    for action in actions:
        time.sleep(max(0.0, started + action.at - time.monotonic()))
        began = time.monotonic()
        getattr(servers, action.verb)(action.member)
        done.append(Done(action.verb, action.member, began, time.monotonic()))
    return done


class Watcher:
    """A context manager: looks all the time how far each replica is.

    Attributes:
        positions: for each replica when (`time.monotonic`) it had surely replayed up to where.
    """

    def __init__(self, servers: PostgresReplicaSet) -> None:
        self.positions: dict[str, list[tuple[float, int]]] = {replica: [] for replica in REPLICAS}
        self._servers = servers
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(replica,)) for replica in REPLICAS]

    def __enter__(self) -> Watcher:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, replica: str) -> None:
        while not self._ended.wait(PAUSE):
            try:
                self._watch_connected(replica)
            except psycopg.Error:
                # It is away.
                continue

    def _watch_connected(self, replica: str) -> None:
        with connect(self._servers.database(replica), connect_timeout=2) as connection:
            while not self._ended.wait(PAUSE):
                row = connection.execute("SELECT pg_last_wal_replay_lsn()::text").fetchone()
                if row and row[0]:
                    self.positions[replica].append((time.monotonic(), _number(row[0])))


@dataclass(frozen=True)
class Record:
    """What was done to the servers, and how far replicas were.

    Attributes:
        done: every action.
        positions: see `Watcher`.
    """

    done: Sequence[Done]
    positions: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def up_since(self, member: str, began: float, ended: float) -> float | None:
        """Since when a server has been up that is up from `began` to `ended`; None: it is not."""
        since = float("-inf")
        for action in self.done:
            if action.member != member:
                continue
            if action.verb in ("kill", "stop") and action.began <= ended:
                since = float("inf")
            elif action.verb == "start" and action.ended <= ended:
                since = action.ended
        return since if since <= began else None

    def may_be_served(self, read: Read) -> bool:
        """Whether there was a server all the time that was allowed to answer.

        Whoever is not pinned may be served by any server. A pin by time leaves the master alone. A pin by
        position leaves the master, and replicas that are known to have got there; one that has come back
        counts from when it is left alone no more.
        """
        if self.up_since(MASTER, read.began, read.ended) is not None:
            return True
        if read.pin == BY_TIME:
            return False
        for replica in REPLICAS:
            since = self.up_since(replica, read.began, read.ended)
            if since is None:
                continue
            if not read.pin or (since <= read.began - SETTLED and self._had(replica, read)):
                return True
        return False

    def _had(self, replica: str, read: Read) -> bool:
        seen = self.positions[replica]
        index = bisect_right(seen, (read.began, 0)) - 1
        return index >= 0 and seen[index][1] >= _number(read.pin.partition(":")[2])

    def is_quiet(self, read: Read, seconds: float) -> bool:
        """Whether nothing was done to any server during a read, nor in the seconds before it."""
        return not any(
            action.began <= read.ended and read.began <= action.ended + seconds for action in self.done
        )


def _number(lsn: str) -> int:
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)
