"""Processes, threads and time limits on a Redis Cluster."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from pindb.hashing import slot
from pindb.redis import Cluster, HostTimeoutError
from pindb.testing.redis import RedisClusterSetup

Make = Callable[..., Cluster]


def in_child(work: Callable[[], bool]) -> int:
    """Run it in a forked process, and return 0 if it returned True."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ids_of(cluster: Cluster) -> set[tuple[int, int]]:
    """What the masters call the connections to them."""
    with cluster.all() as client:
        found = client.execute_command("CLIENT ID")
    return set(found.value.items())


def test_a_child_has_connections_of_its_own(slots: Cluster, prefix: str) -> None:
    client, keys = slots.get_routing_client(), [f"{prefix}:{number}" for number in range(50)]

    def write_all() -> None:
        with slots.map() as batch:
            for key in keys:
                batch.incr(key)

    write_all()
    before = ids_of(slots)

    def work() -> bool:
        write_all()
        return not ids_of(slots) & before

    assert in_child(work) == 0
    write_all()
    assert ids_of(slots) == before
    assert [client.get(key) for key in keys] == [b"3"] * 50


def test_a_child_learns_for_itself(nodes: RedisClusterSetup, slots: Cluster, prefix: str) -> None:
    client = slots.get_routing_client()
    client.set(prefix, 1)
    nodes.move_slots(slot(prefix), to=next(m for m in nodes.masters if m != nodes.owner(prefix)))
    assert in_child(lambda: bool(client.get(prefix) == b"1" and client.incr(prefix) == 2)) == 0
    assert client.get(prefix) == b"2"


def test_a_fork_while_another_thread_learns(slots: Cluster, prefix: str) -> None:
    client, done = slots.get_routing_client(), threading.Event()
    client.set(prefix, 1)

    def learn() -> None:
        while not done.is_set():
            slots.refresh(0)  # type: ignore[attr-defined]

    def work() -> bool:
        slots.refresh(0)  # type: ignore[attr-defined]
        return bool(client.get(prefix) == b"1")

    threads = [threading.Thread(target=learn) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(work) for _ in range(10)] == [0] * 10
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_threads_count_right_while_slots_move(nodes: RedisClusterSetup, slots: Cluster, prefix: str) -> None:
    keys, done = [f"{{{prefix}}}{number}" for number in range(20)], threading.Event()

    def count(_: int) -> tuple[int, list[Exception]]:
        rounds, errors = 0, list[Exception]()
        client = slots.get_routing_client()
        while not done.is_set():
            try:
                with slots.map() as batch:
                    for key in keys:
                        batch.incr(key)
                client.incr(keys[0])
            except redis.RedisError as error:
                errors.append(error)
            rounds += 1
        return rounds, errors

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(count, number) for number in range(4)]
        try:
            for _ in range(4):
                nodes.move_slots(slot(prefix), to=next(m for m in nodes.masters if m != nodes.owner(prefix)))
        finally:
            done.set()
        results = [some.result(30) for some in running]
    assert [errors for _, errors in results] == [[]] * 4
    rounds = sum(number for number, _ in results)
    client = slots.get_routing_client()
    assert [client.get(key) for key in keys] == [b"%d" % (2 * rounds)] + [b"%d" % rounds] * 19


def test_a_time_limit_holds_while_a_node_is_paused(
    nodes: RedisClusterSetup, slots: Cluster, prefix: str
) -> None:
    keys = [f"{prefix}:{number}" for number in range(60)]
    with slots.map() as client:
        for key in keys:
            client.set(key, 1)
    master = nodes.owner(keys[0])
    nodes.pause(master)
    try:
        begun = time.monotonic()
        client = slots.map(timeout=0.3)
        promises = [client.get(key) for key in keys]
        with pytest.raises(HostTimeoutError, match=str(nodes.nodes[master]["port"])):
            client.join(0.3)
        assert 0.25 < time.monotonic() - begun < 0.8
        late = [key for key, promise in zip(keys, promises, strict=True) if promise.is_rejected]
        assert not any(promise.is_pending for promise in promises)
    finally:
        nodes.resume(master)
        nodes.wait_until_ok()
    assert late == [key for key in keys if nodes.owner(key) == master]


def test_a_time_limit_holds_while_keys_are_on_their_way(
    nodes: RedisClusterSetup, make_slots: Make, prefix: str
) -> None:
    cluster, keys = make_slots(wait_timeout=30), [f"{{{prefix}}}a", f"{{{prefix}}}b"]
    cluster.get_routing_client().mset(dict.fromkeys(keys, 1))
    with nodes.moving(prefix, to=next(m for m in nodes.masters if m != nodes.owner(prefix))) as move:
        move.migrate(keys[0])
        begun = time.monotonic()
        client = cluster.get_routing_client().get_mapping_client()
        promise = client.execute_command("SUNION", *keys)
        with pytest.raises(redis.RedisError, match="host "):
            client.join(0.3)
        assert 0.2 < time.monotonic() - begun < 0.9
        assert promise.is_rejected
