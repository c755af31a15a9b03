"""Pools of connections: when they are exhausted, waited for, and closed while they are used."""

from __future__ import annotations

import gc
import time
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from pindb.redis import Cluster, ConsistentHashingRouter, PoolExhausted
from pindb.redis.io.pools import get_connection
from pindb.testing.redis import TestSetup
from tests.redis.tools import Make, held, in_use, keys_on, one_each
from tests.threads import in_threads

# ---- waiting for connections ----------------------------------------------------------------------


@pytest.mark.parametrize("max_concurrency", [64, 2])
def test_maps_that_use_hosts_in_another_order_do_not_wait_for_each_other(
    make_cluster: Make, max_concurrency: int
) -> None:
    cluster = make_cluster(
        pool_cls=redis.BlockingConnectionPool, pool_options={"max_connections": 1, "timeout": 5}
    )
    keys = one_each(cluster)

    def work(place: int) -> None:
        for _ in range(25):
            with cluster.map(max_concurrency=max_concurrency) as client:
                for key in keys if place % 2 else reversed(keys):
                    client.get(key)

    assert in_threads(8, work) == [None] * 8


def test_a_thread_that_connects_is_not_waited_for_in_a_circle(make_cluster: Make) -> None:
    """Connections are taken in one order also where they have to be made first."""
    for _ in range(10):
        cluster = make_cluster(
            pool_cls=redis.BlockingConnectionPool, pool_options={"max_connections": 1, "timeout": 5}
        )
        keys = one_each(cluster)

        def work(place: int, cluster: Cluster = cluster, keys: list[str] = keys) -> None:
            with cluster.map(timeout=5) as client:
                for key in keys if place % 2 else reversed(keys):
                    client.get(key)

        assert in_threads(4, work) == [None] * 4


# ---- no connection left ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [redis.ConnectionPool, redis.BlockingConnectionPool])
def test_an_exhausted_pool_says_nothing_about_its_host(make_cluster: Make, kind: type[Any]) -> None:
    options = {"max_connections": 1, **({"timeout": 0.1} if kind is redis.BlockingConnectionPool else {})}
    cluster = make_cluster(
        router_cls=ConsistentHashingRouter, max_connection_retries=20, pool_cls=kind, pool_options=options
    )
    client = cluster.get_routing_client()
    (key,) = keys_on(cluster, 2, 1)
    client.set(key, "1")
    taken = cluster.get_local_client(2).client()  # type: ignore[no-untyped-call]
    try:
        start = time.monotonic()
        with pytest.raises(PoolExhausted, match=r"host 2 .*max_connections"), cluster.map() as mapping:
            mapping.get(key)
        with pytest.raises(PoolExhausted, match="host 2"):
            client.get(key)
        # Waited for once each, and not for each of the retries.
        assert time.monotonic() - start < 1.5
        assert not cluster.get_router().down_connections
    finally:
        taken.close()
    assert client.get(key) == b"1"


# ---- closing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [redis.ConnectionPool, redis.BlockingConnectionPool])
def test_pools_can_be_closed_while_other_threads_use_them(make_cluster: Make, kind: type[Any]) -> None:
    cluster = make_cluster(pool_cls=kind)
    client = cluster.get_routing_client()
    keys = [f"key:{i}" for i in range(40)]
    with cluster.map() as mapping:
        mapping.set_many(keys, keys)
    until = time.monotonic() + 1.5

    def work(place: int) -> None:
        while time.monotonic() < until:
            if place == 0:
                cluster.disconnect_pools()
            elif place == 1:
                assert client.get(keys[3]) == keys[3].encode()
            else:
                with cluster.map(timeout=5) as mapping:
                    promises = mapping.get_many(keys)
                assert [promise.value for promise in promises] == [key.encode() for key in keys]

    assert in_threads(4, work) == [None] * 4
    if kind is redis.ConnectionPool:
        assert held(cluster) == [0, 0, 0, 0]


def test_a_connection_that_is_used_while_pools_are_closed_is_closed_when_it_comes_back(
    cluster: Cluster,
) -> None:
    client: Any = cluster.get_local_client(1).client()  # type: ignore[no-untyped-call]
    assert client.ping()
    connection = client.connection
    cluster.disconnect_pools()
    assert client.ping()
    client.close()
    assert connection._sock is None


