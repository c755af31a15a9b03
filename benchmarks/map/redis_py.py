"""redis-py's pipeline and its GET, on one server."""

from __future__ import annotations

from functools import partial
from typing import Any

from redis import Redis

from benchmarks.map.jobs import GET, GET_BATCHED, SET, SET_BATCHED, SINGLE_GET, Job, Load, single_get

__all__ = ["redis_jobs"]


def redis_jobs(pipelined: Redis, single: Redis, load: Load) -> dict[str, Job]:
    """By the name of the case, what redis-py does: its pipeline does not batch, so it is the same either way.

    Arguments:
        pipelined: for the pipelines; a database of their own, where all keys are.
        single: for single commands; the first host of the cluster.
        load: what to write and read.
    """
    get = partial(_get, pipelined, load)
    set_ = partial(_set, pipelined, load)
    return {
        SET_BATCHED: set_,
        SET: set_,
        GET_BATCHED: get,
        GET: get,
        SINGLE_GET: partial(single_get, single, load),
    }


def _get(client: Redis, load: Load) -> list[Any]:
    with client.pipeline(transaction=False) as pipeline:
        for key in load.keys:
            pipeline.get(key)
        return pipeline.execute()


def _set(client: Redis, load: Load) -> list[Any]:
    with client.pipeline(transaction=False) as pipeline:
        for key, value in zip(load.keys, load.values, strict=True):
            pipeline.set(key, value)
        return pipeline.execute()
