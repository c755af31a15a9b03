"""A storm of signals: while commands run, a handler raises at any bytecode. For a process of its own."""

from __future__ import annotations

import gc
import json
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import redis
from django.conf import settings
from django_redis.exceptions import ConnectionInterrupted

from pindb.cache import ShardedRedisCache
from pindb.redis import Cluster, RoutedCluster, create_cluster
from pindb.redis.facade.results import get_value
from tests.redis.tools import in_use

KEYS = 60


class Stop(BaseException):
    """An exception that nobody catches by accident."""


class SoftTimeLimit(Exception):
    """An exception like a task queue's."""


STRUCK = (Stop, SoftTimeLimit, KeyboardInterrupt)


def replaced(error: BaseException) -> bool:
    """Whether redis-py's own code raised this in place of what struck.

    Before 8, the `finally` in the constructor of its connections needs a variable that it may not have yet.
    """
    place = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
    is_redis_py_s = place.f_globals["__name__"] == "redis.connection" and place.f_code.co_name == "__init__"
    return is_redis_py_s and isinstance(error, UnboundLocalError) and isinstance(error.__context__, STRUCK)


def value(key: str) -> bytes:
    return b"the value of %b, and of no other key" % key.encode()


class Storm:
    """Strikes at most once in each call, as a time limit does.

    Attributes:
        strikes: how often it has struck.
        last, where: the last exception's type, and where that was.
        ignored: how often where that cannot be noticed.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.strikes = 0
        self.ignored = 0
        self.armed = False
        self.last = self.where = ""
        signal.signal(signal.SIGALRM, self.strike)
        sys.unraisablehook = self.ignore

    def ignore(self, unraisable: Any) -> None:
        """It struck where Python itself ignores exceptions: in the end of an object."""
        self.ignored += 1

    def strike(self, number: int, frame: Any) -> None:
        if self.armed:
            self.armed = False
            self.strikes += 1
            kind = self.chance.choice(STRUCK)
            self.last = kind.__name__
            self.where = "".join(traceback.format_stack(frame, 5))
            raise kind("struck")

    def __call__(self, call: Callable[[], Any]) -> BaseException | None:
        """What a call raises."""
        signal.setitimer(signal.ITIMER_REAL, self.chance.uniform(0.00002, 0.0012))
        try:
            self.armed = True
            call()
            self.armed = False
        except BaseException as error:
            self.armed = False
            return error
        return None


class Seen:
    """What is found wrong.

    Attributes:
        calls: how many calls there were, by their names.
        wrong: what was wrong, and how often.
        examples: one of each.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def compare(self, name: str, expected: Any, found: Any) -> None:
        """A wrong value, unless these are equal: nothing, as of the wrong database; or another key's."""
        if expected != found:
            pairs = [(expected, found)]
            if isinstance(expected, list):
                pairs = list(zip(expected, found, strict=False))
            if isinstance(found, dict):
                pairs = [(value, found.get(key)) for key, value in expected.items()]
            lost = all(two in (one, None) for one, two in pairs)
            self.problem(f"{name}: {'lost' if lost else 'wrong'} value", (expected, found))

    def problem(self, what: str, example: Any = "") -> None:
        self.wrong[what] += 1
        if what not in self.examples:
            if isinstance(example, BaseException):
                example = "".join(traceback.format_exception(example))
            self.examples[what] = str(example)[-3000:]


