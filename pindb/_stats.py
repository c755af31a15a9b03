"""Counters of this process: `pindb.stats`."""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import NamedTuple

__all__ = ["Stats", "count", "count_read", "stats"]


class Stats(NamedTuple):
    """Counts since this process started.

    Attributes:
        reads: the number of reads by alias and reason. Reasons for a replica: ``"replica"`` (its turn),
            ``"caught_up"`` (the set is pinned, and the replica has replayed the pin's position). Reasons for
            a master: ``"pinned"``, ``"transaction"`` (in a block of ``atomic()``), ``"unavailable"`` (no
            replica could be used), ``"direct"`` (unpinned models, ``using()``, cursors, sets without
            replicas). For both: ``"rerun"`` (run again, after a replica has failed).
        pins_set: newly pinned sets, each once per unit of work.
        pins_dropped: pins that ended early, since all replicas had caught up.
        failovers: statements that ran again on another server, since a replica had failed.
        position_queries: queries that asked a master or a replica for its position.
    """

    reads: dict[str, dict[str, int]]
    pins_set: int
    pins_dropped: int
    failovers: int
    position_queries: int


#: How many reads are collected before they are added up.
BATCH = 1000


class _Counts:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.events: Counter[str] = Counter()
        self.reads: Counter[tuple[str, str]] = Counter()
        # Appending to a list needs no lock, and reads are counted in the hot path.
        self.new_reads: list[tuple[str, str]] = []

    def add_up(self) -> None:
        """Add up the new reads. The caller holds the lock."""
        number = len(self.new_reads)
        self.reads.update(self.new_reads[:number])
        del self.new_reads[:number]


_counts = _Counts()


def count(event: str) -> None:
    """Count an event, by the name of its field in `Stats`."""
    with _counts.lock:
        _counts.events[event] += 1


def count_read(read: tuple[str, str]) -> None:
    """Count a read: the alias of its server, and the reason."""
    new = _counts.new_reads
    new.append(read)
    if len(new) >= BATCH:
        with _counts.lock:
            _counts.add_up()


def stats() -> Stats:
    """Return the counters of this process since it started or was forked. Safe under threads."""
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
    # A forked process counts anew. Another thread of the parent may have held the lock.
    os.register_at_fork(after_in_child=_start_anew)
