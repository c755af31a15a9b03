"""A cache while servers are down: each of the ways to take that, with every method."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pytest
import redis
from redis.exceptions import LockNotOwnedError

from pindb.cache import ShardedRedisCache
from pindb.redis import HostConnectionError, HostListExhausted, HostTimeoutError
from pindb.redis.io.pools import get_connection
from pindb.testing.redis import TestSetup
from tests.cache.tools import losses, of_server, outcome
from tests.redis.tools import Clock, keys_on

Make = Callable[..., Any]

# Of three servers.
DEAD = 1
MODES = ("error", "miss", "rehash")
NAMED = r"host 1 \(.*1\.sock/0\)"


def of_all(cache: Any, number: int, servers: int = 3) -> list[str]:
    """So many keys of each server, in turn."""
    keys = [of_server(cache, server, number) for server in range(servers)]
    return [key for some in zip(*keys, strict=True) for key in some]


class Case(NamedTuple):
    """One method, for a key of a dead server.

    Attributes:
        call: calls it.
        missed: what it returns where dead servers are misses; an exception's type where it raises that.
        lost: what that counts: reads and writes.
        elsewhere: what it returns for a server that has taken over, and has nothing.
    """

    call: Callable[[Any, str], Any]
    missed: Any
    lost: tuple[int, int]
    elsewhere: Any


READ, WRITE = (1, 0), (0, 1)
LATER = 4_000_000_000


def nothing(call: Callable[[Any, str], Any], result: Any, lost: tuple[int, int]) -> Case:
    """A method that does the same as on a server that has nothing."""
    return Case(call, result, lost, result)


CASES = {
    "get": nothing(lambda c, key: c.get(key, "default"), "default", READ),
    "has_key": nothing(lambda c, key: c.has_key(key), False, READ),
    "in": nothing(lambda c, key: key in c, False, READ),
    "get_many": nothing(lambda c, key: c.get_many([key]), {}, READ),
    "ttl": nothing(lambda c, key: c.ttl(key), 0, READ),
    "pttl": nothing(lambda c, key: c.pttl(key), 0, READ),
    "set": Case(lambda c, key: c.set(key, 1), False, WRITE, True),
    "set for an object": Case(lambda c, key: c.set(key, [1], None), False, WRITE, True),
    "set nx": Case(lambda c, key: c.set(key, 1, nx=True), False, WRITE, True),
    "set xx": nothing(lambda c, key: c.set(key, 1, xx=True), False, WRITE),
    "set for no time": nothing(lambda c, key: c.set(key, 1, 0), False, WRITE),
    "add": Case(lambda c, key: c.add(key, 1), False, WRITE, True),
    "get_or_set": nothing(lambda c, key: c.get_or_set(key, 1), 1, (2, 1)),
    "delete": nothing(lambda c, key: c.delete(key), False, WRITE),
    "delete_many": nothing(lambda c, key: c.delete_many([key]), 0, WRITE),
    "incr": nothing(lambda c, key: c.incr(key), ValueError, WRITE),
    "incr without a check": Case(lambda c, key: c.incr(key, ignore_key_check=True), ValueError, WRITE, 1),
    "decr": nothing(lambda c, key: c.decr(key), ValueError, WRITE),
    "incr_version": nothing(lambda c, key: c.incr_version(key), ValueError, READ),
    "decr_version": nothing(lambda c, key: c.decr_version(key), ValueError, READ),
    "touch": nothing(lambda c, key: c.touch(key, 5), False, WRITE),
    "touch forever": nothing(lambda c, key: c.touch(key, None), False, WRITE),
    "persist": nothing(lambda c, key: c.persist(key), False, WRITE),
    "expire": nothing(lambda c, key: c.expire(key, 5), False, WRITE),
    "pexpire": nothing(lambda c, key: c.pexpire(key, 5000), False, WRITE),
    "expire_at": nothing(lambda c, key: c.expire_at(key, LATER), False, WRITE),
    "pexpire_at": nothing(lambda c, key: c.pexpire_at(key, LATER * 1000), False, WRITE),
    "sadd": Case(lambda c, key: c.sadd(key, "a", "b"), 0, WRITE, 2),
    "scard": nothing(lambda c, key: c.scard(key), 0, READ),
    "sismember": nothing(lambda c, key: c.sismember(key, "a"), False, READ),
    "smismember": nothing(lambda c, key: c.smismember(key, "a", "b"), [False, False], READ),
    "smembers": nothing(lambda c, key: c.smembers(key), set(), READ),
    "srandmember": nothing(lambda c, key: c.srandmember(key), None, READ),
    "some of srandmember": nothing(lambda c, key: c.srandmember(key, 2), [], READ),
    "sscan": nothing(lambda c, key: c.sscan(key), set(), READ),
    "sscan_iter": nothing(lambda c, key: list(c.sscan_iter(key)), [], READ),
    "spop": nothing(lambda c, key: c.spop(key), None, WRITE),
    "some of spop": nothing(lambda c, key: c.spop(key, 2), set(), WRITE),
    "srem": nothing(lambda c, key: c.srem(key, "a"), 0, WRITE),
    "sdiff": nothing(lambda c, key: c.sdiff(key), set(), READ),
    "sinter": nothing(lambda c, key: c.sinter(key), set(), READ),
    "sunion": nothing(lambda c, key: c.sunion(key), set(), READ),
    "hset": Case(lambda c, key: c.hset(key, "field", 1), 0, WRITE, 1),
    "hdel": nothing(lambda c, key: c.hdel(key, "field"), 0, WRITE),
    "hlen": nothing(lambda c, key: c.hlen(key), 0, READ),
    "hkeys": nothing(lambda c, key: c.hkeys(key), [], READ),
    "hexists": nothing(lambda c, key: c.hexists(key, "field"), False, READ),
    "zadd": Case(lambda c, key: c.zadd(key, {"a": 1}), 0, WRITE, 1),
    "zincrby": Case(lambda c, key: c.zincrby(key, 2, "a"), None, WRITE, 2.0),
    "zcard": nothing(lambda c, key: c.zcard(key), 0, READ),
    "zcount": nothing(lambda c, key: c.zcount(key, 0, 9), 0, READ),
    "zrange": nothing(lambda c, key: c.zrange(key, 0, -1), [], READ),
    "zrange with scores": nothing(lambda c, key: c.zrange(key, 0, -1, withscores=True), [], READ),
    "zrangebyscore": nothing(lambda c, key: c.zrangebyscore(key, 0, 9), [], READ),
    "zrevrange": nothing(lambda c, key: c.zrevrange(key, 0, -1), [], READ),
    "zrevrangebyscore": nothing(lambda c, key: c.zrevrangebyscore(key, 9, 0), [], READ),
    "zrank": nothing(lambda c, key: c.zrank(key, "a"), None, READ),
    "zscore": nothing(lambda c, key: c.zscore(key, "a"), None, READ),
    "zpopmax": nothing(lambda c, key: c.zpopmax(key), None, WRITE),
    "some of zpopmin": nothing(lambda c, key: c.zpopmin(key, 2), [], WRITE),
    "zrem": nothing(lambda c, key: c.zrem(key, "a"), 0, WRITE),
    "zremrangebyscore": nothing(lambda c, key: c.zremrangebyscore(key, 0, 9), 0, WRITE),
}


# ---- every method --------------------------------------------------------------------------------


@pytest.mark.parametrize("router", ["partition", "consistent"])
def test_errors_name_the_server(cache_servers: TestSetup, make_cache: Make, router: str) -> None:
    cache = make_cache(3, ROUTER=router)
    (key,) = of_server(cache, DEAD)
    cache_servers.kill(DEAD)
    for case in CASES.values():
        with pytest.raises(redis.ConnectionError, match=NAMED):
            case.call(cache, key)
    assert losses(cache) == (0, 0)


@pytest.mark.parametrize("router", ["partition", "consistent"])
def test_misses(cache_servers: TestSetup, make_cache: Make, router: str) -> None:
    cache = make_cache(3, ROUTER=router, ON_DOWN="miss")
    (key,) = of_server(cache, DEAD)
    cache_servers.kill(DEAD)
    found, lost = {}, {}
    for name, case in CASES.items():
        reads, writes = losses(cache)
        found[name] = outcome(case.call, cache, key)
        lost[name] = (losses(cache)[0] - reads, losses(cache)[1] - writes)
    assert found == {name: case.missed for name, case in CASES.items()}
    assert lost == {name: case.lost for name, case in CASES.items()}


@pytest.mark.parametrize("known", [True, False])
def test_the_next_server_on_the_ring(cache_servers: TestSetup, make_cache: Make, known: bool) -> None:
    cache = make_cache(3, ON_DOWN="rehash", RETRY_TIMEOUT=600)
    (key,) = of_server(cache, DEAD)
    cache_servers.kill(DEAD)
    cache.get(key)
    found = {}
    for name, case in CASES.items():
        if not known:
            cache.client.cluster.get_router().flush_down_connections()
        found[name] = outcome(case.call, cache, key)
        cache.clear()
    assert found == {name: case.elsewhere for name, case in CASES.items()}
    assert losses(cache) == (0, 0)


def test_ignored_exceptions(cache_servers: TestSetup, make_cache: Make) -> None:
    cache = make_cache(3, IGNORE_EXCEPTIONS=True)
    (key,) = of_server(cache, DEAD)
    cache_servers.kill(DEAD)
    found = {name: outcome(case.call, cache, key) for name, case in CASES.items()}
    # A generator is none of the cache's methods any more when it raises.
    others = {"get": "default", "in": False, "get_many": {}, "get_or_set": 1}
    others["sscan_iter"] = HostConnectionError
    assert found == {**dict.fromkeys(CASES), **others}


@pytest.mark.parametrize("mode", MODES)
def test_keys_of_living_servers_stay(cache_servers: TestSetup, make_cache: Make, mode: str) -> None:
    cache = make_cache(3, ON_DOWN=mode)
    keys = [*of_server(cache, 0, 5), *of_server(cache, 2, 5)]
    cache.set_many(dict.fromkeys(keys, "x"))
    cache.get(of_server(cache, DEAD)[0])
    cache_servers.kill(DEAD)
    assert cache.get_many(keys) == dict.fromkeys(keys, "x")
    for key in keys:
        assert cache.get(key) == "x"
        assert cache.set(key, 5) is True
        assert cache.incr(key) == 6
        assert cache.touch(key) is True
        assert cache.delete(key) is True
        assert cache.sadd(key, "a") == 1
    assert losses(cache) == (0, 0)


# ---- many keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("timeout", [None, 60, 0])
def test_set_many_returns_the_keys_of_the_dead_server(
    cache_servers: TestSetup, make_cache: Make, connected: bool, timeout: int | None
) -> None:
    for mode in MODES:
        cache = make_cache(3, ON_DOWN=mode)
        keys, dead = of_all(cache, 10), of_server(cache, DEAD, 10)
        if connected:
            cache.get_many(keys)
        cache_servers.kill(DEAD)
        failed = cache.set_many({key: [key] for key in keys}, timeout)
        assert failed == ([] if mode == "rehash" else dead)
        assert losses(cache) == ((0, 10) if mode == "miss" else (0, 0))
        kept = [key for key in keys if key not in failed] if timeout != 0 else []
        assert cache.get_many(kept) == {key: [key] for key in kept}
        cache_servers.start(DEAD)
        cache_servers.flush()


def test_get_many_and_delete_many_in_part(cache_servers: TestSetup, make_cache: Make) -> None:
    cache = make_cache(3, ON_DOWN="miss")
    keys, dead = of_all(cache, 10), of_server(cache, DEAD, 10)
    cache.set_many({key: key for key in keys})
    cache_servers.kill(DEAD)
    assert cache.get_many(keys) == {key: key for key in keys if key not in dead}
    assert losses(cache) == (10, 0)
    assert cache.delete_many(keys) == 20
    assert losses(cache) == (10, 10)


def test_get_many_and_delete_many_of_a_dead_server_raise(cache_servers: TestSetup, make_cache: Make) -> None:
    cache = make_cache(3)
    keys = of_all(cache, 10)
    cache.set_many({key: key for key in keys})
    cache_servers.kill(DEAD)
    with pytest.raises(HostConnectionError, match=NAMED):
        cache.get_many(keys)
    with pytest.raises(HostConnectionError, match=NAMED):
        cache.delete_many(keys)


def test_what_a_dead_server_had_is_written_elsewhere(cache_servers: TestSetup, make_cache: Make) -> None:
    cache = make_cache(3, ON_DOWN="rehash")
    keys, dead = of_all(cache, 10), of_server(cache, DEAD, 10)
    cache.set_many(dict.fromkeys(keys, "old"))
    cache_servers.kill(DEAD)
    assert cache.get_many(keys) == {key: "old" for key in keys if key not in dead}
    assert cache.set_many(dict.fromkeys(keys, "new")) == []
    assert cache.get_many(keys) == dict.fromkeys(keys, "new")
    assert cache.delete_many(keys) == 30


# ---- all servers ---------------------------------------------------------------------------------


def everywhere(cache: Any) -> list[Callable[[], Any]]:
    return [
        lambda: sorted(cache.keys("*")),
        lambda: sorted(cache.iter_keys("*")),
        lambda: sorted(cache.iter_keys("*", itersize=1)),
        lambda: cache.delete_pattern("a:0*"),
        lambda: cache.clear(),
        lambda: cache.keys("*"),
    ]


def test_what_concerns_all_servers_raises(cache_servers: TestSetup, make_cache: Make) -> None:
    cache = make_cache(3)
    cache_servers.kill(DEAD)
    for call in everywhere(cache):
        with pytest.raises(redis.ConnectionError, match=NAMED):
            call()


@pytest.mark.parametrize("mode", ["miss", "rehash"])
@pytest.mark.parametrize("known", [True, False])
def test_what_concerns_all_servers_is_done_on_those_that_live(
    cache_servers: TestSetup, make_cache: Make, mode: str, known: bool
) -> None:
    cache = make_cache(3, ON_DOWN=mode)
    keys = [*of_server(cache, 0, 5, "a:0"), *of_server(cache, 2, 5, "b:1")]
    cache.set_many(dict.fromkeys([*keys, *of_server(cache, DEAD, 3)], "x"))
    cache_servers.kill(DEAD)
    if known:
        cache.get(of_server(cache, DEAD)[0])
    found = [call() for call in everywhere(cache)]
    assert found == [sorted(keys), sorted(keys), sorted(keys), 5, None, []]


# ---- several keys --------------------------------------------------------------------------------


@pytest.fixture
def sets(cache_servers: TestSetup, make_cache: Make) -> Callable[[str], Any]:
    """A cache whose server is dead that had one of three sets; they are called after their servers."""

    def make(mode: str) -> Any:
        cache = make_cache(3, ON_DOWN=mode)
        cache.names = [of_server(cache, server, 1, "set")[0] for server in range(3)]
        for server, name in enumerate(cache.names):
            cache.sadd(name, "all", server)
        cache_servers.kill(DEAD)
        return cache

    return make


def test_sets_on_several_servers_raise(sets: Callable[[str], Any]) -> None:
    cache = sets("error")
    first, dead, last = cache.names
    for call in (cache.sunion, cache.sinter, cache.sdiff):
        with pytest.raises(HostConnectionError, match=NAMED):
            call(first, dead)
    for store in (cache.sunionstore, cache.sinterstore, cache.sdiffstore):
        with pytest.raises(HostConnectionError, match=NAMED):
            store(first, last, dead)
        with pytest.raises(HostConnectionError, match=NAMED):
            store(dead, first, last)
    assert cache.sunion(first, last) == {"all", 0, 2}


def test_sets_on_dead_servers_are_empty(sets: Callable[[str], Any]) -> None:
    cache = sets("miss")
    first, dead, last = cache.names
    assert cache.sunion(first, dead, last) == {"all", 0, 2}
    assert cache.sinter(first, dead) == set()
    assert cache.sdiff(first, dead) == {"all", 0}
    assert losses(cache) == (3, 0)
    assert cache.sunionstore("union", first, last) in (0, 3)
    assert cache.sunionstore(dead, first, last) == 0
    assert losses(cache)[1] >= 1


def test_sets_on_a_ring_with_a_dead_server(sets: Callable[[str], Any]) -> None:
    cache = sets("rehash")
    first, dead, last = cache.names
    assert cache.sunion(first, dead, last) == {"all", 0, 2}
    assert cache.sunionstore(dead, first, last) == 3
    assert cache.smembers(dead) == {"all", 0, 2}
    assert cache.smove(first, dead, 0) is True or cache.sismember(dead, 0)
    assert cache.sinter(dead, last) == {"all", 2}
    assert cache.sdiffstore(dead, last, first) == 1
    assert cache.smembers(dead) == {2}


def test_a_member_that_cannot_be_moved_stays(sets: Callable[[str], Any]) -> None:
    cache = sets("error")
    first, dead, _ = cache.names
    with pytest.raises(HostConnectionError, match=NAMED):
        cache.smove(first, dead, "all")
    assert cache.smembers(first) == {"all", 0}
    with pytest.raises(HostConnectionError, match=NAMED):
        cache.smove(dead, first, 1)
    assert cache.smembers(first) == {"all", 0}


def test_a_member_of_a_missed_set_is_not_moved(sets: Callable[[str], Any]) -> None:
    cache = sets("miss")
    first, dead, _ = cache.names
    assert cache.smove(dead, first, 1) is False
    assert cache.smembers(first) == {"all", 0}
    assert losses(cache) == (0, 1)


@pytest.mark.parametrize("mode", MODES)
def test_a_value_whose_next_version_belongs_to_the_dead_server(
    cache_servers: TestSetup, make_cache: Make, mode: str
) -> None:
    cache = make_cache(3, ON_DOWN=mode)
    router = cache.client.cluster.get_router()
    keys = (key for key in of_server(cache, 0, 50) if router.get_host_for_key(f":2:{key}") == DEAD)
    key = next(keys)
    cache.set(key, "x", 60)
    cache_servers.kill(DEAD)
    if mode == "error":
        with pytest.raises(HostConnectionError, match=NAMED):
            cache.incr_version(key)
        assert cache.get(key) == "x"
        return
    assert cache.incr_version(key) == 2
    assert cache.get(key) is None
    assert cache.get(key, version=2) == ("x" if mode == "rehash" else None)
    assert losses(cache) == ((1, 1) if mode == "miss" else (0, 0))


# ---- locks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["error", "miss"])
def test_nobody_gets_a_lock_of_a_dead_server(cache_servers: TestSetup, make_cache: Make, mode: str) -> None:
    cache = make_cache(3, ON_DOWN=mode)
    (key,) = of_server(cache, DEAD)
    cache_servers.kill(DEAD)
    for blocking in (True, False):
        with pytest.raises(HostConnectionError, match=NAMED):
            cache.lock(key, timeout=5).acquire(blocking=blocking)
    with cache.lock(of_server(cache, 0)[0], timeout=5, blocking_timeout=1) as lock:
        assert lock.owned()


def test_a_lock_of_a_dead_server_is_held_elsewhere(cache_servers: TestSetup, make_cache: Make) -> None:
    cache = make_cache(3, ON_DOWN="rehash")
    (key,) = of_server(cache, DEAD)
    cache_servers.kill(DEAD)
    with cache.lock(key, timeout=5, blocking_timeout=1) as lock:
        assert lock.owned()
        assert not cache.lock(key, timeout=5).acquire(blocking=False)
        assert lock.extend(5)
        assert lock.reacquire()
    assert cache.lock(key, timeout=5).acquire(blocking=False)


def test_a_lock_is_lost_with_its_server(cache_servers: TestSetup, make_cache: Make) -> None:
    cache = make_cache(3, ON_DOWN="rehash")
    (key,) = of_server(cache, DEAD)
    lock = cache.lock(key, timeout=5)
    assert lock.acquire(blocking=False)
    cache_servers.kill(DEAD)
    assert not lock.owned()
    with pytest.raises(LockNotOwnedError):
        lock.release()


# ---- all servers dead, and errors ----------------------------------------------------------------


@pytest.fixture
def all_dead(cache_servers: TestSetup, make_cache: Make) -> Callable[..., Any]:
    def make(mode: str, **options: Any) -> Any:
        cache = make_cache(3, ON_DOWN=mode, **options)
        cache.get_many(of_all(cache, 2))
        for server in range(3):
            cache_servers.kill(server)
        return cache

    return make


def test_all_servers_dead_are_errors(all_dead: Callable[..., Any]) -> None:
    cache = all_dead("error")
    keys = of_all(cache, 2)
    for call in (lambda: cache.get("a"), lambda: cache.get_many(keys), *everywhere(cache)):
        with pytest.raises(redis.ConnectionError, match=r"host \d"):
            call()
    assert cache.set_many(dict.fromkeys(keys, 1)) == keys


def test_all_servers_dead_are_misses(all_dead: Callable[..., Any]) -> None:
    cache = all_dead("miss")
    keys = of_all(cache, 2)
    assert [cache.get(key) for key in keys] == [None] * 6
    assert cache.get_many(keys) == {}
    assert cache.set_many(dict.fromkeys(keys, 1)) == keys
    assert cache.delete_many(keys) == 0
    assert [call() for call in everywhere(cache)] == [[], [], [], 0, None, []]
    assert losses(cache) == (12, 12)


def test_all_servers_of_a_ring_dead_are_errors(all_dead: Callable[..., Any]) -> None:
    cache = all_dead("rehash")
    keys = of_all(cache, 2)
    assert cache.set_many(dict.fromkeys(keys, 1)) == keys
    calls: list[Callable[[], Any]] = [partial(cache.get, "a"), partial(cache.set, "a", 1)]
    calls.append(partial(cache.incr, "a"))
    for call in calls:
        with pytest.raises(HostListExhausted, match="All 3 hosts"):
            call()
    calls = [partial(cache.get_many, keys), partial(cache.delete_many, keys)]
    for call in calls + everywhere(cache):
        with pytest.raises(HostConnectionError):
            call()


@pytest.mark.parametrize("mode", MODES)
def test_all_servers_come_back(
    cache_servers: TestSetup, all_dead: Callable[..., Any], clock: Clock, mode: str
) -> None:
    cache = all_dead(mode, RETRY_TIMEOUT=7)
    keys = of_all(cache, 2)
    cache.set_many(dict.fromkeys(keys, 1))
    for server in range(3):
        cache_servers.start(server)
    assert cache.set_many(dict.fromkeys(keys, 2)) == keys
    clock.now += 7
    assert cache.set_many(dict.fromkeys(keys, 3)) == []
    assert cache.get_many(keys) == dict.fromkeys(keys, 3)


@pytest.mark.parametrize("mode", MODES)
def test_ignored_exceptions_in_every_mode(all_dead: Callable[..., Any], mode: str) -> None:
    cache = all_dead(mode, IGNORE_EXCEPTIONS=True)
    keys = of_all(cache, 2)
    assert cache.get("a", "default") == "default"
    assert cache.get_many(keys) == {}
    assert not cache.set("a", 1)
    assert cache.set_many(dict.fromkeys(keys, 1)) == keys
    assert not cache.delete_many(keys)
    assert not cache.keys("*")
    assert cache.clear() is None


@pytest.mark.parametrize("mode", MODES)
def test_no_error_has_a_password(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    location = [f"redis://user:sesame@127.0.0.1:{port}/0" for port in (1, 2)]
    cache = ShardedRedisCache(location, {"OPTIONS": {"ON_DOWN": mode}})
    said = [repr(outcome_text(lambda: cache.get("a"))) for _ in range(2)]
    said += [repr(cache.set_many({"a": 1, "b": 2})), repr(outcome_text(lambda: cache.keys("*"))), caplog.text]
    assert "sesame" not in "".join(said)
    assert mode == "miss" or "127.0.0.1" in "".join(said)


def outcome_text(call: Callable[[], Any]) -> str:
    try:
        return str(call())
    except redis.RedisError as error:
        return f"{error} {error!r} {error.__cause__}"


# ---- coming back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_is_back_is_used_again(
    cache_servers: TestSetup, make_cache: Make, clock: Clock, mode: str
) -> None:
    cache = make_cache(3, ON_DOWN=mode, RETRY_TIMEOUT=7)
    (key,) = of_server(cache, DEAD)
    cache.set(key, "before")
    cache_servers.kill(DEAD)
    expected = {"error": HostConnectionError, "miss": False, "rehash": True}
    assert outcome(cache.set, key, "meanwhile") is expected[mode]
    cache_servers.start(DEAD)
    clock.now += 6.9
    assert outcome(cache.set, key, "meanwhile") is expected[mode]
    clock.now += 0.2
    assert cache.get(key) is None
    assert cache.set(key, "after") is True
    with cache_servers.client(DEAD) as plain:
        assert plain.keys() == [f":1:{key}".encode()]


def test_every_thread_s_cache_finds_out_at_once(
    cache_servers: TestSetup, make_cache: Make, clock: Clock
) -> None:
    caches = [make_cache(3) for _ in range(8)]
    (key,) = of_server(caches[0], DEAD)
    cache_servers.kill(DEAD)
    errors = []
    for cache in caches:
        with pytest.raises(HostConnectionError, match=NAMED) as caught:
            cache.get(key)
        errors.append("tried again in 5.0 s" in str(caught.value))
    assert errors == [False] + [True] * 7


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("connected", [True, False])
def test_a_server_that_hangs_costs_one_timeout(
    cache_servers: TestSetup, make_cache: Make, mode: str, connected: bool
) -> None:
    cache = make_cache(3, ON_DOWN=mode, SOCKET_TIMEOUT=0.2, RETRY_TIMEOUT=60)
    (key,) = of_server(cache, DEAD)
    if connected:
        cache.set(key, "x")
    cache_servers.pause(DEAD)
    start = time.monotonic()
    first = outcome(cache.get, key, "default")
    assert first == (HostTimeoutError if mode == "error" else "default")
    assert 0.2 <= time.monotonic() - start < 0.39
    # Now it is known, and costs no time.
    start = time.monotonic()
    for _ in range(20):
        found = outcome(cache.get, key, "default")
        assert found == (HostConnectionError if mode == "error" else "default")
        assert outcome(cache.set, key, "y", nx=True) in (HostConnectionError, False, True)
        assert cache.set_many({key: "default"}) == ([] if mode == "rehash" else [key])
        assert outcome(cache.get_many, [key]) in (HostConnectionError, {}, {key: "default"})
    assert time.monotonic() - start < 1
    assert cache.set(of_server(cache, 0)[0], "x") is True
    if mode == "error":
        with pytest.raises(HostConnectionError, match=r"It did not answer in time; .* again in|It refused"):
            cache.get(key)


@pytest.mark.parametrize("mode", MODES)
def test_many_threads_wait_for_a_server_that_hangs_once_each(
    cache_servers: TestSetup, make_cache: Make, mode: str
) -> None:
    cache = make_cache(3, ON_DOWN=mode, SOCKET_TIMEOUT=0.5, RETRY_TIMEOUT=60)
    (key,) = of_server(cache, DEAD)
    ready = threading.Barrier(8)

    def use(_: int) -> float:
        # Each has a connection of its own.
        pool = cache.client.cluster.get_pool_for_host(DEAD)
        connection = get_connection(pool)
        ready.wait(10)
        pool.release(connection)
        ready.wait(10)
        start = time.monotonic()
        for _ in range(5):
            outcome(cache.get, key)
            outcome(cache.get_many, [key])
        return time.monotonic() - start

    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(use, number) for number in range(7)]
        ready.wait(10)
        cache_servers.pause(DEAD)
        ready.wait(10)
        assert max(future.result(10) for future in running) < 0.95


def test_a_write_that_may_have_run_is_not_done_elsewhere(cache_servers: TestSetup, make_cache: Make) -> None:
    cache = make_cache(3, ON_DOWN="rehash", SOCKET_TIMEOUT=0.1, RETRY_TIMEOUT=60)
    key, other = of_server(cache, DEAD, 2)
    cache.set_many({key: 1, other: 1})
    cache_servers.pause(DEAD)
    with pytest.raises(HostTimeoutError, match=NAMED):
        cache.incr(key)
    assert list(cache.client.cluster.get_router().down_connections) == [DEAD]
    assert cache.get(key) is None
    cache.client.cluster.get_router().flush_down_connections()
    cache_servers.resume(DEAD)
    cache.client.cluster.disconnect_pools()


def test_many_keys_of_a_server_that_hangs(cache_servers: TestSetup, make_cache: Make) -> None:
    cache = make_cache(3, SOCKET_TIMEOUT=0.1)
    keys, slow = of_all(cache, 5), of_server(cache, DEAD, 5)
    cache.get_many(keys)
    cache_servers.pause(DEAD)
    assert cache.set_many(dict.fromkeys(keys, 1)) == slow
    start = time.monotonic()
    with pytest.raises(HostConnectionError, match=f"{NAMED}: It did not answer in time"):
        cache.get_many(keys)
    with pytest.raises(HostConnectionError, match=NAMED):
        cache.keys("*")
    assert time.monotonic() - start < 0.09


def test_many_keys_of_a_server_that_hangs_are_on_the_next_one(
    cache_servers: TestSetup, make_cache: Make
) -> None:
    cache = make_cache(3, ON_DOWN="rehash", SOCKET_TIMEOUT=0.2)
    keys, slow = of_all(cache, 5), of_server(cache, DEAD, 5)
    cache.set_many(dict.fromkeys(keys, "x"))
    cache_servers.pause(DEAD)
    start = time.monotonic()
    assert cache.get_many(keys) == {key: "x" for key in keys if key not in slow}
    assert cache.set_many(dict.fromkeys(keys, "y")) == []
    assert cache.get_many(keys) == dict.fromkeys(keys, "y")
    assert time.monotonic() - start < 0.39


@pytest.mark.parametrize("many", [True, False])
def test_two_timeouts_are_the_most_that_a_read_waits_for(
    cache_servers: TestSetup, make_cache: Make, many: bool
) -> None:
    cache = make_cache(5, ON_DOWN="rehash", SOCKET_TIMEOUT=0.1)
    cache.set_many(dict.fromkeys(of_all(cache, 2, 5), 1))
    (key,) = of_server(cache, DEAD)
    for server in range(5):
        cache_servers.pause(server)
    start = time.monotonic()
    with pytest.raises(HostTimeoutError):
        cache.get_many([key]) if many else cache.get(key)
    assert 0.2 <= time.monotonic() - start < 0.35


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_hung_is_used_again(
    cache_servers: TestSetup, make_cache: Make, clock: Clock, mode: str
) -> None:
    cache = make_cache(3, ON_DOWN=mode, SOCKET_TIMEOUT=0.1, RETRY_TIMEOUT=7)
    (key,) = of_server(cache, DEAD)
    cache.set(key, "before")
    cache_servers.pause(DEAD)
    outcome(cache.get, key)
    cache_servers.resume(DEAD)
    clock.now += 6.9
    expected = {"error": HostConnectionError, "miss": None, "rehash": None}
    assert outcome(cache.get, key) is expected[mode]
    clock.now += 0.2
    assert cache.get(key) == "before"
    assert cache.get_many([key]) == {key: "before"}


def test_what_a_caller_has_no_time_for_says_nothing_about_a_server(
    cache_servers: TestSetup, make_cache: Make
) -> None:
    cache = make_cache(3, ON_DOWN="rehash", SOCKET_TIMEOUT=5)
    key, other = of_server(cache, DEAD, 2)
    cache.set(key, "x")
    cache_servers.pause(DEAD)
    batch = cache.client.get_client().get_mapping_client()
    batch.timeout = 0.05
    batch.get(f":1:{key}")
    batch.set(f":1:{other}", 1)
    assert [type(error) for error in batch.execute(raise_on_error=False)] == [HostTimeoutError] * 2
    cache_servers.resume(DEAD)
    assert cache.get(key) == "x"


def test_a_command_that_waits_on_purpose_says_nothing_about_a_server(
    cache_servers: TestSetup, make_cache: Make
) -> None:
    cache = make_cache(3, SOCKET_TIMEOUT=0.1)
    (key,) = of_server(cache, DEAD)
    cache.set(key, "x")
    with pytest.raises(HostTimeoutError, match=NAMED):
        cache.client.get_client().blpop(keys_on(cache.client.cluster, DEAD, 1), 1)
    assert cache.get(key) == "x"


# ---- under load ----------------------------------------------------------------------------------


class Load:
    """Threads that set and get keys of all servers until they are told to stop.

    Attributes:
        errors: what was raised, with the key's server.
        wrong: values that were never written.
    """

    def __init__(self, make: Callable[[], Any], threads: int = 6) -> None:
        self.errors: list[tuple[int, BaseException]] = []
        self.wrong: list[Any] = []
        self.done = 0
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(threads)
        self._running = [self._pool.submit(self._run, make(), number) for number in range(threads)]

    def _run(self, cache: Any, number: int) -> None:
        keys = [
            (server, f"{key}") for server in range(3) for key in of_server(cache, server, 3, f"t{number}")
        ]
        while not self._stop.is_set():
            for server, key in keys:
                calls: list[Callable[[], Any]] = [
                    partial(cache.set, key, key, 60),
                    partial(cache.get, key),
                    partial(cache.get_many, [key]),
                ]
                for call in calls:
                    try:
                        found = call()
                    except Exception as error:
                        self.errors.append((server, error))
                    else:
                        if found not in (True, False, None, key, {}, {key: key}):
                            self.wrong.append(found)
            self.done += 1

    def go_on(self, rounds: int = 20) -> None:
        """Wait until more has been done."""
        goal, end = self.done + rounds, time.monotonic() + 10
        while self.done < goal and time.monotonic() < end:
            time.sleep(0.002)
        assert self.done >= goal

    def stop(self) -> None:
        self._stop.set()
        for future in self._running:
            future.result(10)
        self._pool.shutdown()


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_dies_and_comes_back_under_load(
    cache_servers: TestSetup, make_cache: Make, mode: str
) -> None:
    def make() -> Any:
        return make_cache(3, ON_DOWN=mode, RETRY_TIMEOUT=0.05)

    load = Load(make)
    try:
        for _ in range(2):
            load.go_on()
            cache_servers.kill(DEAD)
            load.go_on()
            cache_servers.start(DEAD)
            time.sleep(0.1)
            load.go_on()
        before = len(load.errors)
        load.go_on(60)
    finally:
        load.stop()
    assert load.wrong == []
    # All is well again.
    assert load.errors[before:] == []
    assert all(isinstance(error, redis.ConnectionError) for _, error in load.errors)
    if mode == "error":
        assert {server for server, _ in load.errors} == {DEAD}
    elif mode == "miss":
        assert load.errors == []
        assert min(losses(make())) > 0
    else:
        # A write that was on its way when the server died, at most one of each thread each time.
        assert len(load.errors) <= 2 * 6
        assert all(server == DEAD for server, _ in load.errors)
    cache = make()
    keys = of_server(cache, DEAD, 5, "home")
    assert cache.set_many(dict.fromkeys(keys, 1)) == []
    with cache_servers.client(DEAD) as plain:
        assert plain.exists(*(f":1:{key}" for key in keys)) == 5
