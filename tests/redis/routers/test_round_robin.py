"""Every command to the next host, and around those that refuse connections."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

from pindb.redis import (
    Cluster,
    CommandError,
    HostConnectionError,
    HostListExhausted,
    RoundRobinRouter,
    RoutedCluster,
)
from pindb.testing.redis import TestSetup
from tests.redis.tools import Clock, calls_on, forget_calls

Create = Callable[..., RoutedCluster]
Make = Callable[..., Cluster]


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


def down(cluster: RoutedCluster) -> list[int]:
    return list(cluster.router.down_connections)


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
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(25):
            cluster.incr("n")
            with cluster.map() as conn:
                conn.incr("m")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
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


# ---- around dead hosts ---------------------------------------------------------------------------


@pytest.mark.parametrize("connected", [True, False])
def test_a_host_that_refuses_is_passed_over(
    cluster: RoutedCluster, servers: TestSetup, clock: Clock, connected: bool
) -> None:
    if connected:
        assert [cluster.ping() for _ in range(4)] == [True] * 4
    servers.kill(1)
    for _ in range(12):
        cluster.incr("n")
    assert down(cluster) == [1]
    assert counts(cluster) == [4, -1, 4, 4]


@pytest.mark.parametrize("connected", [True, False])
def test_a_map_passes_a_host_over_that_refuses(
    cluster: RoutedCluster, servers: TestSetup, clock: Clock, connected: bool
) -> None:
    if connected:
        assert [cluster.ping() for _ in range(4)] == [True] * 4
    servers.kill(1)
    with cluster.map() as conn:
        counted = [conn.incr("n") for _ in range(12)]
        values = [conn.get("n") for _ in range(4)]
        conn.mset({"a": 1, "b": 2})
    assert down(cluster) == [1]
    # The three that were for the dead host went to the others, after what those had.
    assert Counter(map(int, counted)) == Counter([1, 2, 3, 4] * 3)
    assert {int(value) for value in values} <= {3, 4}
    assert counts(cluster) == [4, -1, 4, 4]
    with cluster.map() as conn:
        counted = [conn.incr("n") for _ in range(3)]
    assert counted == [5, 5, 5]


def test_a_host_that_came_back_is_used_when_its_time_has_come(
    create: Create, servers: TestSetup, clock: Clock
) -> None:
    cluster = create("round_robin", router_options={"retry_timeout": 5})
    servers.kill(2)
    for _ in range(4):
        cluster.incr("n")
    servers.start(2)
    for _ in range(3):
        cluster.incr("n")
    assert down(cluster) == [2]
    assert cluster[2].get("n") is None
    clock.now += 5
    for _ in range(4):
        cluster.incr("n")
    assert down(cluster) == []
    assert cluster[2].get("n") == b"1"


def test_a_host_that_is_still_dead_is_down_for_another_time(
    create: Create, servers: TestSetup, clock: Clock
) -> None:
    cluster = create("round_robin", router_options={"retry_timeout": 5})
    servers.kill(2)
    for _ in range(4):
        cluster.incr("n")
    clock.now += 5
    for _ in range(4):
        cluster.incr("n")
    assert cluster.router.down_connections == {2: clock.now + 5}
    assert sum(counts(cluster)) == 8 - 1


def test_a_host_that_answers_in_a_map_is_up(create: Create, servers: TestSetup, clock: Clock) -> None:
    cluster = create("round_robin", router_options={"retry_timeout": 5})
    servers.kill(3)
    with cluster.map() as conn:
        for _ in range(4):
            conn.incr("n")
    assert down(cluster) == [3]
    servers.start(3)
    clock.now += 5
    with cluster.map() as conn:
        for _ in range(4):
            conn.incr("n")
    assert down(cluster) == []
    assert cluster[3].get("n") == b"1"


def test_one_cluster_s_dead_hosts_are_not_another_s(create: Create, servers: TestSetup) -> None:
    one, other = create("round_robin"), create("round_robin")
    one.router.mark_connection_down(1)
    assert down(other) == []


# ---- all dead ------------------------------------------------------------------------------------


def test_when_all_hosts_are_down_commands_fail_at_once(
    cluster: RoutedCluster, servers: TestSetup, clock: Clock
) -> None:
    for server in range(4):
        servers.kill(server)
    for _ in range(2):
        with pytest.raises(HostListExhausted, match="All 4 hosts refused connections"):
            cluster.incr("n")
    with pytest.raises(HostListExhausted):
        cluster.get_conn("n")
    assert down(cluster) == [0, 1, 2, 3]
    for server in range(4):
        servers.start(server)
    with pytest.raises(HostListExhausted):
        cluster.incr("n")
    cluster.router.flush_down_connections()  # type: ignore[attr-defined]
    assert cluster.incr("n") == 1


def test_when_all_hosts_die_the_commands_of_a_map_fail(
    cluster: RoutedCluster, servers: TestSetup, clock: Clock
) -> None:
    for server in range(4):
        servers.kill(server)
    results: list[Any] = []
    # The first map finds it out, the second one knows.
    for _ in range(2):
        with pytest.raises(CommandError) as caught, cluster.map() as conn:
            results = [conn.incr("n"), conn.get("k"), conn.mget("a", "b"), conn.ping()]
        assert [call.name for call, _ in caught.value.errors] == ["INCRBY", "GET", "MGET", "PING"]
        assert {type(error) for _, error in caught.value.errors} == {HostListExhausted}
        assert all(isinstance(result, HostListExhausted) for result in results)
    with cluster.map(fail_silently=True) as conn:
        failed = conn.incr("n")
    assert isinstance(failed, HostListExhausted)


def test_a_cluster_class_goes_around_dead_hosts_where_it_is_told_to(
    make_cluster: Make, servers: TestSetup, clock: Clock
) -> None:
    cluster = make_cluster(router_cls=RoundRobinRouter, max_connection_retries=3)
    servers.kill(1)
    client = cluster.get_routing_client()
    for _ in range(6):
        client.incr("n")
    assert list(cluster.get_router().down_connections) == [1]
    with cluster.map() as mapping:
        promises = [mapping.incr("n") for _ in range(3)]
        values = [mapping.get("n") for _ in range(3)]
    assert [promise.value for promise in promises] == [3, 3, 3]
    assert [promise.value for promise in values] == [b"3"] * 3
    for server in (0, 2, 3):
        servers.kill(server)
    with pytest.raises(HostListExhausted):
        client.incr("n")
    with pytest.raises(HostListExhausted), cluster.map() as mapping:
        mapping.get("n")


def test_a_cluster_class_that_is_not_told_to_marks_nothing(make_cluster: Make, servers: TestSetup) -> None:
    cluster = make_cluster(router_cls=RoundRobinRouter)
    servers.kill(0)
    client = cluster.get_routing_client()
    with pytest.raises(HostConnectionError, match="host 0"):
        client.incr("n")
    assert [client.incr("n") for _ in range(3)] == [1] * 3
    with pytest.raises(HostConnectionError, match="host 0"), cluster.map() as mapping:
        mapping.incr("n")
    assert cluster.get_router().down_connections == {}
