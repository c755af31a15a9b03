"""Everybody's work, side by side on the same servers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from timeit import Timer

from benchmarks.map.cores import CAN_PIN, on_one_core
from benchmarks.map.created import created_jobs
from benchmarks.map.floor import Floor
from benchmarks.map.jobs import (
    GET,
    GET_BATCHED,
    MEMORY,
    SET,
    SET_BATCHED,
    SINGLE_GET,
    Job,
    Load,
    check,
    jobs,
    memory,
)
from benchmarks.map.peer import RbPeer, rb_started
from benchmarks.map.profile import print_profile
from benchmarks.map.rates import PINDB, rates
from benchmarks.map.redis_py import redis_jobs
from benchmarks.peers import Unavailable
from benchmarks.report import RATIO, Report, Row, Target
from benchmarks.timing import Candidate, Case, Measured, Stopwatch, measure
from pindb.hashing import partition
from pindb.redis import Cluster, create_cluster
from pindb.testing.redis import TestSetup

__all__ = ["compare"]

SERVERS = 4
KEYS = 10_000
#: Some hundredths of a second, one by one.
SINGLE_KEYS = 500
ROUNDS = 31
#: A job that takes longer is done once in a round, after another time that does not count.
SECONDS = 0.03

CREATED, RB, REDIS, FLOOR = "create_cluster", "rb", "redis-py", "floor"

UNITS = {
    GET_BATCHED: "GET/s",
    GET: "GET/s",
    SET_BATCHED: "SET/s",
    SET: "SET/s",
    SINGLE_GET: "GET/s",
}

#: (case, who, how many times as fast as that one pindb is to be).
TARGETS = (
    (GET_BATCHED, RB, 2.5),
    (GET_BATCHED, REDIS, 3.0),
    (GET_BATCHED, FLOOR, 0.4),
    (GET, FLOOR, 0.4),
    (SET_BATCHED, RB, 2.5),
    (SET, RB, 2.5),
    (SET_BATCHED, FLOOR, 0.4),
    (SET, FLOOR, 0.4),
    (SINGLE_GET, REDIS, 0.95),
)
#: As much of the rate of `Cluster.map` is left behind the other face, at least.
CREATED_LEAVES = 0.6

NOTES = (
    "{servers} servers on Unix sockets, {keys:,} keys, values of 32 bytes. The ratio says how many times as "
    "fast (or, for memory, as large); the targets are shares of the other's time: 0.4 is 2.5 times as fast.",
    "redis-py: `pipeline(transaction=False)` on one server, the same in both cases, and `Redis.get`. floor: "
    "raw sockets and hiredis, no promises, keys grouped beforehand; MGET and MSET where the others batch.",
    "create_cluster: the maps of a cluster that it made, which always batch.",
    "single GET: all talk to the first server, {cores}.",
)
ONE_CORE = "on the same core as the server: which core it is matters more than what the client does"
ANY_CORE = "on whichever core the system chooses, which matters more than what the client does"


def compare(quick: bool, profile: bool) -> Report:
    """Check that everybody does the work right, then time it in turns."""
    load, places = _load(200 if quick else KEYS)
    cores = ONE_CORE if CAN_PIN else ANY_CORE
    notes = [note.format(servers=SERVERS, keys=len(load.keys), cores=cores) for note in NOTES]
    with ExitStack() as stack:
        # Each server's first database belongs to the cluster, the other one to redis-py's pipeline.
        setup = stack.enter_context(TestSetup(servers=SERVERS, databases_each=2))
        hosts = {number: setup.host(number) for number in range(SERVERS)}

        cluster = Cluster(hosts=hosts)
        stack.callback(cluster.disconnect_pools)
        ours = jobs(cluster, load)
        check(ours, load)
        setup.flush()

        created = create_cluster({"hosts": hosts, "router": "partition"})
        stack.callback(created.disconnect)
        others = created_jobs(created, load)
        check(others, load)
        setup.flush()

        floor = stack.enter_context(Floor(hosts, load, places))
        floor.check()
        setup.flush()

        rb = None
        try:
            rb = stack.enter_context(rb_started(hosts, load))
        except Unavailable as error:
            notes.append(f"rb is left out: {error}")
            check(ours, load)

        pipelined = stack.enter_context(setup.client(0, db=1))
        single = stack.enter_context(setup.client(0))
        theirs = redis_jobs(pipelined, single, load)
        check(theirs, load)

        processes = [os.getpid(), *([rb.pid] if rb else []), single.info("server")["process_id"]]
        work = {REDIS: theirs, FLOOR: floor.jobs(), CREATED: others, PINDB: ours}
        cases = [_case(case, rb, work, processes) for case in UNITS]
        measured = measure(cases, 3 if quick else ROUNDS, 0.001 if quick else SECONDS)
        remembered = {RB: rb.ask(MEMORY)} if rb else {}
        remembered[PINDB] = memory(cluster, load)
        if profile:
            print_profile(ours)

    def count(case: str) -> int:
        return len(load.single_keys if case == SINGLE_GET else load.keys)

    rows = [*rates(measured, UNITS, count), *_memory(remembered)]
    return Report("Many commands through a map", rows, _targets(measured, remembered), notes)


def _load(count: int) -> tuple[Load, list[int]]:
    """So many keys, and the host of each."""
    keys = [f"key:{number:06d}" for number in range(count)]
    values = [f"value:{number:026d}".encode() for number in range(count)]
    places = [partition(key, SERVERS) for key in keys]
    single = [number for number in range(count) if places[number] == 0][:SINGLE_KEYS]
    load = Load(keys, values, [keys[number] for number in single], [values[number] for number in single])
    return load, places


def _case(
    case: str, rb: RbPeer | None, work: Mapping[str, Mapping[str, Job]], processes: Sequence[int]
) -> Case:
    """A case in which an iteration is all keys once."""
    around = partial(on_one_core, processes) if case == SINGLE_GET else nullcontext
    stopwatches: dict[str, Stopwatch] = {RB: rb.stopwatch(case)} if rb else {}
    stopwatches |= {subject: Timer(jobs_[case]).timeit for subject, jobs_ in work.items() if case in jobs_}
    candidates = [Candidate(subject, watch, around=around) for subject, watch in stopwatches.items()]
    return Case(case, "s", RB if rb else REDIS, candidates)


def _memory(remembered: Mapping[str, float]) -> Iterator[Row]:
    for subject, value in remembered.items():
        yield Row(MEMORY, subject, value, "bytes")
    if RB in remembered:
        yield Row(MEMORY, PINDB, remembered[PINDB] / remembered[RB], RATIO + RB)


def _targets(measured: Measured, remembered: Mapping[str, float]) -> list[Target]:
    targets = [
        Target(f"{case}: time of {PINDB} / {other}", measured.ratio(case, PINDB, other), round(1 / times, 3))
        for case, other, times in TARGETS
        if (case, other) in measured.seconds
    ]
    for case in (GET_BATCHED, SET_BATCHED):
        ratio = measured.ratio(case, CREATED, PINDB)
        targets.append(Target(f"{case}: time of {CREATED} / {PINDB}", ratio, round(1 / CREATED_LEAVES, 3)))
    if RB in remembered:
        # Less, not just no more.
        targets.append(Target(f"{MEMORY}: {PINDB} / {RB}", remembered[PINDB] / remembered[RB], 0.99))
    return targets
