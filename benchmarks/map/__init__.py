"""GET and SET through `Cluster.map`, and one by one, beside rb, redis-py and raw sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.report import Report

__all__ = ["run"]


def run(quick: bool, profile: bool = False, cluster: bool = False) -> Report:
    """Measure; `quick` runs everything and proves nothing.

    Arguments:
        quick: fewer keys, fewer and shorter rounds.
        profile: also print where pindb's time goes.
        cluster: on a Redis Cluster, beside the clients for it.
    """
    # rb's process imports this package where nothing is installed but rb.
    if cluster:
        from benchmarks.map.cluster.comparison import compare_on_cluster

        return compare_on_cluster(quick, profile)
    from benchmarks.map.comparison import compare

    return compare(quick, profile)
