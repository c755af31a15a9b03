"""From requests to figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from benchmarks.consistency.servers import MASTER
from benchmarks.consistency.worker import Record

__all__ = ["Figures", "percentile"]


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that is not below `percent` % of `values`."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


@dataclass(frozen=True)
class Figures:
    """The requests of one strategy.

    Attributes:
        records: all of them.
        run_in: those that were due before that many seconds count for stale reads only.
    """

    records: Sequence[Record]
    run_in: float

    def requests(self, writes: bool) -> list[Record]:
        """Those that count, and write or read."""
        return [record for record in self.records if record.due >= self.run_in and record.writes == writes]

    @property
    def stale(self) -> int:
        """How many reads, of all that were made, did not see what their session had written."""
        return sum(1 for record in self.records if record.behind > 0)

    @property
    def from_replicas(self) -> float:
        """The share of reads that replicas served."""
        reads = self.requests(writes=False)
        return sum(1 for record in reads if record.alias != MASTER) / len(reads)

    @property
    def master_queries(self) -> float:
        """For each read, the statements on the master that are none of the site's writes."""
        reads, writes = self.requests(writes=False), self.requests(writes=True)
        statements = sum(record.on_master for record in (*reads, *writes))
        return (statements - len(writes)) / len(reads)

    @property
    def extra_queries(self) -> float:
        """For each writing request, the statements on the master that are not the site's own."""
        reads, writes = self.requests(writes=False), self.requests(writes=True)
        statements = sum(record.on_master for record in (*reads, *writes))
        own = len(writes) + sum(1 for record in reads if record.alias == MASTER)
        return (statements - own) / len(writes)

    @property
    def questions(self) -> float:
        """For each read, the questions to replicas how far they are."""
        reads = self.requests(writes=False)
        return sum(record.questions for record in reads) / len(reads)

    def rule(self, writes: bool) -> list[float]:
        """For each request, the seconds that the strategy took for what it does, with the clocks' own."""
        return [record.rule for record in self.requests(writes)]

    @property
    def beside(self) -> float:
        """The seconds that a reading request took without the site's own statement, at the median."""
        return median(record.seconds - record.query for record in self.requests(writes=False))

    def query(self, percent: int = 50) -> float:
        """The seconds that a read's own statement took, at a percentile."""
        return percentile([record.query for record in self.requests(writes=False)], percent)
