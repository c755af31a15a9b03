"""The same keys, looked up by everybody in turns."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from statistics import median
from struct import Struct
from timeit import Timer
from typing import Any

from django_redis.hash_ring import HashRing as DjangoRedisRing
from uhashring import HashRing

from benchmarks import peers
from benchmarks.report import RATIO, Report, Row, Target
from benchmarks.timing import Candidate, Case, Measured, Stopwatch, measure
from pindb.hashing import Continuum, Ketama, partition, partition_many
from pindb.hashing.rings import md5
from pindb.redis import Cluster

__all__ = ["compare"]

NODES = [f"10.0.0.{number}:6379" for number in range(8)]
HOSTS = 7
KEYS = 1000
ROUNDS = 31
SECONDS = 0.015

RING = f"ring look-up, {len(NODES)} nodes"
PARTITION = f"partition look-up, {HOSTS} hosts"

PINDB, FLOOR, RB, RB_ARITHMETIC = "pindb", "floor", "rb", "rb, arithmetic alone"
UHASHRING, UHASHRING_KETAMA, DJANGO_REDIS = "uhashring", "uhashring, ketama", "django-redis"

#: Where a key goes, with nothing but what cannot be left out.
FLOOR_STATEMENT = "bisect(points, unpack(md5(key.encode()).digest())[0])"

#: (case, who, at most how much of that one's time pindb is to take). Less, not just no more, is 0.99.
TARGETS = (
    (RING, RB, 0.99),
    (RING, UHASHRING, 0.99),
    (RING, UHASHRING_KETAMA, 0.99),
    (RING, DJANGO_REDIS, 0.99),
    (RING, FLOOR, round(1 / 0.85, 3)),
    (PARTITION, RB, 0.99),
    (PARTITION, RB_ARITHMETIC, 0.99),
)

NOTES = (
    f"{KEYS:,} keys, text of 9 to 14 characters, one after the other; the loop is subtracted. The ratio says "
    "how many times as fast; the targets are shares of the other's time: 1.176 is 0.85 of its speed.",
    "floor: UTF-8, one MD5, its first four bytes as a number, one bisect, written out in the loop, with the "
    "fastest MD5 of this Python, which pindb uses too. 'hashlib' is the same with hashlib.md5, from OpenSSL.",
    "pindb, many: get_node_many and partition_many. rb's partition is its router's; 'arithmetic alone' and "
    "'pindb' look up nothing else.",
)


def compare(quick: bool) -> Report:
    """Check that pindb and rb put each key in the same place, then time everybody in turns."""
    numbers = random.Random(1)
    keys = [f"user:{numbers.randrange(10**4, 10**9)}" for _ in range(KEYS)]
    notes = list(NOTES)
    with ExitStack() as stack:
        rb: peers.Peer | None = None
        try:
            rb = stack.enter_context(peers.started("benchmarks.hashing.rb_worker"))
        except peers.Unavailable as error:
            notes.append(f"rb is left out: {error}")
        else:
            _check(rb.ask(keys=keys, nodes=NODES, hosts=HOSTS), keys)
        cases = [
            Case(RING, "s", FLOOR, [*_of_rb(rb, {RB: "ring"}), *_rings(keys)]),
            Case(
                PARTITION,
                "s",
                PINDB,
                [*_of_rb(rb, {RB: "router", RB_ARITHMETIC: "arithmetic"}), *_partitions(keys)],
            ),
        ]
        measured = measure(cases, 3 if quick else ROUNDS, 0.001 if quick else SECONDS)
    return Report("Look-ups", list(_rates(measured)), list(_targets(measured)), notes)


def _check(places: dict[str, list[Any]], keys: Sequence[str]) -> None:
    ring = Ketama(NODES)
    assert places["ring"] == [ring.get_node(key) for key in keys]
    assert places["router"] == places["arithmetic"] == [partition(key, HOSTS) for key in keys]


def _of_rb(rb: peers.Peer | None, subjects: dict[str, str]) -> Iterator[Candidate]:
    if rb is None:
        return
    for subject, name in subjects.items():
        # The loop is subtracted where it runs.
        yield Candidate(subject, _asking(rb, name), base=lambda count: 0.0)


def _asking(rb: peers.Peer, subject: str) -> Stopwatch:
    return lambda count: float(rb.ask(subject=subject, count=count))


def _rings(keys: Sequence[str]) -> Iterator[Candidate]:
    ring = Ketama(NODES)
    continuum = Continuum()
    for node in NODES:
        host, _, port = node.partition(":")
        continuum.add_server(host, int(port))
    django_redis = DjangoRedisRing(NODES)
    yield _candidate(DJANGO_REDIS, keys, "get(key)", get=django_redis.get_node)
    yield _candidate(UHASHRING, keys, "get(key)", get=HashRing(NODES).get_node)
    yield _candidate(UHASHRING_KETAMA, keys, "get(key)", get=HashRing(NODES, hash_fn="ketama").get_node)
    yield _candidate(f"{FLOOR}, hashlib", keys, FLOOR_STATEMENT, **_floor(ring, hashlib.md5))
    yield _candidate(FLOOR, keys, FLOOR_STATEMENT, **_floor(ring, md5))
    yield _candidate("pindb, Continuum", keys, "get(key)", get=continuum.resolve)
    yield Candidate(
        "pindb, many", Timer("get(keys)", globals={"get": ring.get_node_many, "keys": keys}).timeit
    )
    yield _candidate(PINDB, keys, "get(key)", get=ring.get_node)


def _floor(ring: Ketama[str], function: Callable[..., Any]) -> dict[str, Any]:
    points = list(ring._ring[2])
    return {"points": points, "md5": function, "unpack": Struct("<I12x").unpack, "bisect": bisect}


def _partitions(keys: Sequence[str]) -> Iterator[Candidate]:
    router = Cluster({number: {} for number in range(HOSTS)}).get_router()
    yield _candidate("pindb, router", keys, "get(key)", get=router.get_host_for_key)
    many = {"get": partition_many, "keys": keys, "n": HOSTS}
    yield Candidate("pindb, many", Timer("get(keys, n)", globals=many).timeit)
    yield _candidate(PINDB, keys, "get(key, n)", get=partition, n=HOSTS)


def _candidate(subject: str, keys: Sequence[str], statement: str, **names: Any) -> Candidate:
    # Each timer compiles its statement anew, so candidates share no code that the interpreter specializes.
    everything = {**names, "keys": keys}
    return Candidate(
        subject,
        Timer(f"for key in keys: {statement}", globals=everything).timeit,
        Timer("for key in keys: pass", globals=everything).timeit,
    )


def _rates(measured: Measured) -> Iterator[Row]:
    """Look-ups per second, and how many times as fast that is as the case's reference."""
    for case in measured.cases:
        for candidate in case.candidates:
            subject = candidate.subject
            rate = KEYS / median(measured.seconds[case.name, subject])
            yield Row(case.name, subject, rate, "look-ups/s")
            if subject != case.reference:
                ratio = measured.ratio(case.name, case.reference, subject)
                yield Row(case.name, subject, ratio, RATIO + case.reference)


def _targets(measured: Measured) -> Iterator[Target]:
    for case, other, limit in TARGETS:
        if (case, other) in measured.seconds:
            ratio = measured.ratio(case, PINDB, other)
            yield Target(f"{case}: time of {PINDB} / {other}", ratio, limit)
