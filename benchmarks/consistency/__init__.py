"""What each rule for reading one's own writes costs, on replicas that lag, and how often it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.report import Report

__all__ = ["run"]


def run(quick: bool) -> Report:
    """Measure; `quick` runs everything, and proves nothing about times and shares."""
    # The processes that it starts are modules of this package, and import less.
    from benchmarks.consistency.comparison import compare

    return compare(quick)
