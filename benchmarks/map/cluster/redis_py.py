"""redis-py's client for a Redis Cluster."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.map.cluster.jobs import GET, MGET, SET, SINGLE_GET
from benchmarks.map.jobs import Job, Load, single_get

__all__ = ["redis_jobs"]


def redis_jobs(client: Any, load: Load) -> dict[str, Job]:
    """By the name of the case, what redis-py does: a pipeline, or `mget_nonatomic`.

    Arguments:
        client: redis-py's `RedisCluster`, whose methods have no types.
        load: what to write and read.
    """
    return {
        SET: partial(_set, client, load),
        GET: partial(_get, client, load),
        MGET: partial(_mget, client, load),
        SINGLE_GET: partial(single_get, client, load),
    }


# A pipeline of all keys is faster than several smaller ones.
def _get(client: Any, load: Load) -> list[Any]:
    with client.pipeline() as pipeline:
        for key in load.keys:
            pipeline.get(key)
        return list(pipeline.execute())


def _set(client: Any, load: Load) -> list[Any]:
    with client.pipeline() as pipeline:
        for key, value in zip(load.keys, load.values, strict=True):
            pipeline.set(key, value)
        return list(pipeline.execute())


def _mget(client: Any, load: Load) -> list[Any]:
    return list(client.mget_nonatomic(load.keys))
