"""Which nodes of a Redis Cluster serve reads: masters, their replicas, or the nearest of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from redis.exceptions import RedisError

from pindb._jitter import jitter
from pindb.redis.core.options import shown
from pindb.redis.exceptions import ClusterConfigError, HostTimeoutError

__all__ = ["READ_FROM", "Readers", "check_read_from"]

#: The values of ``read_from``.
READ_FROM = ("master", "replica", "nearest")

#: Nodes whose round trip is longer than the shortest by at most this share, and so many seconds, are as near.
SHARE, SECONDS = 1.25, 0.0005

#: How long a replica that did not answer in time is not asked again, in seconds: that costs a caller's time.
AFTER_TIMEOUT = 5.0

#: The most different choices of nodes, which batches take in turn.
MOST_TABLES = 12


def check_read_from(value: Any) -> str:
    """Return the setting ``read_from``.

    Raises:
        ClusterConfigError: the value is none of `READ_FROM`.
    """
    if value not in READ_FROM:
        raise ClusterConfigError(
            f"read_from is {shown(value)}. Write one of: {', '.join(map(repr, READ_FROM))}."
        )
    return str(value)


class Readers:
    """The nodes that serve reads. Each batch takes the next choice, so that replicas share the work.

    Arguments:
        read_from: ``"replica"`` or ``"nearest"``.
        send: sends a command to a node, by its id, and returns the reply.
    """

    def __init__(self, read_from: str, send: Callable[..., Any]) -> None:
        self._is_nearest = read_from == "nearest"
        self._send = send
        # The shortest round trip to each node, in seconds.
        self._trips: dict[int, float] = {}
        # Until when replicas are not asked.
        self._until: dict[int, float] = {}
        self._tables: list[list[int]] = []
        self._turns = count()

    def adopt(
        self,
        owners: Sequence[int],
        replicas: Mapping[int, Sequence[int]],
        is_up: Callable[[int], bool],
    ) -> None:
        """Choose among the nodes that there are now.

        Arguments:
            owners: the master of each slot.
            replicas: the replicas of each master.
            is_up: whether a node may be used, as far as it is known without asking it.
        """
        choices = {master: self._choose(master, some, is_up) for master, some in replicas.items()}
        number = min(max(map(len, choices.values()), default=1), MOST_TABLES)
        tables = []
        for turn in range(number):
            now = {master: nodes[turn % len(nodes)] for master, nodes in choices.items()}
            tables.append([now.get(owner, owner) for owner in owners])
        self._tables = tables

    def next(self) -> list[int]:
        """Return the node that serves the next reads of each slot. Slots are numbered from 0."""
        tables = self._tables
        return tables[next(self._turns) % len(tables)]

    def drop(self, host_id: int, replicas: Mapping[int, Sequence[int]]) -> bool:
        """Let masters serve what a replica has failed to serve. Return whether it is a replica."""
        master = next((master for master, some in replicas.items() if host_id in some), None)
        if master is None:
            return False
        self._tables = [[master if node == host_id else node for node in table] for table in self._tables]
        return True

    def _choose(self, master: int, replicas: Sequence[int], is_up: Callable[[int], bool]) -> list[int]:
        fit = [host_id for host_id in replicas if is_up(host_id) and self._follows(host_id)]
        if not self._is_nearest:
            return fit or [master]
        self._measure(master)
        nodes = [host_id for host_id in (master, *fit) if host_id in self._trips] or [master]
        limit = min(self._trips.get(host_id, 0.0) for host_id in nodes) * SHARE + SECONDS
        return [host_id for host_id in nodes if self._trips.get(host_id, 0.0) <= limit]

    def _follows(self, host_id: int) -> bool:
        """Whether a replica has its master's data, as far as it knows itself."""
        begun = time.monotonic()
        if begun < self._until.get(host_id, begun):
            return False
        try:
            text = self._send(host_id, "INFO", "replication")
        except RedisError as error:
            if isinstance(error, HostTimeoutError):
                self._until[host_id] = time.monotonic() + jitter(AFTER_TIMEOUT)
            return False
        self._note_trip(host_id, time.monotonic() - begun)
        text = text if isinstance(text, bytes) else str(text).encode()
        return b"master_link_status:up" in text and b"master_sync_in_progress:1" not in text

    def _measure(self, host_id: int) -> None:
        begun = time.monotonic()
        try:
            self._send(host_id, "PING")
        except RedisError:
            self._trips.pop(host_id, None)
        else:
            self._note_trip(host_id, time.monotonic() - begun)

    def _note_trip(self, host_id: int, seconds: float) -> None:
        # The first one includes connecting. Later ones are measured whenever the slots are learned again.
        self._trips[host_id] = min(seconds, self._trips.get(host_id, seconds))
