"""What a cache's settings may be, and what is said of those that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from pindb.cache import ShardedRedisCache
from pindb.cache.options import OPTIONS, read_options
from pindb.redis import ConsistentHashingRouter, PartitionRouter
from pindb.testing.redis import TestSetup

URLS = ["redis://:secret@10.0.0.1:6379/0", "redis://10.0.0.2:6379/0"]
CLUSTERS: dict[str, Any] = {
    "caches": {"router": "partition", "hosts": {0: {"host": "10.0.0.1"}, 1: {"host": "10.0.0.2"}}},
    "copies": {"router": "round_robin", "hosts": {0: {"host": "10.0.0.1"}}},
    "all": {"hosts": {0: {"host": "10.0.0.1"}}},
    "memory": {"backend": "memcached", "hosts": [{"host": "10.0.0.1"}], "router": "partition"},
    "wrong": {"router": "partition", "hosts": {0: {"prt": 1}}},
    "pooled": {"router": "partition", "hosts": {0: {}}, "pool_options": {"nonsense": 1}},
    "queried": {"router": "partition", "hosts": {0: {"url": "redis://a?nonsense=1"}}},
    "ported": {"router": "partition", "hosts": {0: {"port": "x"}}},
}


def make(location: Any, **options: Any) -> Any:
    """The cache's client, which reads its settings."""
    return ShardedRedisCache(location, {"OPTIONS": options}).client


@pytest.mark.parametrize("location", [URLS, tuple(URLS), ",".join(URLS), ", ".join(URLS)], ids=repr)
def test_servers_are_named_by_their_urls(location: Any) -> None:
    client = make(location, ROUTER="partition")
    addresses = [host.address for host in client.cluster.hosts.values()]
    assert addresses == ["10.0.0.1:6379/0", "10.0.0.2:6379/0"]
    assert client.cluster.hosts[0].password == "secret"
    assert "secret" not in repr(client.cluster)


def test_servers_may_be_those_of_a_cluster_of_the_settings() -> None:
    with override_settings(PINDB_CLUSTERS=CLUSTERS):
        client = make("caches")
    assert isinstance(client.cluster.get_router(), PartitionRouter)
    assert [host.host for host in client.cluster.hosts.values()] == ["10.0.0.1", "10.0.0.2"]


def test_a_server_is_called_the_same_on_the_ring_in_both_ways() -> None:
    ring = {**CLUSTERS["caches"], "router": "consistent"}
    with override_settings(PINDB_CLUSTERS={"ring": ring}):
        named = make("ring").cluster.get_router()
    by_urls = make(URLS, ROUTER="consistent").cluster.get_router()
    keys = [f"key:{number}" for number in range(500)]
    assert named.get_hosts_for_keys(keys) == by_urls.get_hosts_for_keys(keys)


