"""Commands with many keys on a Redis Cluster: a command for each key, and one reply for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from pindb.hashing import slot
from pindb.redis import Cluster, CommandCancelled, HostConnectionError, MappingClient, Promise
from pindb.testing.redis import RedisClusterSetup


@pytest.fixture
def keys(prefix: str) -> list[str]:
    """Keys in many slots, on all nodes."""
    return [f"{prefix}:{number}" for number in range(60)]


def splitting(cluster: Cluster) -> MappingClient:
    return cluster.get_routing_client().get_mapping_client(split_multi_key=True)


def test_values_come_in_the_order_of_the_keys(slots: Cluster, keys: list[str]) -> None:
    with slots.map() as client:
        stored = client.mset({key: f"value of {key}" for key in keys})
        values = client.mget(keys)
        more = client.mget(keys[5], "nothing", keys[3], keys[5])
    assert stored.value is True
    assert values.value == [f"value of {key}".encode() for key in keys]
    assert more.value == [values.value[5], None, values.value[3], values.value[5]]


@pytest.mark.parametrize("name", ["exists", "touch", "unlink", "delete"])
def test_numbers_are_summed_up(slots: Cluster, keys: list[str], name: str) -> None:
    client = splitting(slots)
    client.mset(dict.fromkeys(keys[:40], 1))
    number = getattr(client, name)(*keys, keys[0])
    client.join()
    # A key that is named twice is deleted once, and there twice.
    assert number.value == (40 if name in ("unlink", "delete") else 41)
    assert slots.get_routing_client().exists(keys[0]) == (name in ("exists", "touch"))


def test_the_routing_client_splits_too(slots: Cluster, keys: list[str]) -> None:
    client = slots.get_routing_client(split_multi_key=True)
    assert client.mset(dict.fromkeys(keys, 1)) is True
    assert client.mget(keys) == [b"1"] * 60
    assert (client.exists(*keys), client.touch(*keys)) == (60, 60)
    assert (client.delete(*keys[:20]), client.unlink(*keys)) == (20, 40)
    assert client.mget(keys) == [None] * 60


def test_a_call_without_keys(slots: Cluster) -> None:
    client = splitting(slots)
    results = [client.mget([]), client.mset({})]
    with pytest.raises(redis.DataError, match="DEL takes keys"):
        client.delete()
    client.join()
    assert [promise.value for promise in results] == [[], True]


def test_keys_of_another_type_have_no_value_as_for_mget(slots: Cluster, keys: list[str]) -> None:
    slots.get_routing_client().rpush(keys[1], "x")
    with slots.map() as client:
        client.set(keys[0], "a")
        values = client.mget(keys[:3])
    assert values.value == [b"a", None, None]
    client = slots.get_routing_client()
    # The same as the server's own.
    tagged = [f"{{{keys[0]}}}{number}" for number in range(3)]
    client.rpush(tagged[1], "x")
    client.set(tagged[0], "a")
    assert client.mget(tagged) == values.value


def test_a_get_of_another_type_is_still_an_error(slots: Cluster, keys: list[str]) -> None:
    slots.get_routing_client().rpush(keys[0], "x")
    with (
        pytest.raises(redis.ResponseError, match=f"GET '{keys[0]}' on host .*WRONGTYPE"),
        slots.map() as client,
    ):
        client.get(keys[0])


def test_they_keep_their_order_with_other_commands(slots: Cluster, keys: list[str]) -> None:
    with slots.map(split_multi_key=True) as client:
        client.set(keys[0], "first")
        before = client.mget(keys[:2])
        client.mset({keys[0]: 1, keys[1]: 2})
        between = [client.incr(keys[0]), client.get(keys[1])]
        deleted = client.delete(*keys[:2])
        after = client.mget(keys[:2])
    assert before.value == [b"first", None]
    assert [promise.value for promise in between] == [2, b"2"]
    assert (deleted.value, after.value) == (2, [None, None])


def test_the_error_of_one_key_is_that_of_all(slots: Cluster, keys: list[str]) -> None:
    client = splitting(slots)
    wrong: Any = object()
    promise = client.mset({keys[0]: 1, keys[1]: wrong})
    assert promise.is_rejected
    with pytest.raises(redis.DataError):
        client.join()
    # Nothing was sent.
    assert slots.get_routing_client().get(keys[0]) is None


def test_results_of_execute_hold_one_for_each_call(slots: Cluster, keys: list[str]) -> None:
    client = splitting(slots)
    client.mset(dict.fromkeys(keys, 1))
    client.get(keys[0])
    client.mget(keys[:3])
    client.delete(*keys)
    assert len(client) == 4
    assert client.execute() == [True, b"1", [b"1"] * 3, 60]
    assert client.execute() == []


def test_callbacks_may_queue_more(slots: Cluster, keys: list[str]) -> None:
    inner: list[Promise] = []
    with slots.map() as client:
        client.mset(dict.fromkeys(keys, 1))
        last = client.mget(keys).then(lambda values: client.mget(keys[: len(values) // 2]))
        client.mget(keys[:2]).done(lambda values: inner.append(client.mset({keys[0]: 5})))
        client.get(keys[0]).done(lambda value: inner.append(client.mget(keys[:1])))
    assert last.value in ([b"1"] * 30, [b"5"] + [b"1"] * 29)
    assert [promise.is_resolved for promise in inner] == [True, True]


def test_cancelled_ones_are_rejected(slots: Cluster, keys: list[str]) -> None:
    client = splitting(slots)
    promises = [client.mset(dict.fromkeys(keys, 1)), client.mget(keys), client.delete(*keys)]
    client.cancel()
    assert {type(promise.reason) for promise in promises} == {CommandCancelled}
    client.join()
    assert slots.get_routing_client().exists(keys[0]) == 0
    later = client.mget(keys)
    client.join()
    assert later.value == [None] * 60


def test_an_exception_of_a_callback_leaves_nothing_pending(slots: Cluster, keys: list[str]) -> None:
    class Interruption(BaseException):
        pass

    def interrupt(value: object) -> None:
        raise Interruption

    promises: list[Promise] = []
    client = splitting(slots)
    client.get(keys[0]).done(interrupt)
    promises += [client.mset(dict.fromkeys(keys, 1)), client.mget(keys), client.exists(*keys)]
    with pytest.raises(Interruption):
        client.join()
    assert not any(promise.is_pending for promise in promises)
    again = client.mget(keys)
    client.join()
    assert again.is_resolved


def test_a_slot_that_moves_in_the_middle(nodes: RedisClusterSetup, slots: Cluster, keys: list[str]) -> None:
    with slots.map() as client:
        client.mset(dict.fromkeys(keys, 1))
    source = nodes.owner(keys[0])
    target = next(master for master in nodes.masters if master != source)
    nodes.move_slots([slot(key) for key in keys if nodes.owner(key) == source], to=target)
    with slots.map(split_multi_key=True) as client:
        values, counted = client.mget(keys), client.exists(*keys)
        stored, later = client.mset(dict.fromkeys(keys, 2)), client.mget(keys)
        deleted = client.delete(*keys)
    assert (values.value, counted.value) == ([b"1"] * 60, 60)
    assert (stored.value, later.value, deleted.value) == (True, [b"2"] * 60, 60)


def test_keys_of_a_slot_that_is_being_moved(nodes: RedisClusterSetup, slots: Cluster, prefix: str) -> None:
    keys = [f"{{{prefix}}}{number}" for number in range(20)]
    with slots.map() as client:
        client.mset(dict.fromkeys(keys, 1))
    with nodes.moving(prefix, to=next(m for m in nodes.masters if m != nodes.owner(prefix))) as move:
        move.migrate(*keys[::2])
        with slots.map(split_multi_key=True) as client:
            values = client.mget(keys)
            stored = client.mset(dict.fromkeys(keys, 2))
            deleted = client.delete(*keys[:10])
            later = client.mget(keys)
    assert values.value == [b"1"] * 20
    assert (stored.value, deleted.value) == (True, 10)
    assert later.value == [None] * 10 + [b"2"] * 10


def test_the_error_of_a_node_that_is_down_names_it(
    nodes: RedisClusterSetup, make_slots: Callable[..., Cluster], keys: list[str]
) -> None:
    cluster = make_slots()
    client = cluster.get_routing_client().get_mapping_client(split_multi_key=True)
    client.mset(dict.fromkeys(keys, 1))
    client.join()
    master = nodes.owner(keys[0])
    nodes.kill(master)
    try:
        promises = [client.mget(keys), client.exists(*keys)]
        single = [client.get(key) for key in keys]
        with pytest.raises(HostConnectionError, match=str(nodes.nodes[master]["port"])):
            client.join()
        assert [type(promise.reason) for promise in promises] == [HostConnectionError] * 2
        lost = [key for key, promise in zip(keys, single, strict=True) if promise.is_rejected]
        assert lost == [key for key in keys if nodes.owner(key) == master]
    finally:
        nodes.start(master)
        nodes.wait_until_ok()
