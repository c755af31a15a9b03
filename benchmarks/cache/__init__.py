"""Django's cache on four servers, beside django-redis's clients and Django's own backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.cache.comparison import compare

if TYPE_CHECKING:
    from benchmarks.report import Report

__all__ = ["run"]


def run(quick: bool) -> Report:
    """Measure; `quick` runs everything and proves nothing."""
    return compare(quick)
