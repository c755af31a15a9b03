"""The same calls of every cache, in turn, on the same servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.cache.subjects import (
    BUILT_IN,
    DEFAULT_CLIENT,
    PINDB,
    RING,
    SERVERS,
    SHARD_CLIENT,
    Cache,
    make_caches,
)
from benchmarks.map.cores import CAN_PIN, on_one_core
from benchmarks.report import RATIO, Report, Row, Target
from benchmarks.timing import Candidate, Case, Measured, measure
from pindb.testing.redis import TestSetup

__all__ = ["CASES", "can", "check", "compare", "make_job", "time_without_refill"]

KEYS = 1000
#: Bytes of a value, before it is pickled.
SIZE = 200
#: One by one, on the first server.
SINGLE_KEYS = 200
ROUNDS = 15
#: What takes longer is done once in a round, after another time that does not count.
SECONDS = 0.005

GET, SET = "get", "set"
GET_MANY, SET_MANY, DELETE_MANY, DELETE_PATTERN = "get_many", "set_many", "delete_many", "delete_pattern"
CASES = (GET, SET, GET_MANY, SET_MANY, DELETE_MANY, DELETE_PATTERN)
ONE_SERVER = (DEFAULT_CLIENT, BUILT_IN)
#: How many times as fast as ShardClient.
TIMES = 15

NOTES = (
    "{servers} servers on Unix sockets, {keys:,} keys, values of {size} bytes, pickled by all. pindb and "
    "ShardClient use all servers, the others one. The ratio says how many times as long as pindb it takes.",
    "get and set: {single} keys one by one, all on the first server, {cores}. delete_many and "
    "delete_pattern: the keys are written anew each time, which does not count. Django's RedisCache has no "
    "delete_pattern.",
)
ONE_CORE = "which shares a core with the client"
ANY_CORE = "on whichever core the system chooses"

Job = Callable[[], Any]


def compare(quick: bool) -> Report:
    """Check that every cache does the work right, then time it in turns."""
    data = {f"key:{number:05d}": f"{number:0{SIZE}d}" for number in range(100 if quick else KEYS)}
    with TestSetup(servers=SERVERS, databases_each=5) as setup:
        caches = make_caches(setup)
        for subject, cache in caches.items():
            check(subject, cache, data)
        with setup.client(0) as client:
            processes = [os.getpid(), client.info("server")["process_id"]]
        cases = [_case(name, caches, data, processes) for name in CASES]
        measured = measure(cases, 2 if quick else ROUNDS, 0.0001 if quick else SECONDS)
    cores = ONE_CORE if CAN_PIN else ANY_CORE
    notes = [
        note.format(servers=SERVERS, keys=len(data), size=SIZE, single=SINGLE_KEYS, cores=cores)
        for note in NOTES
    ]
    return Report("A cache on four servers", list(_rows(measured)), _targets(measured), notes)


def check(subject: str, cache: Cache, data: Mapping[str, str]) -> None:
    """Do each job once, as it is timed: what it does has to be right before its time counts.

    Raises:
        RuntimeError: it is not; or there is nothing to do one by one.
    """
    backend = cache.backend
    some = {key: data[key] for key in cache.keys_on_first(list(data), SINGLE_KEYS)}
    if not some:
        raise RuntimeError(f"{subject}: no keys on the first server")
    stale = dict.fromkeys(data, "stale")

    def written(values: Mapping[str, str], name: str) -> bool:
        backend.set_many(stale)
        jobs[name]()
        return bool(backend.get_many(data) == {**stale, **values})

    def deleted(name: str) -> bool:
        backend.set_many(data)
        full = backend.get_many(data) == data
        jobs[name]()
        return bool(full and backend.get_many(data) == {})

    jobs = {name: make_job(name, cache, data) for name in CASES if can(name, cache)}
    right = {}
    right[SET_MANY] = written(data, SET_MANY)
    right[SET] = written(some, SET)
    right |= {name: deleted(name) for name in (DELETE_MANY, DELETE_PATTERN) if name in jobs}
    backend.set_many(data)
    right[GET_MANY] = jobs[GET_MANY]() == data
    right[GET] = jobs[GET]()[: len(some)] == list(some.values())
    wrong = [name for name, is_right in right.items() if not is_right]
    if wrong:
        raise RuntimeError(f"{subject}: wrong results of {', '.join(wrong)}")


def can(name: str, cache: Cache) -> bool:
    """Whether the cache has what a case calls: Django's own has no delete_pattern."""
    return hasattr(cache.backend, name)


def _case(name: str, caches: Mapping[str, Cache], data: Mapping[str, str], processes: Sequence[int]) -> Case:
    single = name in (GET, SET)
    around = partial(on_one_core, processes) if single else nullcontext
    candidates = []
    for subject, cache in caches.items():
        if not can(name, cache):
            continue
        job = make_job(name, cache, data)
        refill = partial(cache.backend.set_many, data) if name.startswith("delete") else None
        stopwatch = partial(time_without_refill, job, refill)
        candidates.append(Candidate(subject, stopwatch, base=lambda count: 0.0, around=around))
    return Case(name, "ms", PINDB, candidates)


def time_without_refill(job: Job, refill: Job | None, count: int) -> float:
    """The seconds that so many runs of the job take, without what makes it ready."""
    taken = 0.0
    for _ in range(count):
        if refill is not None:
            refill()
        start = perf_counter()
        job()
        taken += perf_counter() - start
    if refill is not None:
        refill()
    return taken


def make_job(name: str, cache: Cache, data: Mapping[str, str]) -> Job:
    """What is timed in a case."""
    backend, keys = cache.backend, list(data)
    if name in (GET, SET):
        some = cache.keys_on_first(keys, SINGLE_KEYS)
        # ShardClient may have fewer of them there.
        some = (some * SINGLE_KEYS)[:SINGLE_KEYS]
        if name == GET:
            return lambda: [backend.get(key) for key in some]
        return lambda: [backend.set(key, data[key]) for key in some]
    if name == SET_MANY:
        return partial(backend.set_many, data)
    if name == DELETE_PATTERN:
        return partial(backend.delete_pattern, "key:*")
    return partial(getattr(backend, name), keys)


def _rows(measured: Measured) -> Iterator[Row]:
    """The milliseconds of each subject, and how many times as long as pindb's they are."""
    for case in measured.cases:
        for candidate in case.candidates:
            subject = candidate.subject
            yield Row(case.name, subject, median(measured.seconds[case.name, subject]) * 1000, "ms")
            if subject != PINDB:
                yield Row(case.name, subject, measured.ratio(case.name, subject, PINDB), RATIO + PINDB)


def _targets(measured: Measured) -> list[Target]:
    targets = []
    for subject in (PINDB, RING):
        for case in (GET_MANY, SET_MANY, DELETE_MANY):
            best = min(ONE_SERVER, key=lambda other: median(measured.seconds[case, other]))
            for other, limit in ((SHARD_CLIENT, round(1 / TIMES, 3)), (best, 1.0)):
                ratio = measured.ratio(case, subject, other)
                targets.append(Target(f"{case}: time of {subject} / {other}", ratio, limit))
        for case in (GET, SET):
            ratio = measured.ratio(case, subject, DEFAULT_CLIENT)
            targets.append(Target(f"{case}: time of {subject} / {DEFAULT_CLIENT}", ratio, 1.053))
    return targets
