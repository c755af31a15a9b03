"""rb, which needs a redis-py of its time: in a process of its own, that does rounds when it is asked to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.map.jobs import Load
from benchmarks.peers import Peer, started
from benchmarks.timing import Stopwatch

__all__ = ["RbPeer", "rb_started"]


class RbPeer:
    """What rb's process does when it is asked to.

    Arguments:
        peer: the process, at its start.
        hosts: by id, what rb's `Cluster` takes for each.
        load: what to write and read.

    Attributes:
        pid: the number of the process.

    Raises:
        RuntimeError: the process ended, because rb does not work or does not give the right results.
    """

    def __init__(self, peer: Peer, hosts: Mapping[int, Mapping[str, Any]], load: Load) -> None:
        self._peer = peer
        self.pid: int = peer.ask(
            hosts=hosts,
            keys=load.keys,
            values=[value.decode() for value in load.values],
            single_keys=load.single_keys,
            single_values=[value.decode() for value in load.single_values],
        )

    def stopwatch(self, case: str) -> Stopwatch:
        """What times a case's job there."""
        return partial(self.ask, case)

    def ask(self, case: str, count: int = 1) -> float:
        """Have a case's job done `count` times: the seconds that it took, or the bytes."""
        return float(self._peer.ask(case=case, count=count))


@contextmanager
def rb_started(hosts: Mapping[int, Mapping[str, Any]], load: Load) -> Iterator[RbPeer]:
    """rb's process, until the context ends. For arguments and errors see `RbPeer`.

    Raises:
        Unavailable: rb cannot be installed.
    """
    with started("benchmarks.map.rb_worker") as peer:
        yield RbPeer(peer, hosts, load)
