"""All strategies at the same time, on the same servers, with the same schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from time import monotonic

from benchmarks.consistency.figures import Figures, percentile
from benchmarks.consistency.oracle import Oracle
from benchmarks.consistency.processes import started
from benchmarks.consistency.schedule import Load
from benchmarks.consistency.servers import REPLICAS, databases, prepare, start_servers
from benchmarks.consistency.strategies import NO_PINS, ORACLE, POSITIONS, STRATEGIES
from benchmarks.consistency.worker import Record
from benchmarks.peers import Peer
from benchmarks.report import Report, Row, Target
from pindb.testing.postgres import PostgresReplicaSet

__all__ = ["compare"]

#: How late (seconds) replicas show each commit.
DELAYS = (0.05, 0.2, 1.0)

LOAD = Load(sessions=200, run_in=15, seconds=60)
QUICK_LOAD = Load(sessions=60, run_in=0.5, seconds=2)

#: How much later (seconds) each strategy does the same than the one before it. Otherwise all of them would
#: want the processor at the same moments.
SHIFT = 0.25

NOTES = (
    "{sessions} sessions for each strategy: {seconds:g} s for each delay, after {run_in:g} s of which only "
    "stale reads count. All strategies run at the same time, in processes of their own, with the same "
    "schedule.",
    "oracle: a router that knew each replica's position for free, on the same reads as positions. queries to "
    "the master: all but the site's writes. added: what the strategy itself takes in a request, less what no "
    "pins takes at the median. rest: the request without the site's own statement.",
)


@dataclass(frozen=True)
class Run:
    """What was found with one delay.

    Attributes:
        name: of the delay.
        figures: by strategy.
        oracle: the share of reads that the oracle sends to replicas.
    """

    name: str
    figures: Mapping[str, Figures]
    oracle: float

    def added(self, strategy: str, writes: bool, percent: int = 50) -> float:
        """The seconds that a strategy adds to requests, at a percentile of them."""
        ours, base = self.figures[strategy].rule(writes), self.figures[NO_PINS].rule(writes)
        return percentile(ours, percent) - median(base)

    def rows(self) -> Iterator[Row]:
        """The figures of every strategy, and the oracle's."""
        for strategy, figures in self.figures.items():
            yield from (
                Row(f"{self.name}: {case}", strategy, value, unit)
                for case, value, unit in (
                    ("reads from replicas", figures.from_replicas * 100, "%"),
                    ("stale reads", figures.stale, "in all"),
                    ("queries to the master", figures.master_queries, "per read"),
                    ("questions to replicas", figures.questions, "per read"),
                    ("added to a read, median", self.added(strategy, False) * 1e6, "µs"),
                    ("added to a read, 99 %", self.added(strategy, False, 99) * 1e6, "µs"),
                    ("added to a write, median", self.added(strategy, True) * 1e6, "µs"),
                    ("added to a write, 99 %", self.added(strategy, True, 99) * 1e6, "µs"),
                    ("rest of a read, median", figures.beside * 1e6, "µs"),
                    ("query, median", figures.query() * 1e6, "µs"),
                    ("query, fastest tenth", figures.query(10) * 1e6, "µs"),
                )
            )
        yield Row(f"{self.name}: reads from replicas", ORACLE, self.oracle * 100, "%")

    def targets(self) -> Iterator[Target]:
        """What positions should be."""
        ours = self.figures[POSITIONS]
        missed = (1 - ours.from_replicas / self.oracle) * 100
        # Where processes wait for a processor, queries take several times as long, and what is added does
        # not: the share would shrink. A query of the fastest tenth has not waited.
        added = self.added(POSITIONS, writes=False) / self.figures[NO_PINS].query(10) * 100
        yield Target(f"{self.name}: stale reads", ours.stale, 0)
        yield Target(f"{self.name}: part of the oracle's reads that stays on the master, %", missed, 5)
        yield Target(f"{self.name}: extra master queries per writing request", ours.extra_queries, 1)
        yield Target(f"{self.name}: added to a reading request at the median, % of a query", added, 3)


def compare(quick: bool) -> Report:
    """Let all strategies run with each delay."""
    load = QUICK_LOAD if quick else LOAD
    with start_servers() as servers, _processes() as processes:
        runs = [processes.run(servers, load, delay) for delay in DELAYS]
    return Report(
        "Reading one's own writes, by the replicas' delay",
        [row for run in runs for row in run.rows()],
        [target for run in runs for target in run.targets()],
        [note.format(**asdict(load)) for note in NOTES],
        by_subject=True,
    )


@dataclass(frozen=True)
class _Processes:
    """What runs beside this process.

    Attributes:
        recorder: records where the replicas are.
        workers: one for each strategy.
        pool: threads that wait for them.
    """

    recorder: Peer
    workers: Mapping[str, Peer]
    pool: ThreadPoolExecutor

    def run(self, servers: PostgresReplicaSet, load: Load, delay: float) -> Run:
        """Run all strategies with a delay (seconds)."""
        prepare(servers, rows=load.sessions * len(STRATEGIES), delay=delay)
        settings = databases(servers)

        def prepare_worker(number: int, strategy: str) -> None:
            self.workers[strategy].ask(
                job="prepare",
                strategy=strategy,
                databases=settings,
                first_key=1 + number * load.sessions,
                load=asdict(load),
            )

        def run_worker(number: int, strategy: str) -> Figures:
            records = self.workers[strategy].ask(job="run", start=start + number * SHIFT)
            return Figures([Record(*values) for values in records], load.run_in)

        numbers = range(len(STRATEGIES))
        list(self.pool.map(prepare_worker, numbers, STRATEGIES))
        self.recorder.ask(job="start", databases=[settings[alias] for alias in REPLICAS])
        start = monotonic() + SHIFT
        figures = dict(zip(STRATEGIES, self.pool.map(run_worker, numbers, STRATEGIES), strict=True))
        oracle = Oracle(self.recorder.ask(job="stop"))
        # On the times of the strategy that is measured by it.
        share = oracle.share(figures[POSITIONS].records, load.run_in)
        return Run(f"{delay * 1000:,.0f} ms", figures, share)


@contextmanager
def _processes() -> Iterator[_Processes]:
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(STRATEGIES)))
        recorder = stack.enter_context(started("benchmarks.consistency.recorder"))
        workers = {
            strategy: stack.enter_context(started("benchmarks.consistency.worker")) for strategy in STRATEGIES
        }
        yield _Processes(recorder, workers, pool)
