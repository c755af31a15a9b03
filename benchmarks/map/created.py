"""The same maps through a cluster that `create_cluster` made."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.map.jobs import GET_BATCHED, SET_BATCHED, Job, Load
from pindb.redis import RoutedCluster, get_value

__all__ = ["created_jobs"]


def created_jobs(cluster: RoutedCluster, load: Load) -> dict[str, Job]:
    """By the name of the case, what the cluster has to do. Its maps always batch."""
    return {SET_BATCHED: partial(_set, cluster, load), GET_BATCHED: partial(_get, cluster, load)}


def _get(cluster: RoutedCluster, load: Load) -> list[Any]:
    with cluster.map() as client:
        results = [client.get(key) for key in load.keys]
    # Taken out of their results, as the others take values out of promises.
    return list(map(get_value, results))


def _set(cluster: RoutedCluster, load: Load) -> list[Any]:
    with cluster.map() as client:
        results = [client.set(key, value) for key, value in zip(load.keys, load.values, strict=True)]
    return list(map(get_value, results))
