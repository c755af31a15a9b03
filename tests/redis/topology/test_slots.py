"""How the nodes of a Redis Cluster are found, and how often they are asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pindb.hashing import slot
from pindb.redis import BadHostSetup, Cluster, ClusterConfigError, HostConnectionError, UnroutableCommand
from pindb.testing.processes import free_port
from pindb.testing.redis import RedisClusterSetup, TestSetup

Make = Callable[..., Cluster]


def asked(nodes: RedisClusterSetup) -> int:
    """How often the nodes were asked for their slots."""
    stats = [nodes.client(server).info("commandstats") for server in nodes.nodes]
    names = ("cmdstat_cluster|shards", "cmdstat_cluster|slots", "cmdstat_cluster")
    return sum(stat[name]["calls"] for stat in stats for name in names if name in stat)


def test_nothing_is_asked_before_the_first_command(nodes: RedisClusterSetup, make_slots: Make) -> None:
    before = asked(nodes)
    cluster = make_slots()
    cluster.get_routing_client()
    assert asked(nodes) == before
    cluster.get_routing_client().get("key")
    assert asked(nodes) == before + 1


def test_one_start_up_node_that_answers_is_enough(nodes: RedisClusterSetup, prefix: str) -> None:
    dead = {"host": "127.0.0.1", "port": free_port()}
    cluster = Cluster.from_redis_cluster([dead, nodes.start_up_nodes[-1], dead])
    client = cluster.get_routing_client()
    assert client.set(prefix, 1) is True
    assert sorted(host.port for host in cluster.hosts.values()) == sorted(
        nodes.nodes[master]["port"] for master in nodes.masters
    )
    cluster.disconnect_pools()


def test_hosts_are_the_masters(nodes: RedisClusterSetup, slots: Cluster) -> None:
    assert {host.port for host in slots.hosts.values()} == {
        nodes.nodes[master]["port"] for master in nodes.masters
    }
    with slots.all() as client:
        answers = client.execute_command("ROLE")
    assert [role[0] for role in answers.value.values()] == [b"master"] * 3
    shares = slots.get_router().get_shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == set(slots.hosts)


def test_hosts_are_in_the_same_order_whichever_node_is_asked(
    nodes: RedisClusterSetup, make_slots: Make
) -> None:
    for server in nodes.nodes:
        cluster = Cluster.from_redis_cluster([nodes.host(server)])
        assert list(cluster.hosts) == sorted(cluster.hosts)
        with cluster.all() as client:
            pongs = client.ping()
        assert list(pongs.value) == sorted(cluster.hosts)
        cluster.disconnect_pools()


def test_no_node_that_answers_is_an_error_that_names_the_last_one() -> None:
    port = free_port()
    cluster = Cluster.from_redis_cluster([f"redis://user:secret@127.0.0.1:{port}"])
    with pytest.raises(HostConnectionError, match=f"host 0 .127.0.0.1:{port}/0.: ") as caught:
        cluster.get_routing_client().get("key")
    assert "secret" not in str(caught.value)


def test_servers_that_are_no_nodes_are_refused(servers: TestSetup) -> None:
    with TestSetup(servers=1, databases_each=1, tcp=True) as plain:
        cluster = Cluster.from_redis_cluster([plain.host(0)])
        with pytest.raises(ClusterConfigError, match="is no node of a Redis Cluster"):
            cluster.get_routing_client().get("key")
        cluster.disconnect_pools()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"startup_nodes": []}, "at least one node"),
        ({"startup_nodes": [{"db": 3}]}, "db"),
        ({"startup_nodes": [{"unix_socket_path": "/tmp/x"}]}, "unix_socket_path"),
        ({"startup_nodes": [{"prot": 3}]}, "unknown options: prot"),
        ({"startup_nodes": ["http://a"]}, "invalid URL"),
        ({"startup_nodes": "redis://a"}, "startup_nodes is"),
        ({"read_from": "slave"}, "read_from is 'slave'. Write one of: 'master', 'replica', 'nearest'"),
        ({"wait_timeout": -1}, "wait_timeout is -1"),
        ({"address_remap": 3}, "address_remap is 3"),
        ({"router_cls": object}, "has router_cls, but the nodes decide themselves where keys are"),
    ],
)
def test_invalid_options_are_errors_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterConfigError, match=message):
        Cluster.from_redis_cluster(**{"startup_nodes": [{"port": 6379}], **options})


def test_nodes_come_and_go_by_themselves(slots: Cluster) -> None:
    with pytest.raises(ClusterConfigError, match="come and go by themselves"):
        slots.add_host(7, "127.0.0.1")
    with pytest.raises(ClusterConfigError, match="come and go by themselves"):
        slots.remove_host(0)


def test_the_router_for_hash_slots_needs_a_redis_cluster(make_cluster: Make) -> None:
    from pindb.redis.routers.slots import SlotRouter

    with pytest.raises(BadHostSetup, match="from_redis_cluster"):
        make_cluster(router_cls=SlotRouter).get_router()


def test_slots_that_have_moved_are_learned_once_for_all_threads(
    nodes: RedisClusterSetup, slots: Cluster, prefix: str
) -> None:
    client = slots.get_routing_client()
    keys = [f"{prefix}{number}" for number in range(200)]
    for key in keys:
        client.set(key, 1)
    target = next(master for master in nodes.masters if master != nodes.owner(keys[0]))
    nodes.move_slots({slot(key) for key in keys}, to=target)
    before, start = asked(nodes), threading.Barrier(8)

    def read(_: int) -> None:
        start.wait()
        assert [client.get(key) for key in keys] == [b"1"] * len(keys)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    assert asked(nodes) - before <= 3
    assert set(slots.get_router().group_keys(keys)) == {slots.get_router().get_host_for_key(keys[0])}


def test_a_node_that_hangs_delays_nobody_who_learns_the_slots(nodes: RedisClusterSetup, prefix: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = {"host": "127.0.0.1", "port": silent.getsockname()[1]}
        cluster = Cluster.from_redis_cluster([hanging, nodes.start_up_nodes[0]])
        assert cluster.get_routing_client().set(prefix, 1) is True
        cluster.disconnect_pools()


def remaps(nodes: RedisClusterSetup) -> list[Any]:
    ports = {node["port"] for node in nodes.nodes.values()}
    table = {("127.0.0.1", port): ("localhost", port) for port in ports}
    return [table, lambda address: table[address]]


@pytest.mark.parametrize("kind", ["dict", "function"])
def test_announced_addresses_are_replaced_by_reachable_ones(
    nodes: RedisClusterSetup, make_slots: Make, prefix: str, kind: str
) -> None:
    remap = remaps(nodes)[kind == "function"]
    cluster = make_slots(address_remap=remap)
    client = cluster.get_routing_client()
    client.set(prefix, 1)
    assert {host.host for host in cluster.hosts.values()} == {"localhost"}
    nodes.move_slots(slot(prefix), to=next(m for m in nodes.masters if m != nodes.owner(prefix)))
    assert client.get(prefix) == b"1"
    assert {host.host for host in cluster.hosts.values()} == {"localhost"}


def test_keys_in_several_slots_are_refused_with_a_hint(slots: Cluster) -> None:
    client = slots.get_routing_client()
    with pytest.raises(
        UnroutableCommand, match=r"SINTER has 2 keys in 2 hash slots \(\d+, \d+\).*\{hash tag\}"
    ):
        client.sinter("a", "b")
    assert client.sinter("{x}a", "{x}b") == set()


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols(make_slots: Make, prefix: str, protocol: int) -> None:
    cluster = make_slots(pool_options={"protocol": protocol, "decode_responses": True})
    keys = [f"{prefix}{number}" for number in range(50)]
    with cluster.map() as client:
        client.mset(dict.fromkeys(keys, "ü"))
        values = client.mget(keys)
    assert values.value == ["ü"] * 50
    assert sorted(cluster.get_routing_client().keys(f"{prefix}*")) == sorted(keys)


@pytest.mark.parametrize(
    "options", [{"tls": True}, {"password": "secret"}, {"username": "user", "password": "secret"}]
)
def test_tls_and_users(options: dict[str, Any]) -> None:
    with RedisClusterSetup(masters=2, replicas=0, **options) as nodes:
        cluster = Cluster.from_redis_cluster(nodes.start_up_nodes[:1])
        with cluster.map() as client:
            promises = [client.set(f"key:{number}", number) for number in range(50)]
        assert {promise.value for promise in promises} == {True}
        assert cluster.get_routing_client().dbsize() == 50
        cluster.disconnect_pools()
