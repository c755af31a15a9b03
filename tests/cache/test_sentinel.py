"""Caches whose servers are masters of Sentinel's services."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import override_settings

from pindb.cache import ShardedRedisCache
from pindb.cache.options import read_options
from pindb.cache.target import change_servers, describe_hosts
from pindb.testing.redis import SentinelSetup

A = "redis+sentinel://:geheim@a:1,b,c:3/shard0/0"
B = "redis+sentinel://a:1,b,c:3/shard1?sentinel_password=geheim"


def addresses(location: Any) -> list[str]:
    hosts = ShardedRedisCache(location, {}).client.cluster.hosts
    return [host.address for host in hosts.values()]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (A, ["shard0/0"]),
        (f"{A},{B}", ["shard0/0", "shard1/0"]),
        (f" {A} , {B} , redis://d ", ["shard0/0", "shard1/0", "d:6379/0"]),
        (f"redis://d,{A},unix:///e", ["d:6379/0", "shard0/0", "/e/0"]),
        ([A, B], ["shard0/0", "shard1/0"]),
        ("redis://d,redis://e", ["d:6379/0", "e:6379/0"]),
    ],
)
def test_a_location_may_have_several_urls(location: Any, expected: list[str]) -> None:
    assert addresses(location) == expected


@pytest.mark.parametrize("location", [f"{A},", f"{A},,{B}", f"redis://d,e,{A}", ["redis+sentinel://a,b"]])
def test_a_wrong_location_is_named(location: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="he cache's") as caught:
        addresses(location)
    assert "geheim" not in str(caught.value)


def test_a_service_can_be_added() -> None:
    options = read_options("redis://d", {})
    changed = change_servers(options, [A])
    assert describe_hosts(changed) == {0: "redis://d", 1: "redis+sentinel://***@a:1,b,c:3/shard0/0"}
    clusters: Any = {
        "c": {
            "router": "partition",
            "hosts": [{"sentinel": ["a", "b:1"], "service_name": "s", "password": "geheim"}],
        }
    }
    with override_settings(PINDB_CLUSTERS=clusters):
        options = read_options("c", {})
    assert describe_hosts(options) == {0: "redis+sentinel://a:26379,b:1/s/0"}


@pytest.fixture(scope="module")
def setup() -> Iterator[SentinelSetup]:
    with SentinelSetup(replicas=1, services=2) as setup:
        yield setup


def test_a_cache_follows_its_masters(setup: SentinelSetup) -> None:
    sentinels = ",".join(f"{host}:{port}" for host, port in setup.sentinels)
    location = ",".join(f"redis+sentinel://{sentinels}/{service}/0" for service in setup.services)
    settings = {"BACKEND": "pindb.cache.ShardedRedisCache", "LOCATION": location}
    with override_settings(CACHES={"default": settings}):
        cache = caches["default"]
        values = {f"key:{number}": number for number in range(50)}
        cache.set_many(values)
        assert cache.get_many(values) == values
        setup.wait_until_caught_up()
        after = setup.fail_over("shard1")
        assert cache.get_many(values) == values
        assert cache.incr("key:1") == 2
        cache.set_many({key: number + 1 for key, number in values.items()})
        assert cache.get_many(values) == {key: number + 1 for key, number in values.items()}
        keys = 0
        for server in (setup.master("shard0"), after):
            with setup.client(server) as client:
                keys += client.dbsize()
        assert keys == 50
        shown = StringIO()
        call_command("pindb", "cache", stdout=shown)
        call_command("pindb", "where", "key:1", stdout=shown)
        for service, server in (("shard0", setup.master("shard0")), ("shard1", after)):
            assert f"{service}/0 at 127.0.0.1:{setup.host(server)['port']}" in shown.getvalue()


@pytest.mark.parametrize("on_down", ["error", "miss"])
def test_a_cache_recovers_when_there_is_a_new_master(setup: SentinelSetup, on_down: str) -> None:
    sentinels = ",".join(f"{host}:{port}" for host, port in setup.sentinels)
    url = f"redis+sentinel://{sentinels}/shard0"
    cache: Any = ShardedRedisCache(url, {"OPTIONS": {"ON_DOWN": on_down, "RETRY_TIMEOUT": 30}})
    cache.set("key", "before")
    setup.wait_until_caught_up()
    before = setup.master("shard0")
    setup.kill(before)
    if on_down == "miss":
        assert cache.get("key") is None
    else:
        with pytest.raises(Exception, match="host 0"):
            cache.get("key")
    setup.wait_for_new_master(before)
    setup.start(before)
    # The breaker of the host is open for half a minute, but not for another master.
    setup.wait_until_ok()
    assert cache.get("key") == "before"
