"""Everybody's work, side by side on the same Redis Cluster, and pindb's on plain servers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from timeit import Timer

from redis.cluster import RedisCluster

from benchmarks.map.cluster.coredis import coredis_started
from benchmarks.map.cluster.glide import glide_started
from benchmarks.map.cluster.jobs import GET, MGET, SET, SINGLE_GET, check, pindb_jobs
from benchmarks.map.cluster.redis_py import redis_jobs
from benchmarks.map.cores import CAN_PIN, on_one_core
from benchmarks.map.jobs import Job, Load
from benchmarks.map.profile import print_profile
from benchmarks.map.rates import PINDB, rates
from benchmarks.peers import Unavailable
from benchmarks.report import Report, Target
from benchmarks.timing import Candidate, Case, Measured, measure
from pindb.hashing import partition, slot
from pindb.redis import Cluster
from pindb.testing.redis import RedisClusterSetup, TestSetup

__all__ = ["compare_on_cluster"]

SERVERS = 3
KEYS = 10_000
#: Some hundredths of a second, one by one.
SINGLE_KEYS = 500
ROUNDS = 15
#: A job that takes longer is done once in a round, after another time that does not count.
SECONDS = 0.03

PLAIN, REDIS, GLIDE, COREDIS = "pindb, plain servers", "redis-py", "valkey-glide", "coredis"
NONATOMIC = "redis-py, mget_nonatomic"

UNITS = {GET: "GET/s", SET: "SET/s", MGET: "keys/s", SINGLE_GET: "GET/s"}

#: (case, who, how many times as fast as that one pindb is to be).
TARGETS = (
    (GET, REDIS, 8),
    (SET, REDIS, 8),
    (GET, GLIDE, 3),
    (SET, GLIDE, 3),
    (MGET, NONATOMIC, 5),
    (GET, PLAIN, 0.85),
    (SET, PLAIN, 0.85),
    (SINGLE_GET, REDIS, 1.2),
)

NOTES = (
    "A Redis Cluster of {servers} masters, and {servers} plain servers, on ports of this machine; {keys:,} "
    "keys, values of 32 bytes. The ratio says how many times as fast; the targets are shares of the other's "
    "time: 0.125 is 8 times as fast.",
    "plain servers: `Cluster.map(auto_batch=False)`, as a Redis Cluster allows no merging. Their MGET is cut "
    "by server.",
    "coredis: its pipeline; its `mget` is slower than that.",
    "single GET: all keys are on one server{cores}.",
)


def compare_on_cluster(quick: bool, profile: bool) -> Report:
    """Check that everybody does the work right, then time it in turns."""
    with ExitStack() as stack:
        setup = stack.enter_context(RedisClusterSetup(masters=SERVERS, replicas=0))
        plain = stack.enter_context(TestSetup(servers=SERVERS, databases_each=1, tcp=True))
        load = _load(200 if quick else KEYS, set(setup.slots(0)))
        cores = ", and that and the client are on one core" if CAN_PIN else ""
        notes = [note.format(servers=SERVERS, keys=len(load.keys), cores=cores) for note in NOTES]

        nodes = setup.start_up_nodes
        cluster = Cluster.from_redis_cluster(nodes)
        stack.callback(cluster.disconnect_pools)
        on_plain = Cluster(hosts={number: plain.host(number) for number in range(SERVERS)})
        stack.callback(on_plain.disconnect_pools)
        theirs = RedisCluster(**nodes[0])
        stack.callback(theirs.close)

        ours = pindb_jobs(cluster, load)
        work = {REDIS: redis_jobs(theirs, load)}
        for subject, started in ((COREDIS, coredis_started), (GLIDE, glide_started)):
            try:
                work[subject] = stack.enter_context(started(nodes, load))
            except Unavailable as error:
                notes.append(f"{subject} is left out: {error}")
        work |= {PLAIN: pindb_jobs(on_plain, load), PINDB: ours}
        for subject, jobs in work.items():
            check(subject, jobs, load)

        with plain.client(0) as client:
            servers = [client.info("server")["process_id"]]
        with Cluster(hosts={0: nodes[0]}).get_local_client(0) as client:
            servers.append(client.info("server")["process_id"])
        cases = [_case(case, work, [os.getpid(), *servers]) for case in UNITS]
        measured = measure(cases, 3 if quick else ROUNDS, 0.001 if quick else SECONDS)
        if profile:
            print_profile({case: job for case, job in ours.items() if case != SINGLE_GET})

    def count(case: str) -> int:
        return len(load.single_keys if case == SINGLE_GET else load.keys)

    rows = list(rates(measured, UNITS, count))
    return Report("Many commands to a Redis Cluster", rows, _targets(measured), notes)


def _load(count: int, slots: set[int]) -> Load:
    """So many keys; those to be read one by one are in these slots, and on the first plain server."""
    keys = [f"key:{number:06d}" for number in range(count)]
    values = [f"value:{number:026d}".encode() for number in range(count)]
    single = [n for n, key in enumerate(keys) if slot(key) in slots and partition(key, SERVERS) == 0]
    single = single[:SINGLE_KEYS]
    return Load(keys, values, [keys[number] for number in single], [values[number] for number in single])


def _case(case: str, work: Mapping[str, Mapping[str, Job]], processes: Sequence[int]) -> Case:
    """A case in which an iteration is all keys once."""
    around = partial(on_one_core, processes) if case == SINGLE_GET else nullcontext
    candidates = [
        Candidate(_name(case, subject), Timer(jobs[case]).timeit, around=around)
        for subject, jobs in work.items()
        if case in jobs
    ]
    return Case(case, "s", _name(case, REDIS), candidates)


def _name(case: str, subject: str) -> str:
    return NONATOMIC if case == MGET and subject == REDIS else subject


def _targets(measured: Measured) -> list[Target]:
    return [
        Target(f"{case}: time of {PINDB} / {other}", measured.ratio(case, PINDB, other), round(1 / times, 3))
        for case, other, times in TARGETS
        if (case, other) in measured.seconds
    ]
