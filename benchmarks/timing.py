"""Timing on a noisy machine: candidates in alternation, many short rounds, medians.

Candidates are compared within a round, where they ran within a fraction of a second of each other. So a slow
second of the machine slows all of them, and the median over the rounds drops it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from timeit import Timer
from typing import TypeVar

from benchmarks.report import RATIO, Row

__all__ = ["UNITS", "Candidate", "Case", "Measured", "Stopwatch", "measure"]

T = TypeVar("T")

#: Takes a number of iterations and returns the seconds that they took: as `timeit.Timer.timeit` does.
Stopwatch = Callable[[int], float]

#: How many of each unit are in a second.
UNITS = {"ns": 1e9, "µs": 1e6, "ms": 1e3, "s": 1.0}

#: The cost of the loop itself.
EMPTY_LOOP = Timer().timeit


@dataclass(frozen=True)
class Candidate:
    """One thing that is timed.

    Attributes:
        subject: whose figure it is.
        stopwatch: times it.
        base: times what is to be subtracted from it, with as many iterations: the loop, or the loop and
            what makes ready each iteration.
        around: a context for each round, entered and left outside of the timing: the state to be in.
    """

    subject: str
    stopwatch: Stopwatch
    base: Stopwatch = EMPTY_LOOP
    around: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True)
class Case:
    """What is compared: candidates that do the same work.

    Attributes:
        name: what is done once in an iteration.
        unit: one of `UNITS`.
        reference: the subject that the others are compared with.
        candidates: each with a subject of its own.
    """

    name: str
    unit: str
    reference: str
    candidates: Sequence[Candidate]


@dataclass(frozen=True)
class Measured:
    """The figures of a run.

    Attributes:
        cases: what was measured, in its order.
        seconds: for each case and subject, by their names, the seconds per iteration in each round.
    """

    cases: Sequence[Case]
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def ratio(self, case: str, subject: str, reference: str) -> float:
        """How many times as long as the reference the subject takes: the median of the rounds' ratios."""
        pairs = zip(self.seconds[case, subject], self.seconds[case, reference], strict=True)
        return median(ours / theirs for ours, theirs in pairs)

    def rows(self) -> list[Row]:
        """For each subject of each case its median, and its ratio to the case's reference."""
        rows = []
        for case in self.cases:
            for candidate in case.candidates:
                subject = candidate.subject
                value = median(self.seconds[case.name, subject]) * UNITS[case.unit]
                rows.append(Row(case.name, subject, value, case.unit))
                if subject != case.reference:
                    ratio = self.ratio(case.name, subject, case.reference)
                    rows.append(Row(case.name, subject, ratio, RATIO + case.reference))
        return rows


def measure(cases: Sequence[Case], rounds: int, seconds: float) -> Measured:
    """Time all candidates of all cases once in each round.

    Arguments:
        cases: what to time.
        rounds: how many times.
        seconds: about how long each candidate runs in a round.
    """
    measured = Measured(cases)
    # The collector runs between timings only, and looks only at what was made since it last did.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        counts = {
            (case.name, candidate.subject): _in_state(candidate, partial(_calibrate, candidate, seconds))
            for case, candidate in _all(cases)
        }
        for number in range(rounds):
            order = _all(cases)
            for case, candidate in reversed(order) if number % 2 else order:
                key = case.name, candidate.subject
                gc.collect()
                taken = _in_state(candidate, partial(_time, candidate, counts[key]))
                measured.seconds.setdefault(key, []).append(taken)
    finally:
        gc.enable()
        gc.unfreeze()
    return measured


def _all(cases: Sequence[Case]) -> list[tuple[Case, Candidate]]:
    return [(case, candidate) for case in cases for candidate in case.candidates]


def _in_state(candidate: Candidate, job: Callable[[], T]) -> T:
    """Run `job` in the candidate's state and in context variables of its own."""

    def run() -> T:
        with candidate.around():
            return job()

    return copy_context().run(run)


def _calibrate(candidate: Candidate, seconds: float) -> int:
    """How many iterations take `seconds`."""
    count = 1
    while (taken := candidate.stopwatch(count)) < seconds / 4:
        count *= 2
    return max(1, int(count * seconds / taken))


def _time(candidate: Candidate, count: int) -> float:
    """The seconds per iteration of `count` of them."""
    # The caches of the interpreter and of the subject fill up first.
    candidate.stopwatch(max(1, count // 50))
    return (candidate.stopwatch(count) - candidate.base(count)) / count
