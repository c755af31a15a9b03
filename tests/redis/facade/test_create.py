"""Clusters from one dict of settings: what it may have, and what is said about what it may not."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import redis

from pindb.redis import (
    BadHostSetup,
    BaseRouter,
    ClusterConfigError,
    ConsistentHashingRouter,
    EveryHostRouter,
    PartitionRouter,
    RoundRobinRouter,
    RoutedCluster,
    create_cluster,
)
from pindb.redis.backends import BaseConnection
from pindb.redis.backends.redis import Redis
from pindb.redis.facade.create import read_settings
from pindb.testing.redis import TestSetup
from tests.redis.tools import Create

TWO = {0: {"port": 1}, 1: {"port": 2}}


def options(cluster: RoutedCluster, host_id: int) -> dict[str, Any]:
    """What redis-py was told about the connections to a host."""
    return dict(cluster[host_id].connection_pool.connection_kwargs)


# ---- what there is -------------------------------------------------------------------------------


def test_a_cluster_of_the_databases_of_one_server(servers: TestSetup) -> None:
    cluster = create_cluster(
        {
            "backend": "pindb.redis.backends.redis.Redis",
            "router": "pindb.redis.PartitionRouter",
            "defaults": servers.host(0),
            "hosts": {0: {"db": 0}, 1: {"db": 1}, 2: {"db": 2}},
        }
    )
    assert cluster.incr("foo") == 1
    assert sorted(cluster.dbsize()) == [0, 0, 1]
    assert cluster[cluster.router.get_host_for_key("foo")].get("foo") == b"1"
    cluster.disconnect()


@pytest.mark.parametrize("key", ["backend", "engine"])
@pytest.mark.parametrize("backend", ["redis", Redis, "pindb.redis.backends.redis.Redis"])
def test_the_backend_has_a_short_name_a_path_or_a_class(servers: TestSetup, key: str, backend: Any) -> None:
    cluster = create_cluster({key: backend, "hosts": [servers.host(0)]})
    assert cluster.ping() is True
    cluster.disconnect()


@pytest.mark.parametrize(
    ("router", "kind"),
    [
        (None, EveryHostRouter),
        ("partition", PartitionRouter),
        ("consistent", ConsistentHashingRouter),
        ("round_robin", RoundRobinRouter),
        (ConsistentHashingRouter, ConsistentHashingRouter),
        ("pindb.redis.RoundRobinRouter", RoundRobinRouter),
        ("pindb.redis.routers.consistent.ConsistentHashingRouter", ConsistentHashingRouter),
    ],
)
def test_the_router_has_a_short_name_a_path_or_a_class(router: Any, kind: type[BaseRouter]) -> None:
    assert type(create_cluster({"router": router, "hosts": TWO}).router) is kind


def test_without_a_router_every_host_gets_every_command() -> None:
    assert type(create_cluster({"hosts": TWO}).router) is EveryHostRouter


@pytest.mark.parametrize(
    "hosts",
    [
        {0: {"port": 1}, 1: {"port": 2}, 2: {"port": 3}},
        {2: {"port": 3}, 0: {"port": 1}, 1: {"port": 2}},
        [{"port": 1}, {"port": 2}, {"port": 3}],
        ({"port": 1}, {"port": 2}, {"port": 3}),
        [{"host_id": 2, "port": 3}, {"host_id": 0, "port": 1}, {"host_id": 1, "port": 2}],
        ["redis://localhost:1", "redis://localhost:2/0", "redis://localhost:3"],
        {0: "redis://localhost:1", 1: {"port": 2}, 2: {"url": "redis://localhost:3"}},
    ],
)
def test_hosts_are_a_dict_or_a_list(hosts: Any) -> None:
    cluster = create_cluster({"router": "partition", "hosts": hosts})
    assert list(cluster) == [0, 1, 2]
    assert [host.address for host in cluster.hosts.values()] == [f"localhost:{port}/0" for port in (1, 2, 3)]


def test_options_of_hosts_are_those_of_their_connections() -> None:
    cluster = create_cluster(
        {
            "hosts": [
                {"host": "h", "port": 7, "db": 3, "timeout": 1.5, "password": "p", "username": "u"},
                {"unix_socket_path": "/path", "db": 1},
                {"host": "h", "ssl": True, "ssl_options": {"cert_reqs": "none"}},
                "redis://:q@g:9/2?socket_timeout=4",
            ]
        }
    )
    address = {"host": "h", "port": 7, "db": 3, "password": "p", "username": "u"}
    assert options(cluster, 0).items() >= address.items()
    assert options(cluster, 0)["socket_timeout"] == options(cluster, 0)["socket_connect_timeout"] == 1.5
    assert options(cluster, 1).items() >= {"path": "/path", "db": 1}.items()
    assert options(cluster, 2)["ssl_cert_reqs"] == "none"
    found = {"host": "g", "port": 9, "db": 2, "password": "q", "socket_timeout": 4}
    assert options(cluster, 3).items() >= found.items()


def test_hosts_have_the_defaults_that_they_do_not_override() -> None:
    cluster = create_cluster(
        {"defaults": {"host": "h", "db": 5, "timeout": 2}, "hosts": {0: {"db": 6}, 1: {"timeout": 3}}}
    )
    assert [options(cluster, host_id)["host"] for host_id in cluster] == ["h", "h"]
    assert [options(cluster, host_id)["db"] for host_id in cluster] == [6, 5]
    assert [options(cluster, host_id)["socket_timeout"] for host_id in cluster] == [2, 3]


def test_options_of_the_router_and_of_the_pools(create: Create) -> None:
    cluster = create("partition", router_options={"hash_tags": True}, pool_options={"decode_responses": True})
    cluster.set("{user:7}:name", "Ada")
    assert cluster.rename("{user:7}:name", "{user:7}:first name") is True
    assert cluster.get("{user:7}:first name") == "Ada"
    weighted = create_cluster(
        {"router": "consistent", "hosts": TWO, "router_options": {"weights": {1: 1000}}}
    ).router
    assert {weighted.get_host_for_key(key) for key in "abcdefghij"} == {1}


def test_the_class_of_the_pools(servers: TestSetup) -> None:
    cluster = create_cluster({"hosts": [servers.host(0)], "pool_cls": redis.BlockingConnectionPool})
    assert cluster.ping() is True
    assert isinstance(cluster[0].connection_pool, redis.BlockingConnectionPool)
    cluster.disconnect()


def test_the_settings_stay_as_they_are(servers: TestSetup) -> None:
    settings = {
        "engine": "redis",
        "router": "consistent",
        "defaults": {"timeout": 5, **servers.host(0)},
        "hosts": [{"db": 1, "identifier": "a"}, {"host_id": 1, "db": 2}],
        "router_options": {"weights": {0: 2}, "retry_timeout": 3},
        "pool_options": {"decode_responses": True, "max_connections": 3},
        "max_connection_retries": 2,
    }
    before = deepcopy(settings)
    for _ in range(2):
        cluster = create_cluster(settings)
        assert cluster.set("a", "b") is True
        with cluster.map() as conn:
            value = conn.get("a")
        assert value == "b"
        cluster.disconnect()
    assert settings == before


def test_nothing_connects_before_the_first_command() -> None:
    cluster = create_cluster(
        {"router": "round_robin", "hosts": [{"unix_socket_path": "/nonexistent/socket"}]}
    )
    assert len(cluster) == 1
    cluster.disconnect()


@pytest.mark.parametrize("backend", ["redis", "memcached", "cassandra", BaseConnection])
@pytest.mark.parametrize(
    "settings",
    [
        {"hosts": ["redis://me:geheim@server"], "backend": "redis://me:geheim@server"},
        {"hosts": ["redis://me:geheim@server"], "router": "redis://me:geheim@server.example.com"},
        {"hosts": ["redis://me:geheim@server"], "max_connection_retries": "redis://me:geheim@server"},
        {"hosts": [{"host": "redis://me:geheim@server"}]},
        {"hosts": [{"host": "me:geheim@server"}]},
        {"hosts": [{"identifier": "redis://me:geheim@server", "name": "a"}]},
        {"hosts": {"redis://me:geheim@server": {}}},
    ],
)
def test_no_error_shows_a_password(backend: Any, settings: Any) -> None:
    with pytest.raises(ClusterConfigError) as caught:
        create_cluster({"backend": backend, **settings})
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("backend", ["memcached", BaseConnection])
def test_a_url_where_there_are_none_is_not_shown(backend: Any) -> None:
    with pytest.raises(ClusterConfigError, match=r"Host 0 is 'x://\*\*\*@server'\. Write a dict") as caught:
        create_cluster({"backend": backend, "hosts": ["x://me:geheim@server"]})
    assert "geheim" not in str(caught.value)


def test_settings_that_were_read_show_no_password() -> None:
    login = {"password": "geheim"}
    settings = {"hosts": ["redis://me:geheim@server", login], "defaults": login, "pool_options": login}
    _, read = read_settings(settings)
    assert "geheim" not in repr(read)
    assert read.defaults == login


# ---- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        ({"hosts": TWO, "routr": "partition", "x": 1}, ["unknown options: routr, x. There are: backend, "]),
        ({"hosts": TWO, "routr": "partition"}, ["hosts, max_connection_retries", "router, router_options"]),
        ({}, ["no hosts. Write 'hosts': {0: "]),
        ({"hosts": {}}, ["no hosts. Write 'hosts': {0: "]),
        ({"hosts": []}, ["no hosts"]),
        ({"hosts": None}, ["no hosts"]),
        ({"hosts": "localhost"}, ["hosts is a str. Write a dict by host id", "or a list"]),
        ({"hosts": {"a": {}}}, ["host id 'a' is a str", "integer"]),
        ({"hosts": {True: {}}}, ["host id True is a bool"]),
        ({"hosts": {0: 6379}}, ["Host 0 is a int, not a dict", "{'port': 6379}"]),
        ({"hosts": [{}, {"host_id": 0}]}, ["two hosts with the id 0"]),
        ({"hosts": {0: {"host_id": 1}}}, ["Host 0 has the host_id 1 too"]),
        ({"hosts": {0: {"prt": 1}}}, ["Host 0 has unknown options: prt", "identifier", "unix_socket_path"]),
        ({"hosts": {0: {"timeout": 0}}}, ["Host 0 has the timeout 0"]),
        ({"hosts": ["nonsense://:geheim@h"]}, ["Host 0 has an invalid URL", "redis://"]),
        ({"hosts": [{"identifier": "a", "name": "b"}]}, ["identifier 'a' and the name 'b'"]),
        ({"hosts": TWO, "defaults": {"prt": 1}}, ["defaults has unknown options: prt", "There are: db, "]),
        ({"hosts": TWO, "defaults": {"identifier": "a"}}, ["defaults has unknown options: identifier"]),
        ({"hosts": TWO, "defaults": 5}, ["defaults is a int. Write a dict"]),
        ({"hosts": TWO, "router_options": []}, ["router_options is a list. Write a dict"]),
        ({"hosts": TWO, "backend": "redis", "engine": "redis"}, ["a backend and an engine"]),
        ({"hosts": TWO, "backend": "mysql"}, ["backend is 'mysql'", "'redis'"]),
        ({"hosts": TWO, "backend": "pindb.redis.NoSuch"}, ["cannot be imported", "'redis'"]),
        ({"hosts": TWO, "engine": dict}, ["does not derive from", "BaseConnection", "'redis'"]),
        ({"hosts": TWO, "router": "modulo"}, ["'modulo'", "'partition', 'consistent', 'round_robin'"]),
        ({"hosts": TWO, "router": "no.such.Router"}, ["cannot be imported", "No module named 'no'"]),
        ({"hosts": TWO, "router": "pindb.redis.NoSuch"}, ["cannot be imported", "'partition'"]),
        ({"hosts": TWO, "router": "pindb.redis.create_cluster"}, ["is no class", "'partition'"]),
        ({"hosts": TWO, "router": 5}, ["router is 5", "'partition'"]),
        ({"hosts": TWO, "router": dict}, ["does not derive from pindb.redis.BaseRouter", "'partition'"]),
        (
            {"hosts": TWO, "router": "partition", "router_options": {"weights": {}, "x": 1}},
            ["weights, x, which PartitionRouter does not take", "It takes: hash_tags"],
        ),
        (
            {"hosts": TWO, "router_options": {"retry_timeout": 1}},
            ["retry_timeout, which EveryHostRouter does not take"],
        ),
        ({"hosts": TWO, "router": "consistent", "router_options": {"weights": {7: 1}}}, ["weights has 7"]),
        (
            {"hosts": {0: {}, 1: {}}, "router": "consistent"},
            ["the same name on the ring, 'redis://localhost:6379/0'"],
        ),
        ({"hosts": TWO, "max_connection_retries": -1}, ["max_connection_retries is -1", "0 or more"]),
        ({"hosts": TWO, "max_connection_retries": "2"}, ["max_connection_retries is '2'"]),
        ({"hosts": TWO, "max_connection_retries": None}, ["max_connection_retries is None"]),
        ([{"hosts": TWO}], ["are a list. Write a dict"]),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(settings: Any, messages: list[str]) -> None:
    with pytest.raises(ClusterConfigError) as caught:
        create_cluster(settings)
    for message in messages:
        assert message in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("router", ["round_robin", "consistent"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry_timeout", "x"),
        ("retry_timeout", -1),
        ("retry_timeout", float("nan")),
        ("retry_timeout", True),
        ("attempt_reconnect_threshold", 0),
        ("attempt_reconnect_threshold", 2.5),
        ("attempt_reconnect_threshold", "x"),
    ],
)
def test_options_for_hosts_that_are_down_are_numbers(router: str, name: str, value: Any) -> None:
    with pytest.raises(ClusterConfigError, match=f"{name} is {value!r}. Write a number of"):
        create_cluster({"router": router, "hosts": TWO, "router_options": {name: value}})


@pytest.mark.parametrize("router", ["partition", "consistent"])
def test_hosts_of_routers_that_count_have_no_gaps(router: str) -> None:
    with pytest.raises(BadHostSetup, match=r"The host ids are 0, 2\. .* without a gap"):
        create_cluster({"router": router, "hosts": {0: {"port": 1}, 2: {"port": 2}}})


@pytest.mark.parametrize("router", ["round_robin", None])
def test_other_routers_take_any_numbers(create: Create, servers: TestSetup, router: str | None) -> None:
    cluster = create(router, {3: servers.host(0), 7: servers.host(1)})
    assert list(cluster) == [3, 7]
    for _ in range(2):
        cluster.set("a", "b")
    assert [cluster[host_id].get("a") for host_id in cluster] == [b"b", b"b"]
