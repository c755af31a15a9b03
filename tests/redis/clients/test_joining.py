"""Joins: those of callbacks, and what a block and its pools may be told."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import redis

from pindb.redis import Cluster, ClusterConfigError, CommandCancelled, HostTimeoutError, Promise
from tests.redis.tools import Make, keys_on

ENGINES = ["plain", "redis-cluster"]


def join(client: Any, value: Any) -> None:
    client.join()


# ---- callbacks that join -------------------------------------------------------------------------


def test_a_callback_that_joins_hides_no_error_of_another_command(cluster: Cluster) -> None:
    routing = cluster.get_routing_client()
    routing.rpush("list", 1)
    for name in ("a", "b", "c"):
        client = routing.get_mapping_client()
        failed = client.incr("list")
        promise = client.get(name)
        promise.done(partial(join, client))
        with pytest.raises(redis.ResponseError, match="INCRBY 'list' on host"):
            client.join()
        assert failed.is_rejected
        client.join()


def test_what_a_callback_sends_is_there_when_its_join_returns(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    seen: list[Any] = []

    def more(value: Any) -> None:
        inner = client.incr("inner")
        assert len(client) == 1
        client.join()
        seen.append(inner.value)

    outer = [client.incr(key).done(more) for host_id in range(4) for key in keys_on(cluster, host_id, 1)]
    client.join()
    assert [promise.value for promise in outer] == [1] * 4
    assert seen == [1, 2, 3, 4]


def test_errors_of_commands_that_a_callback_joins_are_raised_at_the_end(cluster: Cluster) -> None:
    cluster.get_routing_client().rpush("list", 1)
    seen: list[bool] = []

    def more(value: Any) -> None:
        inner = client.incr("list")
        client.join()
        seen.append(inner.is_rejected)

    with pytest.raises(redis.ResponseError, match="INCRBY 'list' on host"), cluster.map() as client:
        client.get("a").done(more)
    assert seen == [True]


def test_a_callback_may_execute(cluster: Cluster) -> None:
    cluster.get_routing_client().rpush("list", 1)
    pipe = cluster.get_routing_client().pipeline()
    seen: list[Any] = []

    def more(value: Any) -> None:
        pipe.incr("b")
        pipe.incr("list")
        seen.extend(pipe.execute(raise_on_error=False))

    pipe.incr("a").done(more)
    pipe.get("a")
    assert pipe.execute() == [1, b"1"]
    assert seen[0] == 1
    assert isinstance(seen[1], redis.ResponseError)


def test_a_callback_may_cancel_what_it_called_and_nothing_else(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    inner: list[Promise] = []

    def more(value: Any) -> None:
        inner.extend((client.incr("a"), client.get("a")))
        client.cancel()

    outer = [client.incr(key).done(more) for host_id in range(4) for key in keys_on(cluster, host_id, 1)]
    client.join()
    assert [promise.value for promise in outer] == [1] * 4
    assert all(isinstance(promise.reason, CommandCancelled) for promise in inner)


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_clients_for_other_hosts_join_for_all(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_fanout_client()
    made: list[Any] = []

    def more(value: Any) -> None:
        made.append(client.target([2]))
        made.append(made[0].get("b"))
        made[0].join()
        assert made[1].value == {2: None}

    client.target([0]).get("a").done(more)
    client.join()
    later = made[0].get("c")
    failed = client.target([1]).execute_command("INCR", "a", "too", "many")
    with pytest.raises(redis.ResponseError, match="on host 1"):
        made[0].join()
    assert later.value == {2: None}
    assert failed.is_rejected


# ---- what a block may be told --------------------------------------------------------------------


@pytest.mark.parametrize("timeout", ["2", True, float("nan"), [1], b"1", timedelta(seconds=1)])
def test_a_timeout_is_a_number(cluster: Cluster, timeout: Any) -> None:
    routing = cluster.get_routing_client()
    for make in (cluster.map, cluster.all, routing.map, routing.fanout):
        with pytest.raises(ClusterConfigError, match=r"timeout is .*Write seconds, or None"):
            make(timeout=timeout)
    client = routing.get_mapping_client()
    promise = client.get("a")
    with pytest.raises(ClusterConfigError, match="timeout is"):
        client.join(timeout)
    assert promise.is_pending
    client.join()
    assert promise.is_resolved


@pytest.mark.parametrize("timeout", [5, 1e9, float("inf"), None])
def test_a_timeout_may_be_of_any_length(cluster: Cluster, timeout: float | None) -> None:
    with cluster.map(timeout=timeout) as client:
        promise = client.get("a")
    assert promise.is_resolved


def test_a_timeout_that_is_over_rejects_all(cluster: Cluster) -> None:
    for timeout in (0, -1.5):
        client = cluster.get_routing_client().get_mapping_client()
        promise = client.get("a")
        with pytest.raises(HostTimeoutError):
            client.join(timeout)
        assert promise.is_rejected


@pytest.mark.parametrize("number", [0, -1, "2", 2.5, True])
def test_a_number_of_hosts_is_one_or_more(cluster: Cluster, number: Any) -> None:
    with pytest.raises(ClusterConfigError, match="max_concurrency is"):
        cluster.map(max_concurrency=number)


@pytest.mark.plain_servers("a Redis Cluster is asked for its slots before, which fails already")
@pytest.mark.parametrize(
    "options",
    [
        {"max_connections": -1},
        {"socket_timeout": "2"},
        {"socket_timeout": 0},
        {"socket_connect_timeout": "2"},
        {"socket_connect_timeout": -1},
        {"pool_cls": redis.BlockingConnectionPool, "timeout": "x"},
    ],
)
def test_options_that_are_no_numbers_leave_no_promise_pending(make_cluster: Make, options: Any) -> None:
    pool_cls = options.pop("pool_cls", None) if "pool_cls" in options else None
    client = make_cluster(pool_cls=pool_cls, pool_options=options).get_routing_client().get_mapping_client()
    promises = [client.get(f"key:{i}") for i in range(20)]
    with pytest.raises(ClusterConfigError, match="pool_options, or options of host"):
        client.join()
    assert all(isinstance(promise.reason, ClusterConfigError) for promise in promises)
