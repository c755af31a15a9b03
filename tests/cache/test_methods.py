"""What the methods of a cache return, on one, two and five servers, for each router.

What a method returns is compared with what django-redis's own client returns on one server.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings
from redis import BlockingConnectionPool

from pindb.cache import ShardedClient, ShardedRedisCache
from pindb.testing.redis import TestSetup
from tests.cache.tools import CUSTOM, ROUTERS, outcome, settings_of, sizes
from tests.redis.tools import calls_on, forget_calls

KEYS = [f"key:{number}" for number in range(30)]


class Colour(IntEnum):
    """An integer that is none to django-redis."""

    RED = 3


OWN = "tests.cache.tools.SiteRouter"


@pytest.fixture(
    params=[
        *((number, router, "backend") for number in (1, 2, 5) for router in ROUTERS),
        (5, "partition", "client class"),
        (2, "consistent", "client class"),
    ],
    ids=str,
)
def cache(request: pytest.FixtureRequest, cache_urls: list[str]) -> Iterator[Any]:
    """A cache of so many servers; "prefix", "v2" and "custom" are others of the same servers."""
    number, router, way = request.param
    urls, options = cache_urls[:number], {"ROUTER": router}
    everything = {
        "default": settings_of(urls, way, options),
        "prefix": settings_of(urls, way, options, KEY_PREFIX="pre*fix"),
        "v2": settings_of(urls, way, options, VERSION=2),
        "custom": settings_of(urls, way, options, **CUSTOM),
    }
    with override_settings(CACHES=everything):
        yield caches["default"]


def result(cache: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """What a call returns, or raises, in a form that can be compared."""
    found = outcome(getattr(cache, name), *args, **kwargs)
    if name in ("keys", "iter_keys", "sscan_iter", "sscan", "smembers") and not isinstance(found, type):
        return sorted(found, key=repr)
    return found


Call = tuple[Any, ...]

ONE_KEY: list[Call] = [
    *(("get", "missing"), ("get", "missing", "default")),
    *(("set", "text", "späm"), ("get", "text")),
    *(("set", "number", 5), ("incr", "number"), ("incr", "number", 10), ("decr", "number", 3)),
    ("get", "number"),
    *(("incr", "missing"), ("decr", "missing")),
    ("incr", "text"),
    *(("set", "large", 2**70), ("incr", "large"), ("get", "large")),
    *(("set", "truth", True), ("get", "truth")),
    *(("set", "nothing", None), ("get", "nothing", "default"), ("has_key", "nothing")),
    *(("set", "colour", Colour.RED), ("get", "colour")),
    *(("set", "object", {"list": [1, 2.5, b"\x80\xff"], "when": timedelta(days=1)}), ("get", "object")),
    *(("set", "binary", b"\x00\x80\xff"), ("get", "binary")),
    *(("set", "", "an empty key"), ("get", "")),
    ("set", 17, "a number as a key"),
    ("get", "17"),
    *(("add", "added", 1), ("add", "added", 2), ("get", "added"), ("delete", "added")),
    *(("delete", "added"), ("has_key", "added")),
    *(("get_or_set", "callable", lambda: "made"), ("get_or_set", "callable", "not made")),
    *(("set", "for no time", 1, 0), ("get", "for no time")),
    *(("set", "number", 1, -1), ("get", "number")),
    *(("set", "for ever", 1, None), ("ttl", "for ever")),
    *(("pttl", "missing"), ("ttl", "missing")),
    *(("set", "short", 1, 100), ("ttl", "short"), ("persist", "short"), ("ttl", "short")),
    *(("expire", "short", 50), ("ttl", "short"), ("pexpire", "short", 70_000), ("ttl", "short")),
    *(("expire_at", "short", 4_000_000_000), ("touch", "short", 20), ("ttl", "short")),
    *(("touch", "short", None), ("ttl", "short")),
    ("touch", "missing"),
    *(("touch", "short", 0), ("get", "short")),
    *(("set", "nx", 1, None, None, None, True), ("set", "nx", 2, None, None, None, True)),
    ("set", "xx", 2, None, None, None, False, True),
]

VERSIONS: list[Call] = [
    *(("set", "a:b", "value", 60), ("incr_version", "a:b"), ("get", "a:b"), ("get", "a:b", None, 2)),
    *(("ttl", "a:b", 2), ("decr_version", "a:b", 1, 2), ("get", "a:b"), ("incr_version", "missing")),
    *(("set", "v", 1, None, 7), ("has_key", "v"), ("has_key", "v", 7), ("incr", "v", 1, 7)),
    ("delete", "v", 7),
]

COLLECTIONS: list[Call] = [
    *(("sadd", "s", "a", 1, 2), ("sadd", "s", "a"), ("scard", "s"), ("smembers", "s")),
    *(("sismember", "s", 1), ("sismember", "s", 9), ("smismember", "s", 1, 9), ("srem", "s", 1)),
    *(("sscan", "s"), ("sscan_iter", "s")),
    ("spop", "one"),
    ("srandmember", "missing"),
    *(("hset", "h", "field", "value"), ("hset", "h", "other", 2), ("hlen", "h"), ("hkeys", "h")),
    *(("hexists", "h", "field"), ("hdel", "h", "field"), ("hlen", "h")),
    *(("zadd", "z", {"a": 1, "b": 2.5, "c": 3}), ("zcard", "z"), ("zcount", "z", 1, 2.5)),
    *(("zincrby", "z", 4, "a"), ("zscore", "z", "a"), ("zrank", "z", "a"), ("zrange", "z", 0, -1)),
    *(("zrevrange", "z", 0, 1), ("zrangebyscore", "z", 2, 4), ("zrevrangebyscore", "z", 4, 2)),
    *(("zpopmin", "z"), ("zpopmax", "z"), ("zrem", "z", "c"), ("zadd", "z", {"a": 1})),
    ("zremrangebyscore", "z", 0, 5),
    ("sdiff", "s", "t"),
]

SETS: list[Call] = [
    *(("sadd", f"set:{number}", "all", number, number + 1) for number in range(8)),
    *(("sdiff", "set:0", "set:1", "set:7"), ("sinter", *(f"set:{number}" for number in range(8)))),
    *(("sinter", "set:0", "missing"), ("sunion", *(f"set:{number}" for number in range(8)))),
    *(("sdiffstore", "diff", "set:0", "set:1"), ("smembers", "diff")),
    *(("sinterstore", "inter", "set:0", "set:1"), ("smembers", "inter")),
    *(("sunionstore", "union", *(f"set:{number}" for number in range(8))), ("smembers", "union")),
    *(("sinterstore", "union", "set:0", "missing"), ("smembers", "union"), ("has_key", "union")),
    *(("smove", f"set:{number}", f"set:{number + 1}", "all") for number in range(7)),
    ("smove", "set:0", "set:5", "not there"),
    *(("smembers", f"set:{number}") for number in range(8)),
]

MANY: list[Call] = [
    ("get_many", KEYS),
    *(("set", name, number) for number, name in enumerate(KEYS)),
    *(("get_many", [*KEYS, "missing", KEYS[0]]), ("get_many", []), ("delete_many", KEYS[:7])),
    *(("delete_many", ["missing"]), ("get_many", KEYS), ("keys", "*"), ("keys", "key:1?")),
    *(("iter_keys", "*1*"), ("iter_keys", "*", 3), ("delete_pattern", "key:1*")),
    *(("delete_pattern", "missing*"), ("keys", "*"), ("clear",), ("keys", "*")),
]


@pytest.mark.parametrize(
    "calls",
    [ONE_KEY, VERSIONS, COLLECTIONS, SETS, MANY],
    ids=["one key", "versions", "collections", "sets", "many"],
)
def test_methods_return_what_they_return_on_one_server(cache: Any, one: Any, calls: list[Call]) -> None:
    for name, *args in calls:
        assert (name, args, result(cache, name, *args)) == (name, args, result(one, name, *args))


# ---- what django-redis leaves out of Django's contract -----------------------------------------------


def test_what_could_not_be_set_is_a_list(cache: Any) -> None:
    assert cache.set_many(dict.fromkeys(KEYS, 1)) == []
    assert cache.set_many({}) == []
    assert cache.set_many({"a": None, "b": 2**80}, 60) == []
    assert cache.get_many(["a", "b"]) == {"a": None, "b": 2**80}
    assert 50 < cache.ttl("a") <= 60
    assert cache.set_many({"a": 1}, 0) == []
    assert "a" not in cache


def test_nothing_to_delete_is_none(cache: Any) -> None:
    assert cache.delete_many([]) is None


def test_keys_may_come_from_an_iterator(cache: Any) -> None:
    cache.set_many({"a": 1, "b": 2})
    assert cache.get_many(iter(["a", "b"])) == {"a": 1, "b": 2}
    assert cache.delete_many(iter(["a", "b"])) == 2


def test_none_has_versions_too(cache: Any) -> None:
    cache.set("none", None)
    assert cache.incr_version("none") == 2
    assert cache.get("none", "default", version=2) is None
    assert cache.decr_version("none", version=2) == 1


def test_a_short_time_to_live_survives_another_version(cache: Any) -> None:
    cache.set("short", "x", 0.4)
    cache.incr_version("short")
    assert cache.get("short", version=2) == "x"
    assert 0 < cache.pttl("short", version=2) <= 400


def test_what_cannot_be_pickled_is_an_error(cache: Any) -> None:
    with pytest.raises((pickle.PickleError, AttributeError, TypeError)):
        cache.set("function", lambda: 1)
    with pytest.raises((pickle.PickleError, AttributeError, TypeError)):
        cache.set_many({"a": 1, "function": lambda: 1})


def test_counting_keeps_the_time_to_live(cache: Any) -> None:
    cache.set("count", 1, 60)
    cache.incr("count")
    assert 50 < cache.ttl("count") <= 60


# ---- prefixes, versions, key functions ---------------------------------------------------------------


def test_caches_of_the_same_servers_keep_apart(cache: Any) -> None:
    every: dict[str, Any] = {alias: caches[alias] for alias in ("default", "prefix", "v2", "custom")}
    for alias, one in every.items():
        one.set_many(dict.fromkeys(KEYS, alias))
    for alias, one in every.items():
        assert set(one.get_many(KEYS).values()) == {alias}
    assert sorted(every["custom"].keys("*")) == sorted(KEYS)
    assert every["prefix"].delete_pattern("*") == len(KEYS)
    assert every["v2"].delete_pattern("key:2*") == 11
    assert len(cache.get_many(KEYS)) == len(KEYS)


def test_keys_are_spread_over_all_servers(cache: Any, cache_servers: TestSetup) -> None:
    cache.set_many(dict.fromkeys(KEYS, 1))
    found = sizes(cache_servers, len(cache.client.cluster.hosts))
    assert sum(found) == len(KEYS)
    assert min(found) > 0


# ---- many at once ------------------------------------------------------------------------------------


def test_many_keys_are_one_command_for_each_server(cache: Any, cache_servers: TestSetup) -> None:
    cache.set_many(dict.fromkeys(KEYS, 1))
    forget_calls(cache_servers)
    cache.get_many(KEYS)
    cache.delete_many(KEYS)
    cache.delete_pattern("*")
    cache.clear()
    for server in cache.client.cluster.hosts:
        # Where only one of the keys is, its value is asked for by GET.
        assert sum(calls_on(cache_servers, server, "mget", "get")) == 1
        assert calls_on(cache_servers, server, "del", "eval", "flushdb") == [1, 1, 1]


def test_hash_tags_keep_sets_together(make_cache: Callable[..., Any], cache_servers: TestSetup) -> None:
    cache = make_cache(5, HASH_TAGS=True)
    names = [f"{{user}}:{number}" for number in range(8)]
    for number, name in enumerate(names):
        cache.sadd(name, "all", number)
    (place,) = {cache.client.cluster.get_router().get_host_for_key(f":1:{name}") for name in names}
    forget_calls(cache_servers)
    assert cache.sinterstore("{user}:all", *names) == 1
    assert cache.smembers("{user}:all") == {"all"}
    assert calls_on(cache_servers, place, "sinterstore") == [1]


# ---- serializers, compressors, locks, close ----------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
        {"COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"},
        {"PICKLE_VERSION": 2},
        {"ROUTER_OPTIONS": {"weights": {0: 3}}},
        {"CONNECTION_POOL_KWARGS": {"max_connections": 20}, "SOCKET_TIMEOUT": 3},
        {"CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool"},
        {"CONNECTION_POOL_CLASS": BlockingConnectionPool},
        {"CONNECTION_POOL_KWARGS": {"protocol": 2}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_django_redis_work(make_cache: Callable[..., Any], options: dict[str, Any]) -> None:
    cache = make_cache(3, **options)
    values: dict[str, Any] = {f"{name}:long": ["x" * 500, 1, None] for name in KEYS}
    values |= dict.fromkeys(KEYS, 7)
    assert cache.set_many(values) == []
    assert cache.get_many(values) == values
    cache.set("a", "short")
    assert cache.get("a") == "short"
    assert cache.incr(KEYS[0]) == 8
    assert cache.sadd("set", "member") == 1
    assert cache.smembers("set") == {"member"}


def test_locks_exclude_each_other(cache: Any) -> None:
    for name in KEYS[:5]:
        with cache.lock(name, timeout=5) as lock:
            assert not cache.lock(name, timeout=5).acquire(blocking=False)
            assert lock.extend(5)
        assert cache.lock(name, timeout=5).acquire(blocking=False)


def test_a_cache_that_was_closed_is_used_again(make_cache: Callable[..., Any]) -> None:
    cache = make_cache(3, CLOSE_CONNECTION=True)
    cache.set("a", 1)
    cache.close()
    cache.close(signal=None)
    assert cache.get("a") == 1


def test_raw_clients_are_to_be_had(cache: Any) -> None:
    from django_redis import get_redis_connection

    client = get_redis_connection("default")
    client.set("raw", "x")
    assert client.get("raw") == b"x"


# ---- asynchronous ------------------------------------------------------------------------------------


def test_asynchronous_methods_do_the_same(cache: Any) -> None:
    async def use() -> None:
        assert await cache.aset("a", 1, 60)
        assert await cache.aincr("a", 2) == 3
        assert await cache.adecr("a") == 2
        assert await cache.aset_many(dict.fromkeys(KEYS, 1)) == []
        assert await cache.aget_many(KEYS) == dict.fromkeys(KEYS, 1)
        await cache.adelete_many(KEYS)
        assert await cache.aget_many(KEYS) == {}
        assert await cache.ahas_key("a")
        assert await cache.aadd("a", 1) is False
        assert await cache.aget_or_set("b", 5) == 5
        assert await cache.atouch("a", 30)
        assert await cache.aincr_version("a") == 2
        assert await cache.aget("a", version=2) == 2
        assert await cache.adelete("b")
        await cache.aclear()
        await cache.aclose()

    asyncio.run(use())


def test_asynchronous_methods_take_what_the_others_take(make_cache: Callable[..., Any]) -> None:
    cache = make_cache(3)

    async def use() -> None:
        assert await cache.aset("a", 1, nx=True) is True
        assert await cache.aset("a", 2, nx=True) is False
        assert await cache.aset("b", 1, xx=True) is False
        assert await cache.aset("a", 3, timeout=60, version=2, xx=True) is False
        assert await cache.adelete("a", prefix="other") is False
        assert await cache.adelete("a", prefix="") is True
        client = cache.client.get_client()
        assert await cache.aadd("c", 5, client=client) is True
        assert await cache.aget("c", client=client) == 5
        assert await cache.atouch("c", 60, client=client) is True
        await cache.aclear()
        assert await cache.aget("c", "default") == "default"

    asyncio.run(use())


def twins() -> list[str]:
    """The methods of the cache that have one for asynchronous code, and take arguments of their own."""
    names = [name for name in dir(ShardedRedisCache) if hasattr(ShardedRedisCache, f"a{name}")]
    return [name for name in names if not name.startswith("_") and hasattr(ShardedClient, name)]


@pytest.mark.parametrize("name", twins())
def test_an_asynchronous_method_passes_on_any_argument(name: str) -> None:
    wanted = inspect.signature(getattr(ShardedRedisCache, name)).parameters.values()
    got = inspect.signature(getattr(ShardedRedisCache, f"a{name}")).parameters.values()
    kinds = {parameter.kind for parameter in got}
    assert inspect.Parameter.VAR_KEYWORD in kinds or {p.name for p in wanted} <= {p.name for p in got}


# ---- times -------------------------------------------------------------------------------------------

TIMEOUTS = {
    "set": lambda cache, timeout: cache.set("a", 1, timeout),
    "set nx": lambda cache, timeout: cache.set("a", 1, timeout, nx=True),
    "add": lambda cache, timeout: cache.add("a", 1, timeout),
    "get_or_set": lambda cache, timeout: cache.get_or_set("b", 1, timeout),
    "set_many": lambda cache, timeout: cache.set_many({"a": 1}, timeout),
    "touch": lambda cache, timeout: cache.touch("a", timeout),
    "aset_many": lambda cache, timeout: asyncio.run(cache.aset_many({"a": 1}, timeout)),
}


@pytest.mark.parametrize("name", TIMEOUTS)
@pytest.mark.parametrize(
    ("timeout", "kind"),
    [
        *((timeout, TypeError) for timeout in ("5", "55555", b"5", [5], timedelta(seconds=5))),
        *((timeout, ValueError) for timeout in (float("nan"), float("inf"), -float("inf"), 1e30, 10**30)),
    ],
    ids=repr,
)
def test_a_timeout_that_is_none(make_cache: Callable[..., Any], name: str, timeout: Any, kind: Any) -> None:
    cache = make_cache(3)
    with pytest.raises(kind, match=r"timeout is .*seconds"):
        TIMEOUTS[name](cache, timeout)
    assert cache.keys("*") == []


@pytest.mark.parametrize("name", TIMEOUTS)
@pytest.mark.parametrize("timeout", [5, 5.5, Decimal("5.5"), Fraction(11, 2)])
def test_a_timeout_is_any_number(make_cache: Callable[..., Any], name: str, timeout: Any) -> None:
    cache = make_cache(3)
    if name == "touch":
        cache.set("a", 1)
    TIMEOUTS[name](cache, timeout)
    assert 4000 < cache.pttl("b" if name == "get_or_set" else "a") <= 5500


def test_asynchronous_counting_keeps_the_time_to_live(make_cache: Callable[..., Any]) -> None:
    cache = make_cache(3)

    async def use() -> Any:
        await cache.aset("a", 1, 60)
        await asyncio.gather(*(cache.aincr("a") for _ in range(20)))
        await cache.asadd("s", 1)
        return await cache.aget("a"), await cache.attl("a"), await cache.asmembers("s")

    value, left, members = asyncio.run(use())
    assert value == 21
    assert 50 < left <= 60
    assert members == {1}
