"""Keys on a ring while hosts are dead: they are on the next host, and come home afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pindb.redis import (
    Cluster,
    CommandError,
    ConsistentHashingRouter,
    HostConnectionError,
    HostListExhausted,
    RoutedCluster,
    create_cluster,
)
from pindb.testing.redis import TestSetup
from tests.redis.tools import Clock, calls_on, forget_calls, keys_of

Create = Callable[..., RoutedCluster]
Make = Callable[..., Cluster]

DEAD = 1


def named(servers: TestSetup) -> dict[int, dict[str, Any]]:
    """The hosts of the servers, whose sockets have other paths each time."""
    return {server: {**servers.host(server), "name": f"ring:{server}"} for server in range(4)}


@pytest.fixture
def cluster(create: Create, servers: TestSetup, clock: Clock) -> RoutedCluster:
    """Four hosts on a ring, of which one is about to die. Its next ones on the ring are several."""
    return create("consistent", named(servers), router_options={"retry_timeout": 5})


def homes_of(cluster: RoutedCluster, number: int) -> list[str]:
    """So many keys of the dead host, and of each of the others."""
    return [key for host_id in cluster for key in keys_of(cluster.router, host_id, number)]


def stand_ins(keys: Sequence[str]) -> list[int]:
    """Where keys are while the host is dead."""
    hosts = [{"port": server + 1, "identifier": f"ring:{server}"} for server in range(4)]
    router = create_cluster({"router": "consistent", "hosts": hosts}).router
    router.mark_connection_down(DEAD)
    return router.get_hosts_for_keys(keys)


def down(cluster: RoutedCluster) -> list[int]:
    return list(cluster.router.down_connections)


# ---- single commands -----------------------------------------------------------------------------


@pytest.mark.parametrize("connected", [True, False])
def test_keys_of_a_dead_host_are_on_the_next_one(
    cluster: RoutedCluster, servers: TestSetup, connected: bool
) -> None:
    if connected:
        cluster.ping()
    keys = homes_of(cluster, 8)
    servers.kill(DEAD)
    for key in keys:
        assert cluster.set(key, key) is True
        assert cluster.incr(f"n:{key}") == 1
    assert down(cluster) == [DEAD]
    assert [cluster.get(key) for key in keys] == [key.encode() for key in keys]
    found = stand_ins(keys)
    assert len(set(found[8:16])) > 1
    assert all(cluster[host_id].exists(key) for key, host_id in zip(keys, found, strict=True))


def test_keys_of_other_hosts_stay(cluster: RoutedCluster, servers: TestSetup) -> None:
    keys = homes_of(cluster, 8)
    home = cluster.router.get_hosts_for_keys(keys)
    cluster.mset(dict.fromkeys(keys, "x"))
    servers.kill(DEAD)
    values = [cluster.get(key) for key in keys]
    assert values == [None if host_id == DEAD else b"x" for host_id in home]


def test_keys_come_home(cluster: RoutedCluster, servers: TestSetup, clock: Clock) -> None:
    (key,) = keys_of(cluster.router, DEAD, 1)
    servers.kill(DEAD)
    cluster.set(key, "meanwhile")
    servers.start(DEAD)
    assert cluster.get(key) == b"meanwhile"
    clock.now += 5
    assert cluster.get(key) is None
    assert down(cluster) == []
    assert cluster.set(key, "at home") is True
    assert cluster[DEAD].get(key) == b"at home"


def test_a_key_is_tried_at_home_now_and_then(
    cluster: RoutedCluster, servers: TestSetup, clock: Clock
) -> None:
    (key,) = keys_of(cluster.router, DEAD, 1)
    servers.kill(DEAD)
    for _ in range(3):
        assert cluster.incr(key) in (1, 2, 3)
        assert cluster.router.down_connections == {DEAD: clock.now + 5}
        clock.now += 5
    assert cluster.incr(key) == 4


def test_get_conn_leads_to_the_host_in_its_place(cluster: RoutedCluster, servers: TestSetup) -> None:
    (key,) = keys_of(cluster.router, DEAD, 1)
    servers.kill(DEAD)
    assert cluster.get_conn(key) is cluster[DEAD]
    cluster.get(key)
    assert cluster.get_conn(key) is cluster[stand_ins([key])[0]]


def test_commands_for_all_hosts_need_all_of_them(cluster: RoutedCluster, servers: TestSetup) -> None:
    servers.kill(DEAD)
    with pytest.raises(HostConnectionError, match="host 1"):
        cluster.ping()


def test_several_dead_hosts_and_then_all(cluster: RoutedCluster, servers: TestSetup) -> None:
    keys = homes_of(cluster, 4)
    for dead in (DEAD, 0, 3):
        servers.kill(dead)
        assert [cluster.exists(key) for key in keys] == [0] * 16
    assert sorted(down(cluster)) == [0, 1, 3]
    assert cluster.mset(dict.fromkeys(keys, "x")) is True
    assert cluster[2].dbsize() == 16
    servers.kill(2)
    with pytest.raises(HostListExhausted, match="All 4 hosts"):
        cluster.get(keys[0])
    with pytest.raises(HostListExhausted):
        cluster.mget(keys)


# ---- maps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("connected", [True, False])
def test_the_commands_of_a_map_go_around_a_dead_host(
    cluster: RoutedCluster, servers: TestSetup, connected: bool
) -> None:
    keys = homes_of(cluster, 8)
    if connected:
        cluster.ping()
    servers.kill(DEAD)
    with cluster.map() as conn:
        stored = [conn.set(key, key) for key in keys]
        counted = [conn.incr(f"n:{key}") for key in keys]
        values = [conn.get(key) for key in keys]
        lengths = [conn.strlen(key) for key in keys]
    assert down(cluster) == [DEAD]
    assert stored == [True] * 32
    assert counted == [1] * 32
    assert values == [key.encode() for key in keys]
    assert lengths == [len(key) for key in keys]
    assert all(cluster[host_id].exists(key) for key, host_id in zip(keys, stand_ins(keys), strict=True))


def test_each_key_s_commands_keep_their_order(cluster: RoutedCluster, servers: TestSetup) -> None:
    keys = keys_of(cluster.router, DEAD, 6)
    servers.kill(DEAD)
    with cluster.map() as conn:
        results = [
            (conn.get(key), conn.set(key, 1), conn.incr(key), conn.get(key), conn.delete(key), conn.get(key))
            for key in keys
        ]
    assert results == [(None, True, 2, b"2", 1, None)] * 6


def test_runs_are_merged_for_the_hosts_in_its_place_too(cluster: RoutedCluster, servers: TestSetup) -> None:
    keys = keys_of(cluster.router, DEAD, 12)
    found = stand_ins(keys)
    others = [host_id for host_id in range(4) if found.count(host_id) > 1]
    assert len(others) > 1
    servers.kill(DEAD)
    cluster.get(keys[0])
    cluster.router.mark_connection_up(DEAD)
    forget_calls(servers)
    with cluster.map() as conn:
        for key in keys:
            conn.set(key, key)
        values = [conn.get(key) for key in keys]
    assert values == [key.encode() for key in keys]
    for server in others:
        assert calls_on(servers, server, "set", "get", "mset", "mget") == [0, 0, 1, 1]


@pytest.mark.parametrize("dead", [True, False])
def test_commands_with_several_keys_are_cut_anew(
    cluster: RoutedCluster, servers: TestSetup, dead: bool
) -> None:
    keys = homes_of(cluster, 5)
    keys = [key for place in range(5) for key in keys[place::5]]
    if dead:
        servers.kill(DEAD)
    with cluster.map() as conn:
        stored = conn.mset({key: f"value of {key}" for key in keys})
        values = conn.mget([*keys, "nothing"])
        found = conn.exists(*keys)
        some = conn.delete(*keys[:7])
        rest = conn.unlink(*keys)
    assert bool(stored)
    assert values == [*(f"value of {key}".encode() for key in keys), None]
    assert (found, some, rest) == (20, 7, 13)
    assert down(cluster) == [DEAD] * dead


def test_single_commands_with_several_keys_are_cut_anew(cluster: RoutedCluster, servers: TestSetup) -> None:
    keys = homes_of(cluster, 5)
    servers.kill(DEAD)
    assert cluster.mset({key: key for key in keys}) is True
    cluster.router.mark_connection_up(DEAD)
    assert cluster.mget(keys) == [key.encode() for key in keys]
    cluster.router.mark_connection_up(DEAD)
    assert cluster.delete(*keys) == 20


def test_keys_come_home_in_a_map(cluster: RoutedCluster, servers: TestSetup, clock: Clock) -> None:
    keys = keys_of(cluster.router, DEAD, 5)
    servers.kill(DEAD)
    with cluster.map() as conn:
        for key in keys:
            conn.set(key, "meanwhile")
    servers.start(DEAD)
    with cluster.map() as conn:
        values = [conn.get(key) for key in keys]
    assert values == [b"meanwhile"] * 5
    clock.now += 5
    with cluster.map() as conn:
        values = [conn.get(key) for key in keys]
    assert values == [None] * 5
    assert down(cluster) == []


def test_when_all_hosts_die_the_commands_of_a_map_fail(cluster: RoutedCluster, servers: TestSetup) -> None:
    keys = homes_of(cluster, 2)
    for server in range(4):
        servers.kill(server)
    for _ in range(2):
        with pytest.raises(CommandError) as caught, cluster.map() as conn:  # noqa: PT012
            values = [conn.get(key) for key in keys]
            together, counted = conn.mget(keys), conn.incr("n")
        assert {type(error) for _, error in caught.value.errors} == {HostListExhausted}
        assert len(caught.value.errors) == 10
        failed: list[Any] = [*values, together, counted]
        assert all(isinstance(result, HostListExhausted) for result in failed)


# ---- the cluster class ---------------------------------------------------------------------------


def test_a_cluster_class_goes_around_dead_hosts_where_it_is_told_to(
    make_cluster: Make, servers: TestSetup, clock: Clock
) -> None:
    cluster = make_cluster(
        named(servers),
        router_cls=ConsistentHashingRouter,
        router_options={"retry_timeout": 5},
        max_connection_retries=2,
    )
    router = cluster.get_router()
    keys = [key for host_id in cluster.hosts for key in keys_of(router, host_id, 4)]
    servers.kill(DEAD)
    client = cluster.get_routing_client(split_multi_key=True)
    assert all(client.set(key, key) for key in keys)
    assert list(router.down_connections) == [DEAD]
    router.mark_connection_up(DEAD)
    assert client.mget(keys) == [key.encode() for key in keys]
    router.mark_connection_up(DEAD)
    with cluster.map() as mapping:
        values, counted = [mapping.get(key) for key in keys], [mapping.append(key, "!") for key in keys]
    assert [promise.value for promise in values] == [key.encode() for key in keys]
    assert [promise.value for promise in counted] == [len(key) + 1 for key in keys]
    assert list(router.down_connections) == [DEAD]
    servers.start(DEAD)
    clock.now += 5
    assert client.get(keys_of(router, DEAD, 1)[0]) is None
    assert router.down_connections == {}


def test_a_cluster_class_that_is_not_told_to_leaves_keys_where_they_are(
    make_cluster: Make, servers: TestSetup
) -> None:
    cluster = make_cluster(named(servers), router_cls=ConsistentHashingRouter)
    (key,) = keys_of(cluster.get_router(), DEAD, 1)
    servers.kill(DEAD)
    client = cluster.get_routing_client()
    for _ in range(2):
        with pytest.raises(HostConnectionError, match="host 1"):
            client.get(key)
        with pytest.raises(HostConnectionError, match="host 1"), cluster.map() as mapping:
            mapping.incr(key)
    assert cluster.get_router().down_connections == {}


def test_partitioned_keys_are_never_anywhere_else(create: Create, servers: TestSetup) -> None:
    cluster = create("partition")
    (key,) = keys_of(cluster.router, DEAD, 1)
    servers.kill(DEAD)
    forget = {0, 2, 3}
    for _ in range(2):
        with pytest.raises(HostConnectionError, match="host 1"):
            cluster.get(key)
        with pytest.raises(CommandError, match="host 1"), cluster.map() as conn:
            conn.set(key, "x")
    assert cluster.router.down_connections == {}
    assert [cluster[host_id].dbsize() for host_id in forget] == [0, 0, 0]
    servers.start(DEAD)
    assert cluster.set(key, "x") is True
