"""Commands per second, of the seconds that were measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from statistics import median

from benchmarks.report import RATIO, Row
from benchmarks.timing import Measured

__all__ = ["PINDB", "rates"]

PINDB = "pindb"


def rates(measured: Measured, units: Mapping[str, str], count: Callable[[str], int]) -> Iterator[Row]:
    """Commands per second, and how many times as fast that is as the reference, and pindb as everybody.

    Arguments:
        measured: the seconds per iteration.
        units: the unit of each case.
        count: returns how many commands an iteration of a case has.
    """
    for case in measured.cases:
        for candidate in case.candidates:
            subject = candidate.subject
            rate = count(case.name) / median(measured.seconds[case.name, subject])
            yield Row(case.name, subject, rate, units[case.name])
            others = [other.subject for other in case.candidates if subject == PINDB]
            # The last ratio is the one that tables show.
            for other in [*(other for other in others if other != case.reference), case.reference]:
                if other != subject:
                    yield Row(case.name, subject, measured.ratio(case.name, other, subject), RATIO + other)
