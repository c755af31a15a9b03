"""A process that records how far each replica is, every few milliseconds, on connections of its own.

Run as ``python -m benchmarks.consistency.recorder``; see `benchmarks.consistency.processes`.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from time import monotonic
from typing import Any

from benchmarks.consistency.processes import answer
from pindb.testing.postgres import connect

__all__ = ["INTERVAL"]

#: How often (seconds) each replica is asked.
INTERVAL = 0.01


class Recorder:
    """Asks replicas in a thread, between `start` and `stop`."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.found: list[list[tuple[float, int]]] = []

    def start(self, databases: list[dict[str, Any]]) -> None:
        self.stopping.clear()
        self.found = [[] for _ in databases]
        self.thread = threading.Thread(target=self._record, args=(databases,))
        self.thread.start()

    def stop(self) -> list[list[tuple[float, int]]]:
        """For each replica, the times (`time.monotonic`) when it was asked, and what it had replayed."""
        self.stopping.set()
        self.thread.join()
        return self.found

    def _record(self, databases: list[dict[str, Any]]) -> None:
        with ExitStack() as stack:
            replicas = [stack.enter_context(connect(database)) for database in databases]
            while not self.stopping.wait(INTERVAL):
                for replica, entries in zip(replicas, self.found, strict=True):
                    at = monotonic()
                    row = replica.execute("SELECT pg_last_wal_replay_lsn() - '0/0'").fetchone()
                    assert row is not None
                    entries.append((at, int(row[0])))


if __name__ == "__main__":
    recorder = Recorder()
    answer(start=recorder.start, stop=recorder.stop)
