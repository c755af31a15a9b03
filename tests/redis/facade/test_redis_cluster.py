"""Clusters of settings whose engine is a Redis Cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pindb.redis import ClusterConfigError, CommandError, RoutedCluster, create_cluster
from pindb.testing.redis import RedisClusterSetup
from tests.redis.tools import created

Make = Callable[..., RoutedCluster]


@pytest.fixture
def make(nodes: RedisClusterSetup) -> Iterator[Make]:
    with created(nodes.start_up_nodes, engine="redis-cluster") as make:
        yield make


def test_maps_and_single_calls(make: Make, prefix: str) -> None:
    cluster, keys = make(), [f"{prefix}:{number}" for number in range(60)]
    with cluster.map() as conn:
        stored = [conn.set(key, place) for place, key in enumerate(keys)]
        counted = [conn.incr(key) for key in keys]
        together = conn.mget(keys)
    assert stored == [True] * 60
    assert counted == list(range(1, 61))
    assert together == [str(number).encode() for number in range(1, 61)]
    assert cluster.get(keys[7]) == b"8"
    assert cluster.mget(keys[:3]) == [b"1", b"2", b"3"]
    assert cluster.delete(*keys) == 60


def test_commands_without_a_key_return_a_list(make: Make, prefix: str) -> None:
    cluster = make()
    before = cluster.dbsize()
    assert len(before) == len(cluster) == 3
    for number in range(60):
        cluster.set(f"{prefix}:{number}", 1)
    assert sum(cluster.dbsize()) == sum(before) + 60
    assert cluster.ping() == [True] * 3


def test_errors_are_raised_together(make: Make, prefix: str) -> None:
    cluster = make()
    cluster.rpush(f"{prefix}list", 1)
    conn = cluster.map()
    conn.incr(f"{prefix}list")
    conn.set(prefix, 1)
    with pytest.raises(CommandError, match=f"INCRBY '{prefix}list'"):
        conn.join()
    assert cluster.get(prefix) == b"1"


def test_the_nodes_as_a_dict_as_urls_and_by_name(nodes: RedisClusterSetup, prefix: str) -> None:
    node = nodes.start_up_nodes[0]
    url = f"redis://{node['host']}:{node['port']}"
    for hosts in ({0: node}, [url], {7: {"url": url}}):
        cluster = create_cluster({"engine": "redis-cluster", "hosts": hosts, "router": "slots"})
        assert cluster.set(prefix, 1) is True
        cluster.disconnect()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"router": "partition"}, "PartitionRouter, but the nodes of a Redis Cluster decide"),
        ({"read_from": "slave"}, "read_from is 'slave'"),
        ({"wait_timeout": -1}, "wait_timeout is -1"),
        ({"address_remap": 5}, "address_remap is 5"),
        ({"hosts": [{"db": 2}]}, "db 2"),
        ({"hosts": []}, "has no hosts"),
        ({"hosts": [{"prot": 2}]}, "prot"),
        ({"hosts": [{"port": 1, "name": "x", "retry": True}]}, "retry"),
        ({"redo": 5}, "redo"),
        ({"router_options": {"hash": 5}}, "hash"),
    ],
)
def test_invalid_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterConfigError, match=message):
        create_cluster({"engine": "redis-cluster", "hosts": [{"port": 6379}], **settings})


def test_reads_from_replicas(nodes: RedisClusterSetup, make: Make, prefix: str) -> None:
    cluster = make(read_from="replica")
    cluster.set(prefix, 1)
    nodes.wait_until_caught_up()
    assert cluster.get(prefix) == b"1"
    with cluster.map() as conn:
        value = conn.get(prefix)
    assert value == b"1"
