"""A router that knows for free, at any time, how far each replica is: nobody can send more reads to them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from benchmarks.consistency.worker import Record

__all__ = ["Oracle"]


class Oracle:
    """Says which reads a replica could have served.

    Arguments:
        recorded: for each replica, when it was asked (`time.monotonic`) and what it had replayed.
    """

    def __init__(self, recorded: Iterable[Sequence[tuple[float, int]]]) -> None:
        self._replicas = [([at for at, _ in entries], [lsn for _, lsn in entries]) for entries in recorded]

    def reached(self, lsn: int) -> float:
        """When the first replica had replayed `lsn` (`time.monotonic`).

        It is taken to be when the replica was asked for the last time before it said so. That is too early by
        at most the time between two questions, which is to the favour of the oracle and never of a strategy.
        """
        return min(self._reached(times, lsns, lsn) for times, lsns in self._replicas)

    @staticmethod
    def _reached(times: Sequence[float], lsns: Sequence[int], lsn: int) -> float:
        first = bisect_left(lsns, lsn)
        return float("inf") if first == len(lsns) else times[max(0, first - 1)]

    def share(self, records: Iterable[Record], run_in: float) -> float:
        """The share of reads that a replica could have served without being stale.

        Arguments:
            records: all requests of a strategy, in any order.
            run_in: how long (seconds) reads do not count.
        """
        reached: dict[int, float] = {}
        reads = servable = 0
        for record in sorted(records, key=lambda record: record.at):
            if record.writes:
                reached[record.session] = self.reached(record.lsn)
            elif record.due >= run_in:
                reads += 1
                servable += record.at >= reached.get(record.session, float("-inf"))
        return servable / reads
