"""What this process has counted since it started: `pindb.stats`."""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import NamedTuple

__all__ = ["Stats", "count", "count_read", "stats"]


class Stats(NamedTuple):
    """Counts since this process started.

    Attributes:
        reads: by alias and reason, how many statements read from it. Reasons of a replica: ``"replica"`` (in
            turn), ``"caught_up"`` (the set is pinned, and the replica has what the pin is about). Reasons of
            a master: ``"pinned"``, ``"transaction"`` (a block of ``atomic()``), ``"unavailable"`` (no replica
            was fit), ``"direct"`` (unpinned models, ``using()``, cursors, sets without replicas). Reason of
            both: ``"rerun"`` (run again, after a replica failed).
        pins_set: sets newly pinned, once for each unit of work.
        pins_dropped: pins dropped before their time, since all replicas had caught up.
        failovers: statements run again elsewhere, since a replica had failed them.
        position_queries: questions to masters and replicas where they are.
    """

    reads: dict[str, dict[str, int]]
    pins_set: int
    pins_dropped: int
    failovers: int
    position_queries: int


#: How many reads are counted at once.
BATCH = 1000


class _Counts:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.events: Counter[str] = Counter()
        self.reads: Counter[tuple[str, str]] = Counter()
        # A list takes entries from many threads without a lock.
        self.new_reads: list[tuple[str, str]] = []

    def add_up(self) -> None:
        """Count what is new. With the lock held."""
        number = len(self.new_reads)
        self.reads.update(self.new_reads[:number])
        del self.new_reads[:number]


_counts = _Counts()


def count(event: str) -> None:
    """Count an event: the name of a field of `Stats`."""
    with _counts.lock:
        _counts.events[event] += 1


def count_read(read: tuple[str, str]) -> None:
    """Count a statement that read from a database: its alias and the reason."""
    new = _counts.new_reads
    new.append(read)
    if len(new) >= BATCH:
        with _counts.lock:
            _counts.add_up()


def stats() -> Stats:
    """What this process has counted since it started, or since it was forked. Safe under threads."""
    with _counts.lock:
        _counts.add_up()
        events, reads = _counts.events.copy(), _counts.reads.copy()
    by_alias: dict[str, dict[str, int]] = {}
    for (alias, reason), number in sorted(reads.items()):
        by_alias.setdefault(alias, {})[reason] = number
    return Stats(
        by_alias,
        events["pins_set"],
        events["pins_dropped"],
        events["failovers"],
        events["position_queries"],
    )


def _start_anew() -> None:
    global _counts
    _counts = _Counts()


if hasattr(os, "register_at_fork"):
    # Another process: its counts are its own, and nobody holds its lock.
    os.register_at_fork(after_in_child=_start_anew)