def test_the_ring_is_the_default() -> None:
    client = make(URLS, ROUTER_OPTIONS={"weights": {0: 3}}, HASH_TAGS=True)
    router = client.cluster.get_router()
    assert isinstance(router, ConsistentHashingRouter)
    assert router.hash_tags
    assert 0.7 < router.get_shares()[0] < 0.8


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (None, ["LOCATION", "redis://"]),
        ("", ["LOCATION", "redis://"]),
        ([], ["LOCATION"]),
        ([5], ["LOCATION"]),
        ({"a": 1}, ["LOCATION"]),
        (["redis://a", ""], ["LOCATION"]),
        (["http://:secret@a"], ["Item 0 of", "rediss://"]),
        (["redis://a", "b:6379"], ["Item 1 of", "unix://"]),
        ("me:secret@10.0.0.1:6379", ["LOCATION", "'caches'", "redis://"]),
        (["me:secret@10.0.0.1"], ["LOCATION", "PINDB_CLUSTERS"]),
        ("redis//:secret@a", ["LOCATION", "rediss://"]),
        (["redis://a", "me:secret@b"], ["Item 1 of"]),
        ("redis://a:secret@b,c:secret@d", ["Item 1 of"]),
        ("redis://me:p/secret@b", ["Host 0", "redis://"]),
        ("redis://a?soket_timeout=5", ["soket_timeout"]),
        ("nowhere", ["'nowhere'", "'caches'", "PINDB_CLUSTERS"]),
        ("copies", ["RoundRobinRouter", "'partition'", "'consistent'"]),
        ("all", ["EveryHostRouter", "'consistent'"]),
        ("memory", ["'memory'", "Memcached", "Redis"]),
        ("wrong", ["prt", "port"]),
        ("pooled", ["nonsense"]),
        ("queried", ["nonsense"]),
        ("ported", ["'x'"]),
        (["redis://a", "redis://a"], ["redis://a:6379/0"]),
    ],
    ids=repr,
)
@override_settings(PINDB_CLUSTERS=CLUSTERS)
def test_locations_that_are_wrong(location: Any, words: list[str]) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        make(location)
    assert all(word in str(raised.value) for word in words), raised.value
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ROUTR": "partition"}, ["ROUTR", *sorted(OPTIONS)]),
        ({"SENTINELS": []}, ["SENTINELS", "ROUTER"]),
        ({"ROUTER": "ring"}, ["'ring'", "'partition'", "'consistent'"]),
        ({"ROUTER": "no.such.Router"}, ["'no.such.Router'", "cannot be imported"]),
        ({"ROUTER": "redis.Redis"}, ["'redis.Redis'", "BaseRouter"]),
        ({"ROUTER": "round_robin"}, ["RoundRobinRouter", "'partition'"]),
        ({"ROUTER": None}, ["EveryHostRouter"]),
        ({"ROUTER_OPTIONS": {"wieghts": {}}}, ["wieghts", "weights"]),
        ({"ROUTER_OPTIONS": {"weights": {5: 1}}}, ["weights", "5"]),
        ({"ROUTER_OPTIONS": [1]}, ["ROUTER_OPTIONS", "list", "dict"]),
        ({"ROUTER": "partition", "ROUTER_OPTIONS": {"weights": {}}}, ["weights", "PartitionRouter"]),
        ({"ON_DOWN": "wait"}, ["'wait'", "'error'", "'miss'", "'rehash'"]),
        ({"ON_DOWN": "rehash", "ROUTER": "partition"}, ["'rehash'", "PartitionRouter", "consistent"]),
        ({"RETRY_TIMEOUT": 0}, ["RETRY_TIMEOUT", "0", "seconds"]),
        ({"RETRY_TIMEOUT": float("inf")}, ["RETRY_TIMEOUT", "inf"]),
        ({"RETRY_TIMEOUT": "5"}, ["RETRY_TIMEOUT", "'5'"]),
        ({"ROUTER_OPTIONS": {"weights": "a"}}, ["weights", "str", "dict"]),
        ({"ROUTER_OPTIONS": {"weights": []}}, ["weights", "list", "dict"]),
        ({"ROUTER_OPTIONS": {"weights": {0: "a"}}}, ["weights", "is a str"]),
        ({"HASH_TAGS": "False"}, ["HASH_TAGS", "'False'", "True"]),
        ({"IGNORE_EXCEPTIONS": "no"}, ["IGNORE_EXCEPTIONS", "'no'"]),
        ({"CLOSE_CONNECTION": "0"}, ["CLOSE_CONNECTION", "'0'"]),
        ({"PASSWORD": ["secret"]}, ["PASSWORD", "list", "str"]),
        ({"USERNAME": 5}, ["USERNAME", "int", "str"]),
        ({"SERIALIZER": "no.Serializer"}, ["SERIALIZER", "'no.Serializer'", "imported"]),
        ({"COMPRESSOR": "..x"}, ["COMPRESSOR", "'..x'", "imported"]),
        ({"SOCKET_TIMEOUT": "5"}, ["SOCKET_TIMEOUT", "'5'"]),
        ({"SOCKET_CONNECT_TIMEOUT": -1}, ["SOCKET_CONNECT_TIMEOUT", "-1"]),
        ({"CONNECTION_POOL_KWARGS": {"decode_responses": True}}, ["decode_responses"]),
        ({"CONNECTION_POOL_KWARGS": 5}, ["CONNECTION_POOL_KWARGS", "int"]),
        ({"CONNECTION_POOL_KWARGS": {"max_conections": 5}}, ["max_conections"]),
        ({"CONNECTION_POOL_KWARGS": {5: 5}}, ["pool_options"]),
        ({"CONNECTION_POOL_KWARGS": {"retry": 5}}, ["retry", "int"]),
        ({"CONNECTION_POOL_KWARGS": {"credential_provider": "x"}}, ["credential_provider", "str"]),
        ({"CONNECTION_POOL_KWARGS": {"command_packer": "x"}}, ["command_packer", "str"]),
        ({"CONNECTION_POOL_KWARGS": {"redis_connect_func": "x"}}, ["redis_connect_func", "str"]),
        ({"CONNECTION_POOL_KWARGS": {"connection_class": 5}}, ["connection_class: int"]),
        ({"CONNECTION_POOL_KWARGS": {"encoding": "nope"}}, ["encoding", "nope"]),
        ({"CONNECTION_POOL_KWARGS": {"encoding_errors": "nope"}}, ["encoding", "nope"]),
        ({"CONNECTION_POOL_KWARGS": {"encoding": 5}}, ["encoding"]),
        ({"CONNECTION_POOL_KWARGS": {"socket_timeout": "5"}}, ["socket_timeout"]),
        ({"CONNECTION_POOL_KWARGS": {"max_connections": -1}}, ["max_connections"]),
        ({"CONNECTION_POOL_KWARGS": {"host": "a", "db": 5}}, ["db, host", "LOCATION"]),
        ({"PARSER_CLASS": "redis.Redis"}, ["parser_class"]),
        ({"SERIALIZER": object}, ["SERIALIZER", "type", "path"]),
        ({"COMPRESSOR": 5}, ["COMPRESSOR", "int", "path"]),
        ({"ROUTER_OPTIONS": {5: 5, "x": 1}}, ["5, x", "weights"]),
        ({"ROUTER_OPTIONS": {"hash_tags": "no"}}, ["hash_tags", "'no'"]),
        ({"CONNECTION_POOL_KWARGS": {"protocol": "x"}}, ["pool_options"]),
        ({"CONNECTION_POOL_CLASS": dict}, ["dict", "ConnectionPool"]),
        ({"CONNECTION_POOL_CLASS": 5}, ["pool_options"]),
        ({"PARSER_CLASS": 5}, ["pool_options"]),
        ({"CONNECTION_POOL_CLASS": "no.Pool"}, ["CONNECTION_POOL_CLASS", "'no.Pool'"]),
    ],
    ids=repr,
)
def test_options_that_are_wrong(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        make(URLS, **options)
    assert all(word in str(raised.value) for word in words), raised.value
    assert "secret" not in str(raised.value)


def test_a_cluster_says_itself_what_its_router_is() -> None:
    with (
        override_settings(PINDB_CLUSTERS=CLUSTERS),
        pytest.raises(ImproperlyConfigured, match=r"ROUTER.*PINDB_CLUSTERS"),
    ):
        make("caches", ROUTER="consistent")


def test_a_serializer_of_the_site_s_own_may_have_options_of_its_own() -> None:
    read_options(URLS, {"SERIALIZER": "site.serializers.Own", "OWN_LEVEL": 9})
    with pytest.raises(ImproperlyConfigured, match="OWN_LEVEL"):
        read_options(URLS, {"SERIALIZER": "django_redis.serializers.json.JSONSerializer", "OWN_LEVEL": 9})


def test_nobody_waits_for_a_server_for_ever() -> None:
    def timeouts(**options: Any) -> tuple[Any, Any]:
        given = make(URLS, **options).cluster.get_pool_for_host(0).connection_kwargs
        return given["socket_timeout"], given["socket_connect_timeout"]

    assert timeouts() == (5, 5)
    assert timeouts(SOCKET_TIMEOUT=0.5) == (0.5, 0.5)
    assert timeouts(SOCKET_CONNECT_TIMEOUT=1) == (5, 1)
    assert timeouts(CONNECTION_POOL_KWARGS={"socket_timeout": None}) == (None, 5)


def test_settings_are_left_as_they_are(make_cache: Callable[..., Any]) -> None:
    router_options = {"weights": {0: 2}, "retry_timeout": 3}
    options = {"ROUTER_OPTIONS": router_options, "CONNECTION_POOL_KWARGS": {"max_connections": 5}}
    cache = make_cache(2, **options)
    cache.set("a", 1)
    assert options == {
        "ROUTER_OPTIONS": {"weights": {0: 2}, "retry_timeout": 3},
        "CONNECTION_POOL_KWARGS": {"max_connections": 5},
    }
    assert cache.client.cluster.retry_timeout == 3


@pytest.mark.parametrize(
    ("options", "seconds"), [({}, 3), ({"RETRY_TIMEOUT": 2}, 2), ({"ON_DOWN": "rehash"}, 3)]
)
@pytest.mark.parametrize("settings", [{"retry_timeout": 3}, {"router_options": {"retry_timeout": 3}}])
def test_a_cluster_says_when_its_servers_are_tried_again(
    settings: dict[str, Any], options: dict[str, Any], seconds: float
) -> None:
    ring = {"hosts": URLS, "router": "consistent", **settings}
    with override_settings(PINDB_CLUSTERS={"ring": ring}):
        cluster = make("ring", **options).cluster
        router: Any = cluster.get_router()
        assert cluster.retry_timeout == router.retry_timeout == seconds


def test_servers_may_want_tls_and_a_password() -> None:
    try:
        setup = TestSetup(servers=2, databases_each=1, tls=True, password="secret")
    except RuntimeError as error:
        pytest.skip(str(error))
    with setup:
        hosts = [setup.host(server) for server in range(2)]
        certificates = hosts[0]["ssl_options"]["ca_certs"]
        urls = [f"rediss://127.0.0.1:{host['port']}/0?ssl_ca_certs={certificates}" for host in hosts]
        cache = ShardedRedisCache(urls, {"OPTIONS": {"PASSWORD": "secret"}})
        data = {f"key:{number}": number for number in range(20)}
        assert cache.set_many(data) == []
        assert cache.get_many(data) == data
        cache.client.cluster.disconnect_pools()


@override_settings(PINDB_CLUSTERS=CLUSTERS)
def test_options_beside_what_is_no_cluster_do_not_show_it() -> None:
    with pytest.raises(ImproperlyConfigured, match="'caches'") as raised:
        make("me:secret@10.0.0.1", ROUTER="partition", PASSWORD="secret")
    assert "secret" not in str(raised.value)


@override_settings(PINDB_CLUSTERS=[CLUSTERS])
def test_a_password_is_not_shown_beside_clusters_that_are_wrong() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"LOCATION: .*PINDB_CLUSTERS.* list") as raised:
        make("me:secret@10.0.0.1")
    assert "secret" not in str(raised.value)


@override_settings(PINDB_CLUSTERS=[CLUSTERS])
def test_clusters_that_are_no_dict() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"'caches': .*PINDB_CLUSTERS.* list"):
        make("caches")
