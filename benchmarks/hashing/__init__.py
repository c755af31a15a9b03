"""Look-ups per second on rings and partitions, beside rb, uhashring, django-redis, and the floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.report import Report

__all__ = ["run"]


def run(quick: bool) -> Report:
    """Measure; `quick` runs everything and proves nothing."""
    # rb's process imports this package where nothing is installed but rb.
    from benchmarks.hashing.comparison import compare

    return compare(quick)
