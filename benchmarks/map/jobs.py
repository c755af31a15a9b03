"""The work that is timed, written once for pindb and for rb: their clients are called in the same way."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = [
    "GET",
    "GET_BATCHED",
    "MEMORY",
    "SET",
    "SET_BATCHED",
    "SINGLE_GET",
    "Job",
    "Load",
    "check",
    "jobs",
    "memory",
    "single_get",
]

#: The names of the cases.
GET_BATCHED = "GET through map, batched"
GET = "GET through map, not batched"
SET_BATCHED = "SET through map, batched"
SET = "SET through map, not batched"
SINGLE_GET = "single GET, routed"
MEMORY = "memory per outstanding promise"

#: Does all commands of a case once and returns their results, in the order of the keys.
Job = Callable[[], "list[Any]"]


@dataclass(frozen=True)
class Load:
    """What is written and read.

    Attributes:
        keys: those of a map, on all servers.
        values: what each of them holds.
        single_keys: those that are read one by one. All are on the first server.
        single_values: what each of these holds.
    """

    keys: Sequence[str]
    values: Sequence[bytes]
    single_keys: Sequence[str]
    single_values: Sequence[bytes]


def jobs(cluster: Any, load: Load) -> dict[str, Job]:
    """By the name of the case, what a cluster (pindb's or rb's) has to do."""
    return {
        SET_BATCHED: partial(_set, cluster, load, True),
        SET: partial(_set, cluster, load, False),
        GET_BATCHED: partial(_get, cluster, load, True),
        GET: partial(_get, cluster, load, False),
        SINGLE_GET: partial(single_get, cluster.get_routing_client(), load),
    }


def _get(cluster: Any, load: Load, auto_batch: bool) -> list[Any]:
    with cluster.map(auto_batch=auto_batch) as client:
        promises = [client.get(key) for key in load.keys]
    return [promise.value for promise in promises]


def _set(cluster: Any, load: Load, auto_batch: bool) -> list[Any]:
    with cluster.map(auto_batch=auto_batch) as client:
        promises = [client.set(key, value) for key, value in zip(load.keys, load.values, strict=True)]
    return [promise.value for promise in promises]


def single_get(client: Any, load: Load) -> list[Any]:
    """One GET after the other, each with its answer."""
    return [client.get(key) for key in load.single_keys]


def check(work: Mapping[str, Job], load: Load) -> None:
    """Do each job once: its results have to be right before its time counts.

    Raises:
        RuntimeError: they are not.
    """
    written = [True] * len(load.keys)
    right = {
        SET_BATCHED: written,
        SET: written,
        GET_BATCHED: load.values,
        GET: load.values,
        SINGLE_GET: load.single_values,
    }
    for case, job in work.items():
        if job() != right[case]:
            raise RuntimeError(f"{case}: wrong results")


def memory(cluster: Any, load: Load) -> float:
    """Bytes that each GET takes from the call until it is sent: its promise, and its part of the buffers.

    The keys are the caller's and are not counted, nor is the caller's list of promises.
    """
    with cluster.map() as client:
        # Connections and tables that are there once do not belong to any one promise.
        client.get(load.keys[0])
    tracemalloc.start()
    try:
        with cluster.map() as client:
            before = tracemalloc.get_traced_memory()[0]
            promises = [client.get(key) for key in load.keys]
            after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    return (after - before - sys.getsizeof(promises)) / len(promises)
