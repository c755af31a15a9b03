"""Reads from the replicas of a Redis Cluster: who serves them, and what a replica that fails costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from pindb.hashing import slot
from pindb.redis import Cluster
from pindb.testing.processes import wait_for
from pindb.testing.redis import RedisClusterSetup

Make = Callable[..., Cluster]


@pytest.fixture
def keys(nodes: RedisClusterSetup, prefix: str) -> list[str]:
    """Keys on all masters, which all replicas have."""
    keys = [f"{prefix}:{number}" for number in range(60)]
    for key in keys:
        with nodes.client(nodes.owner(key)) as client:
            client.set(key, f"value of {key}")
    nodes.wait_until_caught_up()
    return keys


@pytest.fixture
def mended(nodes: RedisClusterSetup) -> Iterator[None]:
    """Let all servers run in the end."""
    yield
    for server in nodes.nodes:
        nodes.resume(server)
        if not nodes.is_running(server):
            nodes.start(server)
    nodes.wait_until_ok()


def calls(nodes: RedisClusterSetup, command: str, servers: list[int]) -> int:
    """How often a command ran on some servers."""
    number = 0
    for server in servers:
        with nodes.client(server) as client:
            number += client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]
    return number


def check_reads(cluster: Cluster, keys: list[str]) -> None:
    """Read all keys, in each way."""
    expected = [f"value of {key}".encode() for key in keys]
    with cluster.map() as batch:
        promises = [batch.get(key) for key in keys]
        lengths = [batch.strlen(key) for key in keys]
        together = batch.mget(keys)
    assert [promise.value for promise in promises] == together.value == expected
    assert [promise.value for promise in lengths] == list(map(len, expected))
    client = cluster.get_routing_client()
    assert [client.get(key) for key in keys] == expected


def test_replicas_serve_reads_and_masters_writes(
    nodes: RedisClusterSetup, make_slots: Make, keys: list[str]
) -> None:
    cluster = make_slots(read_from="replica")
    masters, replicas = nodes.masters, nodes.replicas
    before = calls(nodes, "get", masters), calls(nodes, "strlen", masters), calls(nodes, "get", replicas)
    check_reads(cluster, keys)
    assert (calls(nodes, "get", masters), calls(nodes, "strlen", masters)) == before[:2]
    assert calls(nodes, "get", replicas) == before[2] + 180
    with cluster.map() as batch:
        counted = [batch.incr(f"{key}:n") for key in keys]
        stored = batch.mset(dict.fromkeys(keys, 2))
    assert [promise.value for promise in counted] == [1] * 60
    assert stored.value is True
    assert cluster.get_routing_client().append(keys[0], "x") == 2
    # What the cluster calls hosts are the masters.
    assert len(cluster.hosts) == 3


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_nearest_nodes_serve_reads(make_slots: Make, keys: list[str], protocol: int) -> None:
    cluster = make_slots(read_from="nearest", pool_options={"protocol": protocol})
    for _ in range(3):
        check_reads(cluster, keys)


def test_a_replica_that_is_killed_costs_no_error_and_comes_back(
    nodes: RedisClusterSetup, make_slots: Make, keys: list[str], mended: None
) -> None:
    cluster = make_slots(read_from="replica", retry_timeout=0.2)
    check_reads(cluster, keys)
    replica = nodes.replicas[0]
    nodes.kill(replica)
    for _ in range(3):
        check_reads(cluster, keys)
    nodes.start(replica)
    nodes.wait_until_ok()
    nodes.wait_until_caught_up()
    before = calls(nodes, "get", [replica])

    def serves() -> bool:
        check_reads(cluster, keys)
        return calls(nodes, "get", [replica]) > before

    wait_for(serves, "the replica to serve reads", 10)


def test_a_replica_that_is_paused_costs_no_request(
    nodes: RedisClusterSetup, make_slots: Make, keys: list[str], mended: None
) -> None:
    cluster = make_slots(read_from="replica", pool_options={"socket_timeout": 0.3})
    check_reads(cluster, keys)
    paused = nodes.replicas[0]
    nodes.pause(paused)
    worst, errors = 0.0, []
    end = time.monotonic() + 5
    while time.monotonic() < end:
        begun = time.monotonic()
        try:
            with cluster.map() as batch:
                for key in keys:
                    batch.get(key)
        except redis.RedisError as error:
            errors.append(error)
        worst = max(worst, time.monotonic() - begun)
    assert len(errors) <= 1
    # Once the timeout of a reply; learning who is there costs no caller more.
    assert worst < 0.8


def test_a_replica_that_hangs_is_asked_seldom_whether_it_is_back() -> None:
    # For as long as the other nodes take it for well.
    with RedisClusterSetup(masters=1, replicas=1, node_timeout=30) as nodes:
        cluster = Cluster.from_redis_cluster(nodes.start_up_nodes, read_from="replica")
        client = cluster.get_routing_client()
        nodes.pause(nodes.replicas[0])
        begun, waits = time.monotonic(), []
        while time.monotonic() < begun + 5:
            before = time.monotonic()
            assert client.get("key") is None
            waits.append(time.monotonic() - before)
        assert sum(wait > 0.5 for wait in waits) == 1
        nodes.resume(nodes.replicas[0])
        cluster.disconnect_pools()


def test_a_replica_that_lost_its_master_is_not_read(
    nodes: RedisClusterSetup, make_slots: Make, keys: list[str], mended: None
) -> None:
    replica = nodes.replicas[0]
    with nodes.client(replica) as client:
        # It cannot log in at its master any more.
        before = client.config_get("masteruser"), client.config_get("masterauth")
        client.config_set("masterauth", "wrong")
        client.config_set("masteruser", "nobody")
        master = client.execute_command("ROLE")
        with nodes.client(next(m for m in nodes.masters if nodes.nodes[m]["port"] == master[2])) as other:
            other.client_kill_filter(_type="replica")
        try:
            wait_for(
                lambda: client.info("replication")["master_link_status"] == "down", "the link to be lost", 5
            )
            cluster = make_slots(read_from="replica")
            gets = calls(nodes, "get", [replica])
            check_reads(cluster, keys)
            assert calls(nodes, "get", [replica]) == gets
        finally:
            client.config_set("masteruser", before[0]["masteruser"])
            client.config_set("masterauth", before[1]["masterauth"])
            wait_for(lambda: client.info("replication")["master_link_status"] == "up", "the link", 20)


def test_reads_go_on_while_a_replica_becomes_the_master(
    nodes: RedisClusterSetup, make_slots: Make, keys: list[str]
) -> None:
    cluster, done, errors = make_slots(read_from="replica"), threading.Event(), []

    def work() -> None:
        while not done.is_set():
            try:
                check_reads(cluster, keys)
            except (redis.RedisError, AssertionError) as error:
                errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        nodes.fail_over(nodes.owner(keys[0]))
    finally:
        done.set()
        thread.join()
    assert errors == []
    nodes.wait_until_caught_up()
    check_reads(cluster, keys)


def test_reads_follow_slots_that_have_moved(
    nodes: RedisClusterSetup, make_slots: Make, keys: list[str]
) -> None:
    cluster = make_slots(read_from="replica")
    check_reads(cluster, keys)
    target = next(master for master in nodes.masters if master != nodes.owner(keys[0]))
    nodes.move_slots(slot(keys[0]), to=target)
    nodes.wait_until_caught_up()
    check_reads(cluster, keys)


def test_a_fan_out_and_the_local_client_use_masters(
    nodes: RedisClusterSetup, make_slots: Make, keys: list[str]
) -> None:
    cluster = make_slots(read_from="replica")
    assert cluster.get_local_client_for_key(keys[0]).role()[0] == b"master"
    with cluster.all() as client:
        roles = client.role()
    assert [role[0] for role in roles.value.values()] == [b"master"] * 3
    assert sorted(cluster.get_routing_client().keys(f"{keys[0].partition(':')[0]}:*")) == sorted(
        key.encode() for key in keys
    )
