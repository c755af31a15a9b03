"""GET and SET through `Cluster.map`, and one by one, beside rb, redis-py and raw sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.report import Report

__all__ = ["run"]


def run(quick: bool, profile: bool = False) -> Report:
    """Measure; `quick` runs everything and proves nothing.

    Arguments:
        quick: fewer keys, fewer and shorter rounds.
        profile: also print where pindb's time goes.
    """
    # rb's process imports this package where nothing is installed but rb.
    from benchmarks.map.comparison import compare

    return compare(quick, profile)
