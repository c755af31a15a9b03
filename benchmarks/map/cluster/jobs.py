"""The work that is timed on a Redis Cluster, and how pindb does it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.map.jobs import Job, Load, single_get
from pindb.redis import Cluster

__all__ = ["GET", "MGET", "SET", "SINGLE_GET", "check", "pindb_jobs"]

#: The names of the cases.
GET = "cluster GET"
SET = "cluster SET"
MGET = "cluster MGET"
SINGLE_GET = "cluster single GET"


def pindb_jobs(cluster: Cluster, load: Load) -> dict[str, Job]:
    """By the name of the case, what pindb does. Nothing is merged, as a Redis Cluster does not allow it."""
    return {
        SET: partial(_set, cluster, load),
        GET: partial(_get, cluster, load),
        MGET: partial(_mget, cluster, load),
        SINGLE_GET: partial(single_get, cluster.get_routing_client(), load),
    }


def _get(cluster: Cluster, load: Load) -> list[Any]:
    with cluster.map(auto_batch=False) as client:
        promises = [client.get(key) for key in load.keys]
    return [promise.value for promise in promises]


def _set(cluster: Cluster, load: Load) -> list[Any]:
    with cluster.map(auto_batch=False) as client:
        promises = [client.set(key, value) for key, value in zip(load.keys, load.values, strict=True)]
    return [promise.value for promise in promises]


def _mget(cluster: Cluster, load: Load) -> list[Any]:
    with cluster.map() as client:
        promise = client.mget(load.keys)
    return list(promise.value)


def check(subject: str, work: Mapping[str, Job], load: Load) -> None:
    """Do each job once: its results have to be right before its time counts.

    Raises:
        RuntimeError: they are not.
    """
    right = {GET: load.values, MGET: load.values, SINGLE_GET: load.single_values}
    for case, job in work.items():
        results = job()
        # What a SET returns differs from client to client.
        if len(results) != len(load.keys) if case == SET else results != right[case]:
            raise RuntimeError(f"{subject}: {case}: wrong results")
