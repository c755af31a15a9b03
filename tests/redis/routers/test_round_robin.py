"""Every command to the next host. What happens while hosts are down is in `tests.redis.down`."""

from __future__ import annotations

import pytest
import redis

from pindb.redis import RoundRobinRouter, RoutedCluster
from pindb.testing.redis import TestSetup
from tests.redis.tools import Create, Make, calls_on, forget_calls
from tests.threads import in_threads


@pytest.fixture
def cluster(create: Create) -> RoutedCluster:
    """Four hosts that take turns."""
    return create("round_robin")


def counts(cluster: RoutedCluster, key: str = "n") -> list[int]:
    """What a counter has come to on each host that runs."""
    found = []
    for host_id in cluster:
        try:
            found.append(int(cluster[host_id].get(key) or 0))
        except redis.ConnectionError:
            found.append(-1)
    return found


# ---- turns ---------------------------------------------------------------------------------------


def test_each_command_goes_to_the_next_host(cluster: RoutedCluster) -> None:
    assert [cluster.incr("n") for _ in range(9)] == [1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert counts(cluster) == [3, 2, 2, 2]


def test_commands_without_a_key_and_with_several_go_to_one_host_too(
    cluster: RoutedCluster, servers: TestSetup
) -> None:
    forget_calls(servers)
    assert cluster.ping() is True
    assert cluster.mset({"a": 1, "b": 2}) is True
    assert cluster.mget("a", "b", "c") == [None] * 3
    assert cluster.dbsize() == 0
    assert cluster.ping() is True
    assert cluster.rename("a", "c") is True
    assert cluster.eval("return redis.call('GET', KEYS[1])", 1, "a") is None
    assert cluster.delete("b", "c") == 0
    assert calls_on(servers, 1, "mset", "rename") == [1, 1]


def test_threads_share_the_turns_evenly(cluster: RoutedCluster) -> None:
    def work(_: int) -> None:
        for _ in range(25):
            cluster.incr("n")
            with cluster.map() as conn:
                conn.incr("m")

    in_threads(8, work)
    assert sum(counts(cluster, "n")) == sum(counts(cluster, "m")) == 200
    turns = [n + m for n, m in zip(counts(cluster, "n"), counts(cluster, "m"), strict=True)]
    assert turns == [100] * 4


def test_the_commands_of_a_map_take_turns(cluster: RoutedCluster) -> None:
    with cluster.map() as conn:
        counted = [conn.incr("n") for _ in range(6)]
        answers = [conn.ping(), conn.dbsize()]
    assert counted == [1, 1, 1, 1, 2, 2]
    assert answers == [True, 1]
    with cluster.map() as conn:
        stored = [conn.set("s", turn) for turn in range(4)]
        values = [conn.get("s") for _ in range(4)]
        together = conn.mget("s", "nothing")
    assert stored == [True] * 4
    assert values == [b"0", b"1", b"2", b"3"]
    assert together == [b"0", None]


def test_a_cluster_class_takes_turns_too(make_cluster: Make) -> None:
    cluster = make_cluster(router_cls=RoundRobinRouter)
    client = cluster.get_routing_client()
    assert [client.incr("n") for _ in range(5)] == [1, 1, 1, 1, 2]
    with cluster.map() as mapping:
        promises = [mapping.incr("n") for _ in range(3)]
    assert [promise.value for promise in promises] == [2, 2, 2]
    assert client.mset({"a": 1, "b": 2}) is True
    assert cluster.get_local_client(0).mget("a", "b") == [b"1", b"2"]


def test_runs_of_a_cluster_class_s_map_take_turns(make_cluster: Make) -> None:
    cluster = make_cluster(router_cls=RoundRobinRouter)
    with cluster.map() as mapping:
        for turn in range(8):
            mapping.set("k", turn)
        values = [mapping.get("k") for _ in range(8)]
    assert [promise.value for promise in values] == [b"4", b"5", b"6", b"7"] * 2
