"""Everything that django-redis does on one server, on three: with the same results."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings
from django_redis import get_redis_connection
from django_redis.cache import RedisCache
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import LockError, ResponseError

from pindb.cache import ShardedClient, ShardedRedisCache
from pindb.redis import UnroutableCommand, connections
from pindb.testing.redis import TestSetup
from tests.cache.tools import ROUTERS, SiteRouter, outcome, settings_of, sizes
from tests.redis.tools import calls_on, forget_calls
from tests.threads import in_threads

Make = Callable[..., Any]
Call = tuple[str, tuple[Any, ...], dict[str, Any]]

KEYS = [f"key:{number}" for number in range(60)]
SERVERS = range(3)


@pytest.fixture
def three(make_cache: Make) -> Any:
    return make_cache(3, {"TIMEOUT": 1000})


# ---- as on one server ----------------------------------------------------------------------------

#: What comes in any order.
UNORDERED = {"keys", "hkeys", "iter_keys", "sscan_iter"}
GENERATORS = {"iter_keys", "sscan_iter"}
#: What cannot be compared in Django's own terms: django-redis returns None and 0 there.
NONE_OR_EMPTY = {"set_many", "delete_many"}
TIMES = {"ttl", "pttl"}


def apply(cache: Any, call: Call) -> Any:
    """What a call does to a cache, in a form that can be compared."""
    name, args, kwargs = call
    method = getattr(cache, name)
    if name in GENERATORS:
        found = outcome(lambda: list(method(*args, **kwargs)))
    else:
        found = outcome(method, *args, **kwargs)
    if isinstance(found, type):
        return found
    if name in UNORDERED:
        return sorted(found, key=repr)
    if name in NONE_OR_EMPTY:
        return found or None
    if name in TIMES and found:
        return round(found / (10 if name == "ttl" else 10_000))
    return found


def state(cache: Any) -> Any:
    """All that a cache holds, in all versions that tests use."""
    found: dict[Any, Any] = {}
    raw = cache.client.get_client()
    read: dict[bytes, Callable[[str], Any]] = {
        b"string": raw.get,
        b"set": lambda name: set(raw.smembers(name)),
        b"hash": raw.hgetall,
        b"zset": lambda name: raw.zrange(name, 0, -1, withscores=True),
    }
    for version in (1, 2, 3):
        for key in cache.iter_keys("*", version=version):
            name = cache.client.make_key(key, version)
            left = raw.ttl(name)
            found[version, key] = (read[raw.type(name)](name), left if left < 0 else round(left / 10))
    return found


def compare(one: Any, three: Any, calls: list[Call]) -> None:
    for place, call in enumerate(calls):
        expected = apply(one, call)
        found = apply(three, call)
        assert found == expected, (place, call)
    assert state(three) == state(one)


LATER = datetime(2100, 1, 1, tzinfo=timezone.utc)


def c(name: str, *args: Any, **kwargs: Any) -> Call:
    return name, args, kwargs


SCRIPTS: dict[str, list[Call]] = {
    "expiry": [
        *(c("set", key, 1) for key in KEYS[:6]),
        *(c("expire", KEYS[0], 20), c("expire", KEYS[1], timedelta(seconds=200))),
        *(c("pexpire", KEYS[2], 20_000), c("expire_at", KEYS[3], LATER)),
        *(c("expire_at", KEYS[3], 4_000_000_000), c("pexpire_at", KEYS[4], LATER)),
        *(c("pexpire_at", KEYS[4], 4_000_000_000_000), c("expire_at", KEYS[5], 1)),
        *(c("ttl", key) for key in KEYS[:8]),
        *(c("pttl", key) for key in KEYS[:8]),
        *(c("persist", key) for key in KEYS[:8]),
        *(c("persist", key) for key in KEYS[:8]),
        *(c("expire", key, 20, version=2) for key in KEYS[:8]),
        *(c("expire", "missing", 5), c("pexpire", "missing", 5), c("expire", KEYS[0], 0)),
        c("pexpire", KEYS[1], -1),
    ],
    "set options": [
        *(c("set", "a", 1, nx=True), c("set", "a", 2, nx=True), c("set", "a", 3, xx=True)),
        *(c("set", "b", 3, xx=True), c("set", "a", 4, 0, nx=True), c("set", "c", 4, -1, nx=True)),
        *(c("set", "a", 4, 50, xx=True), c("set", "a", 4, 0, xx=True)),
    ],
    "hashes": [
        *(c("hset", key, f"f{place}", value) for key in KEYS[:5] for place, value in enumerate("abc")),
        *(c("hset", KEYS[0], "f1", 5), c("hset", KEYS[0], mapping={"x": 1, "y": [2], "f1": None})),
        *(c("hset", KEYS[0], "z", {"deep": 1}, {"more": 2}), c("hset", KEYS[0])),
        c("hset", KEYS[1], "f", "v", version=2),
        *(c(name, key) for name in ("hlen", "hkeys") for key in KEYS[:6]),
        *(c("hexists", KEYS[0], "f1"), c("hexists", KEYS[0], "f1", version=2)),
        *(c("hexists", KEYS[0], "nothing"), c("hexists", "missing", "f1"), c("hdel", KEYS[0], "f1")),
        *(c("hdel", KEYS[0], "f1"), c("hdel", "missing", "f1"), c("get", KEYS[0]), c("incr", KEYS[0])),
    ],
    "sorted sets": [
        *(c("zadd", key, {"a": 1, "b": 2.5, 7: 3, ("t",): -1}) for key in KEYS[:4]),
        c("zadd", KEYS[0], {"a": 9, "new": 1}, nx=True),
        c("zadd", KEYS[0], {"a": 9, "newer": 1}, xx=True, ch=True),
        *(c("zadd", KEYS[0], {"a": 10}, gt=True), c("zadd", KEYS[0], {"a": 1}, lt=True, ch=True)),
        *(c("zadd", KEYS[0], {"a": 1}, incr=True), c("zadd", KEYS[1], {"v": 1}, version=2)),
        *(c("zcard", key) for key in KEYS[:5]),
        *(c("zcount", KEYS[0], 1, 3), c("zcount", KEYS[0], "-inf", "(2.5")),
        *(c("zincrby", KEYS[0], 1.5, "a"), c("zincrby", "new", 1, "a"), c("zrange", KEYS[0], 0, -1)),
        c("zrange", KEYS[0], 0, 1, desc=True, withscores=True),
        c("zrange", KEYS[0], 0, -1, withscores=True, score_cast_func=int),
        *(c("zrange", KEYS[0], 0, -1, version=2), c("zrevrange", KEYS[0], 0, 1, withscores=True)),
        *(c("zrevrange", KEYS[0], 0, -1), c("zrangebyscore", KEYS[0], 0, 3, withscores=True)),
        c("zrangebyscore", KEYS[0], "-inf", "+inf", start=1, num=2),
        c("zrevrangebyscore", KEYS[0], 3, 0, withscores=True),
        *(c("zrevrangebyscore", KEYS[0], "+inf", "-inf", start=1, num=1), c("zrank", KEYS[0], "b")),
        *(c("zrank", KEYS[0], "nothing"), c("zscore", KEYS[0], "b"), c("zscore", KEYS[0], "nothing")),
        *(c("zscore", "missing", "b"), c("zrem", KEYS[0], "b", "nothing")),
        *(c("zremrangebyscore", KEYS[1], 2, 3), c("zpopmax", KEYS[2]), c("zpopmin", KEYS[2], 2)),
        *(c("zpopmax", "missing"), c("zpopmin", "missing", 2)),
    ],
    "sets": [
        *(c("sadd", key, "a", 1, (2, 3), None, b"b") for key in KEYS[:4]),
        *(c("sadd", KEYS[0], "a", "new"), c("sadd", KEYS[1], "v", version=2)),
        *(c(name, key) for name in ("scard", "smembers", "sscan_iter", "sscan") for key in KEYS[:5]),
        *(c("sismember", KEYS[0], (2, 3)), c("sismember", KEYS[0], "nothing")),
        *(c("sismember", KEYS[0], "v", version=2), c("smismember", KEYS[0], "a", "nothing", 1)),
        *(c("smismember", "missing", "a", "nothing"), c("srem", KEYS[0], "a", "nothing")),
        *(c("srandmember", KEYS[1], 9, version=2), c("srandmember", KEYS[1], version=2)),
        *(c("srandmember", "missing"), c("srandmember", "missing", 2), c("spop", KEYS[1], version=2)),
        *(c("spop", KEYS[1], version=2), c("spop", KEYS[1], 9), c("spop", "missing", 2)),
        c("sadd", KEYS[0]),
    ],
    "other kinds": [
        *(c("set", key, "text") for key in KEYS[:3]),
        *(c("sadd", f"set {key}", 1) for key in KEYS[:3]),
        *(c(name, key) for name in ("smembers", "hlen", "hkeys", "zcard", "scard") for key in KEYS[:3]),
        *(c("get", f"set {key}") for key in KEYS[:3]),
        *(c("incr", f"set {key}") for key in KEYS[:3]),
        *(c("sunion", *KEYS[:3]), c("sunion", f"set {KEYS[0]}", *KEYS[:3])),
        c("sinterstore", "target", f"set {KEYS[0]}", KEYS[1]),
        c("sunionstore", KEYS[0], f"set {KEYS[0]}", f"set {KEYS[1]}"),
        *(c("sadd", key, 1) for key in KEYS[:3]),
        *(c("hset", key, "f", 1) for key in KEYS[:3]),
    ],
}


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_same_calls_do_the_same(make_cache: Make, one: Any, script: str, router: str) -> None:
    compare(one, make_cache(3, {"TIMEOUT": 1000}, ROUTER=router), SCRIPTS[script])


STRINGS = st.sampled_from(KEYS[:6])
SETS = st.sampled_from([f"set:{number}" for number in range(6)])
ZSETS = st.sampled_from([f"zset:{number}" for number in range(3)])
HASHES = st.sampled_from([f"hash:{number}" for number in range(3)])
ANY = STRINGS | SETS | ZSETS | HASHES
VALUES = st.sampled_from([0, 5, -3, 2**64, "text", "", None, 1.5, True, [1], b"b"])
MEMBERS = st.sampled_from(["a", "b", 1, 2, None, (1, 2), b"c"])
TIMEOUTS = st.sampled_from([100, 500, None, 0, -1, 250.5])
VERSIONS = st.sampled_from([None, 1, 2])


def made(name: str, *args: st.SearchStrategy[Any], **kwargs: st.SearchStrategy[Any]) -> Any:
    return st.tuples(st.just(name), st.tuples(*args), st.fixed_dictionaries({}, optional=kwargs))


def many(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(strategy, max_size=5)


def spread(name: str, first: st.SearchStrategy[Any], rest: st.SearchStrategy[Any], **kwargs: Any) -> Any:
    """Calls with one argument, and one or more others."""
    return st.tuples(
        st.just(name),
        st.tuples(first, st.lists(rest, min_size=1, max_size=4)).map(lambda both: (both[0], *both[1])),
        st.fixed_dictionaries({}, optional=kwargs),
    )


CALLS = st.one_of(
    made("set", STRINGS, VALUES, timeout=TIMEOUTS, version=VERSIONS),
    made("set", STRINGS, VALUES, nx=st.booleans()),
    made("set", STRINGS, VALUES, xx=st.booleans()),
    made("add", STRINGS, VALUES, timeout=TIMEOUTS, version=VERSIONS),
    made("get", STRINGS, VALUES, version=VERSIONS),
    made("get_or_set", STRINGS, VALUES, TIMEOUTS, version=VERSIONS),
    made("get_many", many(ANY), version=VERSIONS),
    made("set_many", st.dictionaries(STRINGS, VALUES, max_size=5), timeout=TIMEOUTS, version=VERSIONS),
    made("delete_many", many(ANY), version=VERSIONS),
    made("delete", ANY, version=VERSIONS),
    made("has_key", ANY, version=VERSIONS),
    made("touch", ANY, timeout=TIMEOUTS, version=VERSIONS),
    made("incr", STRINGS, delta=st.integers(-5, 5), version=VERSIONS, ignore_key_check=st.booleans()),
    made("decr", STRINGS, delta=st.integers(-5, 5), version=VERSIONS),
    made("ttl", ANY, version=VERSIONS),
    made("pttl", ANY, version=VERSIONS),
    made("persist", ANY, version=VERSIONS),
    made("expire", ANY, st.sampled_from([100, 300, 0]), version=VERSIONS),
    made("keys", st.sampled_from(["*", "key:*", "*:[12]", "set:?"]), version=VERSIONS),
    made("delete_pattern", st.sampled_from(["key:[1-3]", "*:5", "zset*", "nothing"]), version=VERSIONS),
    spread("sadd", SETS, MEMBERS, version=VERSIONS),
    spread("srem", SETS, MEMBERS, version=VERSIONS),
    spread("smismember", SETS, MEMBERS, version=VERSIONS),
    spread("sdiff", SETS, SETS, version=VERSIONS),
    spread("sinter", SETS, SETS, version=VERSIONS),
    spread("sunion", SETS, SETS, version=VERSIONS),
    spread("sdiffstore", ANY, SETS, version_dest=VERSIONS, version_keys=VERSIONS),
    spread("sinterstore", SETS, SETS, version=VERSIONS),
    spread("sunionstore", SETS, SETS, version=VERSIONS),
    made("smove", SETS, SETS, MEMBERS),
    made("smembers", SETS, version=VERSIONS),
    made("scard", SETS, version=VERSIONS),
    made("zadd", ZSETS, st.dictionaries(MEMBERS, st.integers(-3, 3), min_size=1)),
    made("zrange", ZSETS, st.integers(-2, 2), st.integers(-2, 3), withscores=st.booleans()),
    made("zpopmin", ZSETS),
    made("hset", HASHES, st.sampled_from("fgh"), VALUES.filter(lambda value: value is not None)),
    made("hkeys", HASHES),
    made("hdel", HASHES, st.sampled_from("fgh")),
)


@pytest.mark.parametrize("hash_tags", [False, True])
def test_any_calls_do_the_same_as_on_one_server(
    make_cache: Make, one: Any, cache_servers: TestSetup, hash_tags: bool
) -> None:
    three = make_cache(3, {"TIMEOUT": 1000}, HASH_TAGS=hash_tags)

    @settings(max_examples=60, derandomize=True, database=None)
    @given(st.lists(CALLS, min_size=10, max_size=30))
    def check(calls: list[Call]) -> None:
        one.clear()
        three.clear()
        # Sets over all servers from the beginning.
        for cache in (one, three):
            for number in range(4):
                cache.sadd(f"set:{number}", "a", number, "b" * (number % 2))
        compare(one, three, calls)

    check()


# ---- round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize("router", ROUTERS)
def test_many_keys_are_one_command_for_each_server(
    make_cache: Make, cache_servers: TestSetup, router: str
) -> None:
    cache = make_cache(5, ROUTER=router)
    data = dict.fromkeys(KEYS, "value")
    cache.set_many(data)
    assert all(sizes(cache_servers, 5))
    forget_calls(cache_servers)
    assert cache.get_many(KEYS) == data
    assert [calls_on(cache_servers, server, "mget", "get") for server in range(5)] == [[1, 0]] * 5
    cache.set_many(data, timeout=None)
    assert [calls_on(cache_servers, server, "mset", "set") for server in range(5)] == [[1, 0]] * 5
    assert cache.delete_many(KEYS) == len(KEYS)
    assert [calls_on(cache_servers, server, "del", "unlink") for server in range(5)] == [[1, 0]] * 5
    cache.set_many(data, timeout=None)
    assert cache.delete_pattern("*") == len(KEYS)
    assert [calls_on(cache_servers, server, "eval") for server in range(5)] == [[1]] * 5
    cache.clear()
    assert [calls_on(cache_servers, server, "flushdb") for server in range(5)] == [[1]] * 5


def test_servers_that_have_none_of_the_keys_are_not_asked(make_cache: Make, cache_servers: TestSetup) -> None:
    cache = make_cache(5, ROUTER="tests.cache.tools.SiteRouter")
    router = cache.client.cluster.get_router()
    assert isinstance(router, SiteRouter)
    keys = [key for key in KEYS if router.get_host_for_key(f":1:{key}") in (1, 3)]
    data = dict.fromkeys(keys, 1)
    forget_calls(cache_servers)
    cache.set_many(data, timeout=None)
    cache.get_many(keys)
    cache.delete_many(keys)
    found = [calls_on(cache_servers, server, "mset", "mget", "del") for server in range(5)]
    assert found == [[0] * 3, [1] * 3, [0] * 3, [1] * 3, [0] * 3]


def test_single_keys_are_one_command_on_one_server(make_cache: Make, cache_servers: TestSetup) -> None:
    cache = make_cache(5)
    forget_calls(cache_servers)
    for key in KEYS:
        cache.set(key, 1)
        cache.get(key)
        cache.delete(key)
    found = [calls_on(cache_servers, server, "set", "get", "del") for server in range(5)]
    assert [sum(column) for column in zip(*found, strict=True)] == [len(KEYS)] * 3
    assert all(row[0] and row[0] == row[1] == row[2] for row in found)


@pytest.mark.parametrize("late", SERVERS)
def test_no_server_waits_for_another(make_cache: Make, cache_servers: TestSetup, late: int) -> None:
    cache = make_cache(3)
    cache.set_many(dict.fromkeys(KEYS, 1), timeout=None)
    others = [server for server in SERVERS if server != late]
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("mget", lambda: cache.get_many(KEYS)),
        ("mset", lambda: cache.set_many(dict.fromkeys(KEYS, 2), timeout=None)),
        ("keys", lambda: cache.keys("*")),
        ("del", lambda: cache.delete_many(KEYS[:40])),
        ("eval", lambda: cache.delete_pattern("*")),
        ("flushdb", cache.clear),
    ]
    for command, call in calls:
        forget_calls(cache_servers)
        cache_servers.pause(late)
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(call)
            try:
                deadline = time.monotonic() + 10
                while any(calls_on(cache_servers, server, command) != [1] for server in others):
                    assert time.monotonic() < deadline, command
                assert not done.done()
            finally:
                cache_servers.resume(late)
            done.result(10)
        assert calls_on(cache_servers, late, command) == [1]


# ---- serializers and compressors -----------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
        {"COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"},
        {"COMPRESSOR": "django_redis.compressors.gzip.GzipCompressor"},
        {
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "COMPRESSOR": "django_redis.compressors.lzma.LzmaCompressor",
        },
        {"PICKLE_VERSION": 2},
        {"PICKLE_VERSION": 0, "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"},
    ],
    ids=lambda options: " ".join(str(value).rpartition(".")[2] for value in options.values()),
)
def test_values_are_stored_as_django_redis_stores_them(
    cache_servers: TestSetup,
    make_cache: Make,
    cache_urls: list[str],
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # gzip writes the second into its header, and the next one may have begun.
    monkeypatch.setattr("gzip.time", SimpleNamespace(time=lambda: 0.0))
    cache = make_cache(3, **options)
    values: list[Any] = [
        *(
            "text",
            "long " * 100,
            "",
            5,
            -5,
            2**70,
            True,
            False,
            None,
            1.5,
            [1, "two"],
            {"a": [None]},
            "5",
            "ü",
        ),
        *("\x80", "0", "-", "1e5", "NaN", "b" * 19),
    ]
    data = {f"key:{place}": value for place, value in enumerate(values)}
    assert cache.set_many(data) == []
    assert cache.get_many(data) == data
    for key, value in data.items():
        assert (cache.get(key), type(cache.get(key))) == (value, type(value))
        cache.set(key, value)
        assert cache.add(f"{key} added", value) is True
    # Django-redis reads each server's part, and has written the same.
    reads = 0
    for server, url in enumerate(cache_urls[:3]):
        alone = RedisCache(url, {"OPTIONS": {**options, "CLOSE_CONNECTION": True}})
        with cache_servers.client(server) as client:
            for key, value in data.items():
                for name in (key, f"{key} added"):
                    stored = client.get(f":1:{name}")
                    if stored is None:
                        continue
                    reads += 1
                    assert alone.get(name, "none") == value
                    alone.set(name, value)
                    assert client.get(f":1:{name}") == stored
                    assert cache.get(name, "none") == value
        alone.close()
    assert reads == 2 * len(data)


def test_msgpack(make_cache: Make) -> None:
    pytest.importorskip("msgpack")
    cache = make_cache(3, SERIALIZER="django_redis.serializers.msgpack.MSGPackSerializer")
    data: dict[str, Any] = {key: {"list": [1, None, "x"], "place": key} for key in KEYS}
    cache.set_many(data)
    assert cache.get_many(KEYS) == data


# ---- locks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("router", ROUTERS)
def test_locks(make_cache: Make, cache_servers: TestSetup, router: str) -> None:
    cache, other = make_cache(3, ROUTER=router), make_cache(3, ROUTER=router)
    for key in KEYS[:20]:
        with cache.lock(key, timeout=5) as lock:
            assert lock.locked()
            assert other.lock(key, blocking=False).acquire() is False
            assert other.lock(key, version=2).acquire(blocking=False) is True
            assert key in other
            assert 0 < cache.pttl(key) <= 5000
            assert lock.extend(10) is True
            assert 5000 < cache.pttl(key) <= 15_000
        assert key not in cache
    assert all(sizes(cache_servers, 3))


def test_a_lock_is_released_by_its_owner_alone(make_cache: Make) -> None:
    cache = make_cache(3)
    lock = cache.lock(KEYS[0], timeout=5)
    assert lock.acquire()
    stranger = cache.lock(KEYS[0], timeout=5)
    with pytest.raises(LockError):
        stranger.release()
    shared = cache.lock(KEYS[1], thread_local=False)
    assert shared.acquire()
    in_threads(1, lambda _: shared.release())
    assert KEYS[1] not in cache
    assert KEYS[0] in cache
    lock.release()


def test_a_lock_keeps_threads_apart(make_cache: Make) -> None:
    cache = make_cache(3)
    inside = []

    def work(number: int) -> int:
        with cache.lock(KEYS[number % 2], timeout=10, sleep=0.001):
            inside.append(number % 2)
            assert inside.count(number % 2) == 1
            time.sleep(0.0005)
            inside.remove(number % 2)
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(16))) == list(range(16))


# ---- connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["backend", "client class"])
def test_the_raw_client_knows_all_servers(cache_urls: list[str], cache_servers: TestSetup, way: str) -> None:
    with override_settings(CACHES={"default": settings_of(cache_urls[:3], way)}):
        cache: Any = caches["default"]
        cache.set_many(dict.fromkeys(KEYS, 5))
        raw = get_redis_connection("default")
        assert raw.get(f":1:{KEYS[0]}") == b"5"
        assert raw.incr(f":1:{KEYS[1]}") == 6
        assert raw.mget([f":1:{key}" for key in KEYS[:3]]) == [b"5", b"6", b"5"]
        assert get_redis_connection("default", write=False) is raw
        with pytest.raises(UnroutableCommand):
            raw.rename(f":1:{KEYS[0]}", f":1:{KEYS[1]}")
        raw.flushdb()
        assert sizes(cache_servers, 3) == [0, 0, 0]


def test_a_pipeline_takes_what_is_set(three: Any, cache_servers: TestSetup) -> None:
    pipeline = three.client.get_client().pipeline()
    for key in KEYS:
        three.set(key, "value", client=pipeline)
    assert three.get_many(KEYS) == {}
    pipeline.execute()
    assert three.get_many(KEYS) == dict.fromkeys(KEYS, "value")
    assert three.ttl(KEYS[0]) > 900
    assert all(sizes(cache_servers, 3))


def test_caches_with_the_same_settings_share_their_servers(cache_urls: list[str]) -> None:
    urls = cache_urls[:3]
    with override_settings(
        CACHES={
            "default": settings_of(urls),
            "same": settings_of(urls, "client class", KEY_PREFIX="other", TIMEOUT=5),
            "router": settings_of(urls, options={"ROUTER": "partition"}),
            "fewer": settings_of(urls[:2]),
        }
    ):
        clients: dict[str, Any] = {alias: caches[alias] for alias in caches.settings}
        clusters = {alias: cache.client.cluster for alias, cache in clients.items()}
        assert clusters["default"] is clusters["same"]
        assert len({id(cluster) for cluster in clusters.values()}) == 3


def test_threads_share_the_servers(cache_urls: list[str]) -> None:
    with override_settings(CACHES={"default": settings_of(cache_urls[:3])}):

        def work(number: int) -> tuple[int, int]:
            cache: Any = caches["default"]
            for key in KEYS:
                cache.add(key, 0)
                cache.incr(key)
            assert len(cache.get_many(KEYS)) == len(KEYS)
            return id(cache), id(cache.client.cluster)

        found = in_threads(4, work)
        cache: Any = caches["default"]
        assert {cluster for _, cluster in found} == {id(cache.client.cluster)}
        assert len({backend for backend, _ in found}) == 4
        assert cache.get_many(KEYS) == dict.fromkeys(KEYS, 4)


def test_other_settings_are_other_servers(cache_urls: list[str]) -> None:
    with override_settings(CACHES={"default": settings_of(cache_urls[:1])}):
        caches["default"].set("key", 1)
        with override_settings(CACHES={"default": settings_of(cache_urls[1:2])}):
            assert caches["default"].get("key") is None
            caches["default"].set("key", 2)
        assert caches["default"].get("key") == 1


def test_a_cluster_by_name_follows_the_settings(cache_urls: list[str]) -> None:
    def clusters(url: str) -> dict[str, Any]:
        return {"sessions": {"router": "partition", "hosts": [{"url": url}]}}

    named = {"default": {"BACKEND": "pindb.cache.ShardedRedisCache", "LOCATION": "sessions"}}
    with override_settings(CACHES=named, PINDB_CLUSTERS=clusters(cache_urls[0])):
        caches["default"].set("key", 1)
        assert connections["sessions"].get(":1:key") == b"1"
        with override_settings(CACHES=named, PINDB_CLUSTERS=clusters(cache_urls[1])):
            assert caches["default"].get("key") is None
        assert caches["default"].get("key") == 1


def test_nothing_warns(make_cache: Make) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache = make_cache(3, CLOSE_CONNECTION=True)
        for script in SCRIPTS.values():
            for call in script:
                apply(cache, call)
        cache.close()


def test_a_client_of_a_site_s_own(cache_urls: list[str]) -> None:
    path = f"{__name__}.ShoutingClient"
    cache = ShardedRedisCache(cache_urls[:3], {"OPTIONS": {"CLIENT_CLASS": path}})
    cache.set("key", "value")
    assert cache.get("key") == "VALUE"


class ShoutingClient(ShardedClient):
    def decode(self, value: Any) -> Any:
        return super().decode(value).upper()


def test_errors_of_servers_are_redis_s_own(make_cache: Make) -> None:
    cache = make_cache(3)
    for key in KEYS[:6]:
        cache.sadd(key, 1)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            cache.get(key)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            cache.hkeys(key)


def test_many_keys_of_another_kind_are_missing_however_many_a_server_has(three: Any, one: Any) -> None:
    for cache in (three, one):
        for key in KEYS[:20]:
            cache.sadd(key, 1)
        cache.set("string", 1)
        for key in KEYS[:20]:
            assert cache.get_many([key]) == {}
        assert cache.get_many([*KEYS[:20], "string"]) == {"string": 1}


@pytest.mark.parametrize("number", range(3))
def test_keys_that_are_not_where_the_router_says_are_deleted_by_patterns(
    make_cache: Make, cache_servers: TestSetup, number: int
) -> None:
    cache = make_cache(3)
    rng = random.Random(number)
    for place in range(20):
        with cache_servers.client(rng.randrange(3)) as client:
            client.set(f":1:stray:{place}", 1)
    cache.set_many(dict.fromkeys(KEYS, 1))
    assert cache.delete_pattern("stray:*") == 20
    assert sorted(cache.keys("*")) == sorted(KEYS)
