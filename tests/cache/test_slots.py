"""The cache on a Redis Cluster: the router "slots"."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import override_settings

from pindb.cache import ShardedRedisCache
from pindb.hashing import slot
from pindb.testing.redis import RedisClusterSetup
from tests.cache.tools import settings_of

KEYS = [f"key:{number}" for number in range(60)]
VALUES = {key: key.upper() for key in KEYS}


@pytest.fixture(scope="module")
def all_nodes() -> Iterator[RedisClusterSetup]:
    """Three masters with a replica each; what one of them does is nothing to the others."""
    with RedisClusterSetup(configuration={"cluster-require-full-coverage": "no"}) as setup:
        yield setup


@pytest.fixture
def nodes(all_nodes: RedisClusterSetup) -> Iterator[RedisClusterSetup]:
    """The nodes; all run, and are empty, as a test begins."""
    yield all_nodes
    for server in all_nodes.nodes:
        if not all_nodes.is_running(server):
            all_nodes.start(server)
    all_nodes.wait_until_ok()
    all_nodes.flush()


def urls_of(nodes: RedisClusterSetup) -> list[str]:
    return [f"redis://{node['host']}:{node['port']}" for node in nodes.start_up_nodes]


@pytest.fixture
def make(nodes: RedisClusterSetup) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(**options: Any) -> Any:
        given = {"ROUTER": "slots", "CLOSE_CONNECTION": True, **options}
        cache = ShardedRedisCache(urls_of(nodes), {"OPTIONS": given})
        made.append(cache)
        return cache

    yield make
    for cache in made:
        cache.close()


@pytest.fixture
def cache(make: Callable[..., Any]) -> Any:
    return make()


def test_keys_lie_where_their_slots_are(nodes: RedisClusterSetup, cache: Any) -> None:
    assert cache.set_many(VALUES) == []
    for master in nodes.masters:
        with nodes.client(master) as client:
            mine = {f":1:{key}".encode() for key in KEYS if nodes.owner(f":1:{key}") == master}
            assert set(client.keys("*")) == mine
    assert cache.get_many([*KEYS, "missing"]) == VALUES
    assert cache.delete_many([*KEYS[:20], "missing"]) == 20
    assert sorted(cache.keys("*")) == sorted(KEYS[20:]) == sorted(cache.iter_keys("key:*"))
    assert cache.delete_pattern("key:2*") == 10
    assert cache.get_many(KEYS) == {key: VALUES[key] for key in KEYS[20:] if not key.startswith("key:2")}
    cache.clear()
    assert cache.get_many(KEYS) == {}


def test_versions_may_be_in_another_slot(cache: Any) -> None:
    for key in KEYS[:20]:
        cache.set(key, [key], timeout=1000)
        assert cache.incr_version(key) == 2
        assert (cache.get(key), cache.get(key, version=2)) == (None, [key])
        assert 990 < cache.ttl(key, version=2) <= 1000
        assert cache.decr_version(key, version=2) == 1


def test_sets_in_several_slots(cache: Any) -> None:
    cache.sadd("a", 1, 2, 3)
    cache.sadd("b", 2, 3, 4)
    assert cache.sinter("a", "b") == {2, 3}
    assert cache.sunion("a", "b") == {1, 2, 3, 4}
    assert cache.sdiff("a", "b") == {1}
    assert cache.sdiffstore("c", "a", "b") == 1
    assert cache.sunionstore("d", "a", "b") == 4
    assert cache.smembers("c") == {1}
    assert cache.sadd("{t}a", 1, 2) == cache.sadd("{t}b", 2, 5) == 2
    assert cache.sinter("{t}a", "{t}b") == {2}


def test_a_slot_that_moves_loses_nothing(nodes: RedisClusterSetup, cache: Any) -> None:
    cache.set_many(VALUES)
    target = nodes.masters[0]
    nodes.move_slots({slot(f":1:{key}") for key in KEYS[:30]}, to=target)
    assert cache.get_many(KEYS) == VALUES
    assert cache.set_many(dict.fromkeys(KEYS, 1)) == []
    with nodes.moving(
        f":1:{KEYS[40]}", to=next(m for m in nodes.masters if m != nodes.owner(f":1:{KEYS[40]}"))
    ):
        assert cache.get_many(KEYS) == dict.fromkeys(KEYS, 1)
        assert cache.incr(KEYS[40]) == 2
        assert cache.delete_many(KEYS) == 60


def test_a_node_that_is_down_is_missed_or_an_error(
    nodes: RedisClusterSetup, make: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    missing, raising = make(ON_DOWN="miss"), make()
    missing.set_many(VALUES)
    assert raising.get_many(KEYS) == VALUES
    master = nodes.masters[0]
    lost = [key for key in KEYS if nodes.owner(f":1:{key}") == master]
    nodes.kill(master)
    with caplog.at_level(logging.ERROR):
        assert missing.get_many(KEYS) == {key: VALUES[key] for key in KEYS if key not in lost}
        assert missing.get(lost[0], "default") == "default"
        assert sorted(missing.set_many(VALUES)) == sorted(lost)
        assert missing.set(lost[0], 1) is False
        assert missing.delete_many(lost) == 0
        with pytest.raises(Exception, match=str(nodes.nodes[master]["port"])):
            raising.get(lost[0])
    nodes.wait_for_new_master(master)
    assert missing.set(lost[0], 7) is True
    assert raising.get(lost[0]) == 7


def test_the_command_line_knows_it(nodes: RedisClusterSetup) -> None:
    settings = settings_of(urls_of(nodes), options={"ROUTER": "slots"})
    with override_settings(CACHES={"default": settings}):
        caches["default"].set_many(VALUES)

        def told(*words: str) -> str:
            out = io.StringIO()
            call_command("pindb", *words, stdout=out)
            return out.getvalue()

        for master in nodes.masters:
            assert str(nodes.nodes[master]["port"]) in told("cache")
        port = nodes.nodes[nodes.owner(":1:key:1")]["port"]
        assert str(port) in told("where", "key:1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ROUTER_OPTIONS": {"read_from": "slave"}}, "read_from"),
        ({"ROUTER_OPTIONS": {"replicas": 5}}, "replicas"),
        ({"ROUTER_OPTIONS": {"wait_timeout": "x"}}, "wait_timeout"),
    ],
)
def test_invalid_options_are_named(make: Callable[..., Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        make(**options).get("key")


def test_reads_from_replicas(nodes: RedisClusterSetup, make: Callable[..., Any]) -> None:
    cache = make(ROUTER_OPTIONS={"read_from": "replica"})
    cache.set_many(VALUES)
    nodes.wait_until_caught_up()
    assert cache.get_many(KEYS) == VALUES
    assert [cache.get(key) for key in KEYS[:5]] == [VALUES[key] for key in KEYS[:5]]
    assert cache.delete_many(KEYS) == 60
