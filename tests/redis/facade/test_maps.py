"""Maps of clusters that settings made: what goes over the wire, and which results come back."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pindb.redis import (
    BaseRouter,
    CommandCancelled,
    Result,
    ResultPending,
    RoutedCluster,
    UnroutableCommand,
    get_value,
)
from pindb.testing.redis import TestSetup
from tests.redis.tools import Create, Proxy, calls_on, forget_calls, keys_of

ENGINES = ["plain", "redis-cluster"]


@pytest.fixture
def cluster(create: Create) -> RoutedCluster:
    """Four hosts with the keys spread over them."""
    return create("partition")


def spread(cluster: RoutedCluster, number: int) -> list[str]:
    """So many keys on each host."""
    return [key for host_id in cluster for key in keys_of(cluster.router, host_id, number)]


# ---- results -------------------------------------------------------------------------------------


def test_results_are_there_after_the_block(cluster: RoutedCluster) -> None:
    with cluster.map() as conn:
        conn.set("a", 1)
        conn.incr("a")
        results = [conn.get("a"), conn.get("b")]
    assert results == [b"2", None]
    assert results[0] == b"2"
    assert int(results[0]) + 1 == 3


def test_results_come_in_the_order_of_the_calls(cluster: RoutedCluster) -> None:
    keys = spread(cluster, 25)
    keys = keys[::3] + keys[1::3] + keys[2::3]
    with cluster.map() as conn:
        stored = [conn.set(key, f"value of {key}") for key in keys]
        counted = [conn.incrby(f"n:{key}", place) for place, key in enumerate(keys)]
        values = [conn.get(key) for key in keys]
    assert stored == [True] * 100
    assert counted == list(range(100))
    assert values == [f"value of {key}".encode() for key in keys]


def test_each_host_runs_its_commands_in_their_order(cluster: RoutedCluster) -> None:
    with cluster.map() as conn:
        before = conn.get("k")
        conn.set("k", "first")
        first = conn.get("k")
        appended = conn.append("k", " and more")
        again = conn.get("k")
        conn.set("k", "second")
        second = conn.mget("k", "nothing")
        conn.delete("k")
        after = conn.get("k")
    assert (before, first, appended, again) == (None, b"first", 14, b"first and more")
    assert (second, after) == ([b"second", None], None)


def test_a_result_is_used_in_the_next_map(cluster: RoutedCluster) -> None:
    cluster.mset({"where": "target", "target": 5, "field": "f"})
    with cluster.map() as conn:
        name, field = conn.get("where"), conn.get("field")
    with cluster.map() as conn:
        number = conn.incrby(name, 10)
        conn.hset("h", field, name)
        conn.sadd("s", *[name, field])
        conn.mset({name: "overwritten", "other": field})
        conn.set(field, name)
        conn.set("short", name, ex=50)
        values = conn.mget([name, "other", field, "short"])
        value = conn.get(name)
    assert number == 15
    assert cluster.hgetall("h") == {b"f": b"target"}
    assert cluster.smembers("s") == {b"target", b"f"}
    assert values == [b"overwritten", b"f", b"target", b"target"]
    assert value == b"overwritten"


class OnTheFirst(BaseRouter):
    """A router that sees calls of methods, and knows one host."""

    def get_dbs(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
        return [0]


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
@pytest.mark.parametrize("router", ["partition", OnTheFirst])
def test_a_result_may_stand_inside_of_an_argument(create: Create, router: Any) -> None:
    cluster = create(router)
    cluster.set("a", "value")
    with cluster.map() as conn:
        result = conn.get("a")
    cluster.hset("now", mapping={"f": result})
    with cluster.map() as conn:
        conn.hset("in a map", mapping={"f": result})
    assert cluster.hgetall("now") == cluster.hgetall("in a map") == {b"f": b"value"}


def test_a_result_cannot_be_used_within_its_block(cluster: RoutedCluster) -> None:
    uses: list[Callable[[Any], Any]] = [
        *(bool, len, str, bytes, int, float, list, sorted, hash, copy.copy, pickle.dumps, get_value),
        lambda value: value == b"2",
        lambda value: 1 + value,
        lambda value: value[0],
        lambda value: value.decode(),
        lambda value: isinstance(value, bytes),
        lambda value: cluster.set("x", value),
    ]
    with cluster.map() as conn:
        for value in (conn.get("a"), conn.incr("n"), conn.mget("a", "b"), conn.dbsize(), conn.mget("a")):
            assert repr(value) == "<Result pending>"
            for use in uses:
                with pytest.raises(ResultPending):
                    use(value)
            with pytest.raises(ResultPending):
                conn.set("x", value)
            with pytest.raises(ResultPending):
                conn.mget([value])
    assert cluster.exists("x") == 0


def test_nothing_is_sent_when_the_block_is_left_by_an_exception(cluster: RoutedCluster) -> None:
    with pytest.raises(ZeroDivisionError), cluster.map() as conn:  # noqa: PT012
        results = [conn.set("a", 1), conn.incr("n"), conn.ping(), conn.mget("a", "b"), conn.get("a")]
        raise ZeroDivisionError
    for result in results:
        assert repr(result) == "<Result cancelled>"
        with pytest.raises(CommandCancelled):
            bool(result)
    assert cluster.dbsize() == [0] * 4


def test_what_cannot_be_routed_is_said_at_once(cluster: RoutedCluster) -> None:
    with cluster.map() as conn:
        stored = conn.set("a", 1)
        with pytest.raises(UnroutableCommand, match="RENAME has 2 keys"):
            conn.rename("a", "b")
        with pytest.raises(UnroutableCommand, match=r"cluster\[host_id\]"):
            conn.pubsub()
        with pytest.raises(UnroutableCommand, match="the end of the block"):
            conn.execute()
    assert bool(stored)


def test_a_map_without_commands_sends_none(cluster: RoutedCluster, servers: TestSetup) -> None:
    forget_calls(servers)
    with cluster.map() as conn:
        assert len(conn) == 0
        assert conn
        nothing, stored = conn.mget([]), conn.mset({})
    assert nothing == []
    assert bool(stored)
    assert [calls_on(servers, server, "mget", "mset") for server in range(4)] == [[0, 0]] * 4


def test_a_map_counts_what_waits_and_can_be_joined_by_hand(cluster: RoutedCluster) -> None:
    with cluster.map() as conn:
        values = [conn.get("a"), conn.set("a", 1), conn.incr("a"), conn.mget("a", "b")]
        assert len(conn) == 4
        conn.join()
        assert len(conn) == 0
        assert values == [None, True, 2, [b"2", None]]
        last = conn.get("a")
    assert last == b"2"
    with cluster.map() as conn:
        dropped = conn.incr("a")
        conn.cancel()
        kept = conn.get("a")
    assert kept == b"2"
    with pytest.raises(CommandCancelled):
        str(dropped)


@pytest.mark.parametrize("workers", [None, 1, 2, 64])
def test_any_number_of_workers_brings_the_same(cluster: RoutedCluster, workers: int | None) -> None:
    keys = spread(cluster, 5)
    with cluster.map(workers=workers) as conn:
        stored = [conn.set(key, key) for key in keys]
        values = [conn.get(key) for key in keys]
    assert stored == [True] * 20
    assert values == [key.encode() for key in keys]
    with cluster.map(workers) as conn:
        sizes = conn.dbsize()
    assert sizes == [5] * 4


# ---- several hosts, several keys -----------------------------------------------------------------


def test_a_command_without_a_key_has_a_list_for_its_result(cluster: RoutedCluster) -> None:
    first = keys_of(cluster.router, 1, 1)[0]
    with cluster.map() as conn:
        conn.set(first, "x")
        sizes, answers, keys = conn.dbsize(), conn.ping(), conn.keys("*")
    assert sizes == [0, 1, 0, 0]
    assert answers == [True] * 4
    assert keys == [[], [first.encode()], [], []]


@pytest.mark.plain_servers("about a cluster without a router")
def test_without_a_router_every_result_is_a_list(create: Create) -> None:
    cluster = create()
    cluster[3].set("a", 10)
    with cluster.map() as conn:
        counted = conn.incr("a")
        stored, value = conn.set("b", "x"), conn.get("b")
        values = conn.mget("a", "nothing")
        conn.mset({"c": 1, "d": 2})
        found = conn.exists("c", "d")
        renamed = conn.rename("c", "e")
    assert counted == [1, 1, 1, 11]
    assert (stored, value) == ([True] * 4, [b"x"] * 4)
    assert values == [[b"1", None]] * 3 + [[b"11", None]]
    assert found == [2] * 4
    assert renamed == [True] * 4


@pytest.mark.plain_servers("about a cluster without a router")
def test_the_only_host_s_result_is_no_list(create: Create, servers: TestSetup) -> None:
    with create(None, [servers.host(0)]).map() as conn:
        value, size = conn.get("a"), conn.dbsize()
    assert (value, size) == (None, 0)


@pytest.mark.plain_servers("a command with many keys is split by key there")
def test_commands_with_several_keys_are_cut_by_host(cluster: RoutedCluster, servers: TestSetup) -> None:
    keys = spread(cluster, 3)
    forget_calls(servers)
    with cluster.map() as conn:
        stored = conn.mset({key: f"value of {key}" for key in keys})
        values = conn.mget([*keys, "nothing"])
        found = conn.exists(*keys, "nothing")
        deleted = conn.delete(*keys[:4])
        touched = conn.touch(*keys)
    assert bool(stored)
    assert values == [*(f"value of {key}".encode() for key in keys), None]
    assert (found, deleted, touched) == (12, 4, 8)
    assert [calls_on(servers, server, "mset", "mget", "touch") for server in range(4)] == [[1, 1, 1]] * 4


# ---- on the wire ---------------------------------------------------------------------------------


@pytest.mark.plain_servers("about merged commands")
def test_runs_of_get_and_set_become_one_command_for_each_host(
    cluster: RoutedCluster, servers: TestSetup
) -> None:
    keys = spread(cluster, 10)
    forget_calls(servers)
    with cluster.map() as conn:
        for key in keys:
            conn.set(key, key)
        values = [conn.get(key) for key in keys]
    assert values == [key.encode() for key in keys]
    seen = [calls_on(servers, server, "set", "get", "mset", "mget") for server in range(4)]
    assert seen == [[0, 0, 1, 1]] * 4


@pytest.mark.plain_servers("about merged commands")
def test_a_host_gets_all_its_commands_at_once(create: Create, servers: TestSetup) -> None:
    chunks: list[bytes] = []

    def count(data: bytes) -> bytes:
        chunks.append(data)
        return data

    with Proxy(servers.host(0)["unix_socket_path"], forward=count) as proxy:
        cluster = create("partition", [proxy.host])
        cluster.ping()
        chunks.clear()
        with cluster.map() as conn:
            for turn in range(20):
                conn.set(f"s{turn}", "x")
                conn.incr("n")
                conn.get(f"s{turn}")
            conn.hset("h", "f", "v")
            last = conn.hgetall("h")
    assert last == {b"f": b"v"}
    assert len(chunks) == 1
    assert chunks[0].count(b"INCR") == 20
    assert proxy.accepted == 1


@pytest.mark.plain_servers("needs a proxy before one host")
def test_hosts_are_asked_at_the_same_time(create: Create, servers: TestSetup) -> None:
    # Each lets its reply go when the other has one too.
    both, together = threading.Barrier(2), threading.Event()

    def hold(data: bytes) -> bytes:
        if together.is_set():
            both.wait(10)
        return data

    sockets = [servers.host(server)["unix_socket_path"] for server in (0, 1)]
    with Proxy(sockets[0], back=hold) as one, Proxy(sockets[1], back=hold) as other:
        cluster = create(None, [proxy.host for proxy in (one, other)])
        cluster.ping()
        together.set()
        with cluster.map() as conn:
            counted = conn.incr("n")
    assert counted == [1, 1]


def test_results_of_commands_are_what_redis_py_makes_of_them(cluster: RoutedCluster) -> None:
    cluster.hset("h", mapping={"a": 1})
    cluster.zadd("z", {"m": 1.5})
    with cluster.map() as conn:
        results = [
            conn.hgetall("h"),
            conn.zrange("z", 0, -1, withscores=True),
            conn.ttl("h"),
            conn.exists("h"),
        ]
        scan = conn.hscan("h")
        words = conn.execute_command("HGET", "h", "a")
    assert results == [{b"a": b"1"}, cluster.zrange("z", 0, -1, withscores=True), -1, 1]
    assert scan == (0, {b"a": b"1"})
    assert words == b"1"
    assert all(type(result) is Result for result in results)


def test_decoded_responses(create: Create) -> None:
    cluster = create("partition", pool_options={"decode_responses": True})
    cluster.set("a", "ä")
    with cluster.map() as conn:
        value, other, both = conn.get("a"), conn.get("b"), conn.mget("a", "b")
    assert value == "ä"
    assert value.upper() + "!" == "Ä!"
    assert "<" + value + ">" == f"<{value}>" == "<ä>"
    assert (other, both) == (None, ["ä", None])