def test_connections_in_use_stay_open_where_only_idle_ones_are_closed(cluster: Cluster) -> None:
    client: Any = cluster.get_local_client(1).client()  # type: ignore[no-untyped-call]
    connection = client.connection
    cluster.disconnect_pools(idle_only=True)
    client.close()
    assert connection._sock is not None


def test_a_host_can_be_removed_while_another_thread_uses_it(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster()
    client: Any = cluster.get_local_client(3).client()  # type: ignore[no-untyped-call]
    cluster.remove_host(3)
    assert client.ping()
    client.close()


# ---- lost connections -----------------------------------------------------------------------------


def test_a_connection_that_somebody_lost_is_replaced(make_cluster: Make) -> None:
    """An exception from a signal handler may strike between a connection's pool and its user."""
    cluster = make_cluster(pool_options={"max_connections": 1})
    pool = cluster.get_pool_for_host(0)
    taken = get_connection(pool)
    assert list(pool._in_use_connections) == [taken]
    del taken
    assert held(cluster)[0] == 0
    assert cluster.get_local_client(0).ping()


@pytest.mark.parametrize("kind", [redis.ConnectionPool, redis.BlockingConnectionPool])
def test_a_connection_that_is_returned_twice_has_one_user(
    make_cluster: Make, monkeypatch: pytest.MonkeyPatch, kind: type[Any]
) -> None:
    """A pipeline of redis-py's returns it again, if an exception strikes when it has just been returned."""
    cluster = make_cluster(pool_cls=kind)
    pool = cluster.get_pool_for_host(0)
    others, release = [get_connection(pool)], pool.release

    def release_and_be_struck(connection: Any) -> None:
        release(connection)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "release", release_and_be_struck)
    with pytest.raises(KeyboardInterrupt), cluster.get_local_client(0).pipeline() as pipeline:  # noqa: PT012
        pipeline.ping()
        pipeline.execute()
    others += [get_connection(pool), get_connection(pool)]
    assert len(set(others)) == 3
    for connection in others:
        pool.release(connection)
    assert in_use(cluster) == 0


def test_an_exception_that_is_not_redis_py_s_closes_the_connection(cluster: Cluster) -> None:
    pool = cluster.get_pool_for_host(0)
    connection = get_connection(pool)
    connection.send_command("GET", "a")
    with pytest.raises(KeyboardInterrupt), ExitStack() as stack:  # noqa: PT012
        stack.callback(pool.release, connection)
        raise KeyboardInterrupt
    assert connection._sock is None
    assert cluster.get_local_client(0).ping()


def test_commands_may_be_called_while_an_exception_is_handled(cluster: Cluster) -> None:
    client = cluster.get_local_client(0)
    client.ping()
    (connection,) = cluster.get_pool_for_host(0)._available_connections
    try:
        raise ValueError
    except ValueError:
        assert client.ping()
    assert connection._sock is not None


def test_a_map_leaves_no_circles_for_the_garbage_collector(cluster: Cluster) -> None:
    cluster.get_routing_client().ping()

    def use() -> None:
        with cluster.map() as client:
            client.get_many([f"key:{i}" for i in range(100)])
            client.incr("number")

    use()
    gc.collect()
    gc.disable()
    try:
        use()
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("with_map", [True, False])
def test_a_server_that_takes_no_more_connections_is_not_down(
    servers: TestSetup, make_cluster: Make, with_map: bool
) -> None:
    cluster = make_cluster(router_cls=ConsistentHashingRouter, max_connection_retries=5, retry_timeout=60)
    (key,) = keys_on(cluster, 2, 1)
    with servers.client(2) as direct:
        usual = direct.config_get("maxclients")["maxclients"]
        direct.config_set("maxclients", 1)
        try:
            client = cluster.map() if with_map else cluster.get_routing_client()
            with pytest.raises(PoolExhausted, match=r"host 2 .*maxclients"), client:
                client.get(key)
        finally:
            direct.config_set("maxclients", usual)
    assert not cluster.get_router().down_connections
    assert cluster.get_routing_client().get(key) is None