def blow(hosts: Sequence[dict[str, Any]], seconds: float, seed: int, protocol: int) -> dict[str, Any]:
    """Call everything again and again for so many seconds."""
    settings.configure()
    chance = random.Random(seed)
    storm, seen = Storm(chance), Seen()
    options = {"socket_timeout": 5, "socket_connect_timeout": 5, "protocol": protocol}
    cluster = Cluster(dict(enumerate(hosts)), pool_options=options)
    created: RoutedCluster = create_cluster(
        {"router": "consistent", "hosts": dict(enumerate(hosts)), "pool_options": options}
    )
    urls = [f"unix://{host['unix_socket_path']}?db={host['db']}" for host in hosts]
    cache: Any = ShardedRedisCache(urls, {"OPTIONS": {"CONNECTION_POOL_KWARGS": options}})
    clusters = {"cluster": cluster, "created": created._cluster, "cache": cache.client.cluster}
    client = cluster.get_routing_client(split_multi_key=True)
    keys = [f"key:{i}" for i in range(KEYS)]
    values = {key: value(key) for key in keys}
    client.mset(values)
    created.mset(values)
    cache.set_many(values)
    promises: list[Any] = []
    counts: Counter[str] = Counter()

    def some() -> list[str]:
        return chance.sample(keys, chance.randint(1, 12))

    def by_map() -> None:
        asked = some()
        # What is left behind of a time limit fails later calls.
        with cluster.map(timeout=chance.choice((None, 1))) as mapping:
            for key in asked:
                promises.append((key, "value", mapping.get(key)))
                if chance.random() < 0.3:
                    promises.append((key, "set", mapping.set(key, values[key])))
                elif chance.random() < 0.3:
                    promises.append((key, "number", mapping.incr(f"n:{key}", chance.randint(1, 9))))

    def by_pipeline() -> None:
        asked = some()
        with created[0].pipeline(transaction=False) as pipeline:
            for key in asked:
                pipeline.echo(key)
            found = pipeline.execute()
        seen.compare("pipeline", [key.encode() for key in asked], found)

    def by_execute() -> None:
        asked = some()
        pipeline = client.pipeline()
        for key in asked:
            pipeline.get(key)
        found = pipeline.execute()
        seen.compare("execute", [values[key] for key in asked], found)

    def by_results() -> None:
        asked = some()
        with created.map() as mapping:
            found = [mapping.get(key) for key in asked]
            counted = mapping.incr("n", 3)
        seen.compare("created: map", [values[key] for key in asked], list(map(get_value, found)))
        seen.compare("created: map's incr", int, type(get_value(counted)))

    def by_fanout() -> None:
        word = chance.choice(keys)
        with cluster.all() as everywhere:
            found = everywhere.echo(word)
        seen.compare("fanout", [word.encode()] * len(hosts), list(found.value.values()))

    def by_mget(caller: Any) -> Callable[[], None]:
        def call() -> None:
            asked = some()
            found = caller.mget(asked)
            seen.compare(f"{type(caller).__name__}: mget", [values[key] for key in asked], found)

        return call

    def by_get(caller: Any) -> Callable[[], None]:
        def call() -> None:
            key = chance.choice(keys)
            seen.compare(f"{type(caller).__name__}: get", values[key], caller.get(key))

        return call

    def by_set(caller: Any) -> Callable[[], None]:
        def call() -> None:
            key = chance.choice(keys)
            seen.compare(f"{type(caller).__name__}: set", True, caller.set(key, values[key]))

        return call

    def by_incr(caller: Any) -> Callable[[], None]:
        def call() -> None:
            counts["begun"] += 1
            found = caller.incr(f"counter of {type(caller).__name__}", 1)
            counts["done"] += 1
            seen.compare(f"{type(caller).__name__}: incr", int, type(found))

        return call

    def by_get_many() -> None:
        asked = some()
        found = cache.get_many(asked)
        seen.compare("cache: get_many", {key: values[key] for key in asked}, found)

    def by_set_many() -> None:
        asked = some()
        failed = cache.set_many({key: values[key] for key in asked} | {"number": 12345})
        seen.compare("cache: set_many", [], failed)

    def by_count() -> None:
        cache.add("counter", 0)
        seen.compare("cache: incr", int, type(cache.incr("counter")))

    calls: dict[str, tuple[str, Callable[[], None]]] = {
        "map": ("cluster", by_map),
        "execute": ("cluster", by_execute),
        "fanout": ("cluster", by_fanout),
        "routing client: mget": ("cluster", by_mget(client)),
        "routing client: get": ("cluster", by_get(client)),
        "routing client: set": ("cluster", by_set(client)),
        "routing client: incr": ("cluster", by_incr(client)),
        "created: map": ("created", by_results),
        "created: mget": ("created", by_mget(created)),
        "created: get": ("created", by_get(created)),
        "created: incr": ("created", by_incr(created)),
        "created: pipeline of one host": ("created", by_pipeline),
        "cache: get_many": ("cache", by_get_many),
        "cache: set_many": ("cache", by_set_many),
        "cache: get": ("cache", by_get(cache)),
        "cache: set": ("cache", by_set(cache)),
        "cache: incr": ("cache", by_count),
    }
    names = list(calls)
    # What is there stays there.
    gc.freeze()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = chance.choice(names)
        whose, call = calls[name]
        if chance.random() < 0.1:
            # With connections to make.
            clusters[whose].disconnect_pools()
        strikes = storm.strikes - storm.ignored
        promises.clear()
        error = storm(call)
        seen.calls[name] += 1
        struck = storm.strikes - storm.ignored > strikes
        # The other one is what `except Exception` is told to catch.
        if struck and error is None and storm.last != SoftTimeLimit.__name__:
            seen.problem(f"{name} swallowed a {storm.last}", storm.where)
        if error is not None and not isinstance(error, STRUCK):
            # What the handler raised may have been caught where an exception says that a server failed.
            if not struck:
                seen.problem(f"{name} failed unstruck with {type(error).__name__}", error)
            elif not isinstance(error, (redis.RedisError, ConnectionInterrupted)) and not replaced(error):
                text = "".join(traceback.format_exception(error))
                text = f"{text}It was struck by {storm.last} at:\n{storm.where}"
                seen.problem(f"{name} was struck and failed with {type(error).__name__}", text)
        for key, what, promise in promises:
            if promise.is_resolved and what == "number":
                seen.compare("map: number", int, type(promise.value))
            elif promise.is_resolved:
                seen.compare(f"map: {what}", values[key] if what == "value" else True, promise.value)
        used = clusters[whose]
        pending = [promise for _, _, promise in promises if promise.is_pending]
        if not pending and not in_use(used):
            continue
        # What an exception refers to is there as long as the exception is.
        text = "" if error is None else "".join(traceback.format_exception(error))
        error = None
        promises.clear()
        if in_use(used, 0.1):
            gc.collect()
        if any(promise.is_pending for promise in pending):
            seen.problem(f"a promise of {name} is pending", text)
        if in_use(used, 1):
            seen.problem(f"{name} keeps connections in use", text)
            # They are not counted again.
            for host in used.hosts:
                used.get_pool_for_host(host).reset()
    signal.setitimer(signal.ITIMER_REAL, 0)
    for caller in (client, created):
        seen.compare("at the end", list(values.values()), caller.mget(keys))
    seen.compare("at the end", values, cache.get_many(keys))
    counted = sum(int(caller.get(f"counter of {type(caller).__name__}") or 0) for caller in (client, created))
    if not counts["done"] <= counted <= counts["begun"]:
        seen.problem("the counters are wrong", (counted, counts))
    return {
        "calls": sum(seen.calls.values()),
        "by name": seen.calls,
        "strikes": storm.strikes,
        "ignored": storm.ignored,
        "wrong": seen.wrong,
        "examples": seen.examples,
    }


def main(hosts: Sequence[dict[str, Any]], seconds: float, seed: int, protocol: int) -> None:
    """Print what was seen, as JSON."""
    print(json.dumps(blow(hosts, seconds, seed, protocol)))
