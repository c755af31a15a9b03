"""Commands that the nodes of a Redis Cluster send elsewhere while slots move and masters change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from pindb.hashing import slot
from pindb.redis import Cluster
from pindb.testing.redis import RedisClusterSetup

Send = Callable[[Cluster, Sequence[tuple[object, ...]]], list[object]]


def one_by_one(cluster: Cluster, commands: Sequence[tuple[object, ...]]) -> list[object]:
    client = cluster.get_routing_client()
    return [client.execute_command(*words) for words in commands]


def in_a_map(cluster: Cluster, commands: Sequence[tuple[object, ...]]) -> list[object]:
    with cluster.map() as client:
        promises = [client.execute_command(*words) for words in commands]
    return [promise.value for promise in promises]


def by_routing_key(cluster: Cluster, commands: Sequence[tuple[object, ...]]) -> list[object]:
    (promises,) = cluster.execute_commands({commands[0][1]: commands}).values()
    return [promise.value for promise in promises]


sends = pytest.mark.parametrize("send", [one_by_one, in_a_map, by_routing_key])


def others(nodes: RedisClusterSetup, key: str) -> int:
    """A master that does not have a key."""
    return next(master for master in nodes.masters if master != nodes.owner(key))


@sends
def test_commands_follow_slots_that_have_moved(
    nodes: RedisClusterSetup, slots: Cluster, send: Send, prefix: str
) -> None:
    keys = [f"{{{prefix}}}{number}" for number in range(20)]
    send(slots, [("SET", key, 1) for key in keys])
    nodes.move_slots(slot(prefix), to=others(nodes, prefix))
    assert send(slots, [("INCR", key) for key in keys]) == [2] * 20
    assert send(slots, [("GET", key) for key in keys]) == [b"2"] * 20


@sends
def test_commands_follow_keys_of_a_slot_that_is_being_moved(
    nodes: RedisClusterSetup, slots: Cluster, send: Send, prefix: str
) -> None:
    keys = [f"{{{prefix}}}{number}" for number in range(20)]
    send(slots, [("SET", key, 1) for key in keys])
    with nodes.moving(prefix, to=others(nodes, prefix)) as move:
        move.migrate(*keys[:10])
        commands = (
            [("INCR", key) for key in keys]
            + [("GET", key) for key in keys]
            + [("SET", f"{{{prefix}}}new", 7)]
        )
        assert send(slots, commands) == [2] * 20 + [b"2"] * 20 + [True]
        assert send(slots, [("GET", f"{{{prefix}}}new")]) == [b"7"]
    assert send(slots, [("INCR", key) for key in keys]) == [3] * 20


def test_runs_of_gets_and_sets_keep_the_order_of_each_key(
    nodes: RedisClusterSetup, slots: Cluster, prefix: str
) -> None:
    keys = [f"{{{prefix}}}{number}" for number in range(50)]
    with nodes.moving(prefix, to=others(nodes, prefix)) as move:
        for value in range(3):
            with slots.map() as client:
                for key in keys:
                    client.set(key, value)
                values = [client.get(key) for key in keys]
                for key in keys:
                    client.set(key, f"later {value}")
                later = [client.get(key) for key in keys]
            assert [promise.value for promise in values] == [str(value).encode()] * 50
            assert [promise.value for promise in later] == [f"later {value}".encode()] * 50
            move.keys(20)


def test_a_command_waits_while_some_of_its_keys_are_elsewhere(
    nodes: RedisClusterSetup, slots: Cluster, prefix: str
) -> None:
    client, keys = slots.get_routing_client(), [f"{{{prefix}}}a", f"{{{prefix}}}b"]
    client.mset(dict.fromkeys(keys, 1))
    with nodes.moving(prefix, to=others(nodes, prefix)) as move:
        move.migrate(keys[0])
        later = threading.Timer(0.1, move.migrate, [keys[1]])
        later.start()
        assert client.mget(keys) == [b"1", b"1"]
        later.join()


def test_a_command_waits_no_longer_than_the_cluster_is_told_to(
    nodes: RedisClusterSetup, make_slots: Callable[..., Cluster], prefix: str
) -> None:
    cluster, keys = make_slots(wait_timeout=0.05), [f"{{{prefix}}}a", f"{{{prefix}}}b"]
    client = cluster.get_routing_client()
    client.mset(dict.fromkeys(keys, 1))
    with nodes.moving(prefix, to=others(nodes, prefix)) as move:
        move.migrate(keys[0])
        with pytest.raises(redis.exceptions.TryAgainError, match=r"MGET .* on host"):
            client.mget(keys)


def test_a_planned_failover_costs_no_error(nodes: RedisClusterSetup, slots: Cluster, prefix: str) -> None:
    client, errors, done, counts = slots.get_routing_client(), [], threading.Event(), [0, 0]

    def work() -> None:
        while not done.is_set():
            try:
                with slots.map() as batch:
                    for number in range(50):
                        batch.incr(f"{prefix}:{number}")
                counts[0] += 1
                client.incr(f"{prefix}:single")
                counts[1] += 1
            except redis.RedisError as error:
                errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        nodes.fail_over(nodes.owner(f"{prefix}:single"))
    finally:
        done.set()
        thread.join()
    assert errors == []
    with slots.map() as batch:
        values = [batch.get(f"{prefix}:{number}") for number in range(50)]
    assert {promise.value for promise in values} == {str(counts[0]).encode()}
    assert client.get(f"{prefix}:single") == str(counts[1]).encode()


def test_a_killed_master_is_replaced_by_its_replica(
    nodes: RedisClusterSetup, slots: Cluster, prefix: str
) -> None:
    client = slots.get_routing_client()
    client.set(prefix, 1)
    master = nodes.owner(prefix)
    assert slots.get_local_client_for_key(prefix).wait(1, 5000) == 1
    nodes.kill(master)
    try:
        with pytest.raises(redis.RedisError):
            client.get(prefix)
        nodes.wait_for_new_master(master)
        assert client.get(prefix) == b"1"
        with slots.map() as batch:
            value = batch.get(prefix)
        assert value.value == b"1"
    finally:
        nodes.start(master)
        nodes.wait_until_ok()


def test_a_planned_failover_to_a_node_that_was_down_costs_no_error(
    nodes: RedisClusterSetup, make_slots: Callable[..., Cluster], prefix: str
) -> None:
    cluster = make_slots(retry_timeout=60)
    client, master = cluster.get_routing_client(), nodes.owner(prefix)
    client.set(prefix, 1)
    nodes.wait_until_caught_up()
    nodes.kill(master)
    with pytest.raises(redis.RedisError):
        client.get(prefix)
    with pytest.raises(redis.RedisError):
        client.get(prefix)
    nodes.wait_for_new_master(master)
    assert client.incr(prefix) == 2
    nodes.start(master)
    nodes.wait_until_ok()
    nodes.fail_over(master)
    assert client.incr(prefix) == 3
    with cluster.map() as batch:
        value = batch.get(prefix)
    assert value.value == b"3"


@pytest.mark.parametrize("how", ["restarted", "resumed"])
def test_a_master_that_is_back_is_used_at_once(
    nodes: RedisClusterSetup, make_slots: Callable[..., Cluster], prefix: str, how: str
) -> None:
    cluster = make_slots(retry_timeout=60, pool_options={"socket_timeout": 0.2})
    client, master = cluster.get_routing_client(), nodes.owner(prefix)
    client.set(prefix, 1)
    (nodes.stop if how == "restarted" else nodes.pause)(master)
    try:
        for _ in range(2):
            with pytest.raises(redis.RedisError):
                client.get(prefix)
    finally:
        (nodes.start if how == "restarted" else nodes.resume)(master)
        nodes.wait_until_ok()
    limit = time.monotonic() + 1
    while True:
        try:
            client.get(prefix)
            break
        except redis.RedisError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.01)


def test_a_node_that_hangs_costs_no_caller_a_second_timeout(
    nodes: RedisClusterSetup, make_slots: Callable[..., Cluster], prefix: str
) -> None:
    cluster = make_slots(retry_timeout=0.3, pool_options={"socket_timeout": 0.3})
    client, master = cluster.get_routing_client(), nodes.owner(prefix)
    client.set(prefix, 1)
    nodes.pause(master)
    try:
        times = []
        # Shorter than until the other nodes find out.
        end = time.monotonic() + 0.9
        while time.monotonic() < end:
            begun = time.monotonic()
            with pytest.raises(redis.RedisError):
                client.get(prefix)
            times.append(time.monotonic() - begun)
            time.sleep(0.01)
    finally:
        nodes.resume(master)
        nodes.wait_until_ok()
    assert len([seconds for seconds in times if seconds > 0.2]) == 1


@pytest.mark.parametrize("read_from", ["replica", "nearest"])
def test_a_replica_that_hangs_takes_nothing_from_reads_of_other_shards(
    nodes: RedisClusterSetup, make_slots: Callable[..., Cluster], prefix: str, read_from: str
) -> None:
    client, replica = make_slots(read_from=read_from).get_routing_client(), nodes.replicas[0]
    # Of three masters and three replicas: server 3 is in the shard of server 0, and so on.
    keys = (f"{prefix}:{number}" for number in range(100))
    key = next(key for key in keys if (nodes.owner(key) - replica) % 3)
    client.get(key)
    # The state of replicas is due to be learned again, and no node knows yet that the replica hangs.
    time.sleep(2.5)
    nodes.pause(replica)
    try:
        times = []
        end = time.monotonic() + 0.9
        while time.monotonic() < end:
            begun = time.monotonic()
            client.get(key)
            times.append(time.monotonic() - begun)
    finally:
        nodes.resume(replica)
        nodes.wait_until_ok()
    assert max(times) < 0.5


def test_commands_for_named_hosts_stay_there(nodes: RedisClusterSetup, slots: Cluster, prefix: str) -> None:
    owner = slots.get_router().get_host_for_key(prefix)
    other = next(host_id for host_id in slots.hosts if host_id != owner)
    with pytest.raises(redis.ResponseError, match="MOVED"), slots.fanout([other]) as client:
        client.get(prefix)


def test_packed_values_stay_undecoded_where_a_slot_is_being_moved(
    nodes: RedisClusterSetup, make_slots: Callable[..., Cluster], prefix: str
) -> None:
    cluster = make_slots(pool_options={"decode_responses": True})
    client, key = cluster.get_routing_client(), f"{{{prefix}}}packed"
    client.set(key, "\N{SNOWMAN}")
    packed = client.dump(key)
    assert isinstance(packed, bytes)
    with nodes.moving(prefix, to=others(nodes, prefix)) as move:
        move.migrate(key)
        with cluster.map() as batch:
            around = [batch.get(key), batch.dump(key), batch.dump(f"{{{prefix}}}none"), batch.get(key)]
        assert [promise.value for promise in around] == ["\N{SNOWMAN}", packed, None, "\N{SNOWMAN}"]
        assert client.dump(key) == packed


def test_commands_that_were_queued_before_a_move_run_before_those_queued_after(
    nodes: RedisClusterSetup, slots: Cluster, prefix: str
) -> None:
    keys = [f"{prefix}{number}" for number in range(5)]
    with slots.map() as client:
        for key in keys:
            client.rpush(key, "first")
        for key in keys:
            nodes.move_slots(slot(key), to=others(nodes, key))
            # Another client of the process learns of the move.
            assert slots.get_routing_client().llen(key) == 0
        for key in keys:
            client.rpush(key, "second")
        found = [client.lrange(key, 0, -1) for key in keys]
    assert [promise.value for promise in found] == [[b"first", b"second"]] * len(keys)


def test_commands_wait_for_a_slot_that_has_no_master_for_a_moment(
    nodes: RedisClusterSetup, slots: Cluster, prefix: str
) -> None:
    client, place = slots.get_routing_client(), slot(prefix)
    client.set(prefix, 1)
    owner: Any = nodes.client(nodes.owner(prefix))
    owner.execute_command("CLUSTER", "DELSLOTS", place)
    later = threading.Timer(0.2, owner.execute_command, ["CLUSTER", "ADDSLOTS", place])
    later.start()
    try:
        assert client.get(prefix) == b"1"
        with slots.map() as batch:
            value = batch.get(prefix)
        assert value.value == b"1"
    finally:
        later.join()
        nodes.wait_until_ok()
