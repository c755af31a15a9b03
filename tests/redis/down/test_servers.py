"""Servers that are down, die, hang or refuse: what is rejected, and what stands."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from pindb.redis import Cluster, HostConnectionError, HostTimeoutError
from pindb.testing.redis import TestSetup
from tests.redis.tools import Make, Proxy, everywhere, keys_on, one_each, values_of
from tests.threads import meanwhile

# How long a host that hangs is waited for.
PATIENCE = 0.2
# Longer than that on the slowest machine, and shorter than any default.
SOON = 4.0


@pytest.fixture
def soon() -> Iterator[None]:
    """The test does not take long."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < SOON


# ---- down ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("connected", [True, False])
def test_a_host_that_is_down_rejects_its_own_promises(
    servers: TestSetup, cluster: Cluster, end: str, connected: bool
) -> None:
    if connected:
        cluster.get_routing_client().ping()
    getattr(servers, end)(2)
    client, promises = everywhere(cluster)
    merged = [client.get(key) for key in keys_on(cluster, 2, 3)]
    with pytest.raises(redis.ConnectionError, match=r"host 2 \(.*2\.sock/0\)"):
        client.join()
    assert [promise.is_resolved for promise in promises] == [True, True, False, True]
    assert all(isinstance(promise.reason, HostConnectionError) for promise in [promises[2], *merged])
    servers.start(2)
    client, promises = everywhere(cluster)
    client.join()
    assert [promise.value for promise in promises] == [2, 2, 1, 2]


def test_a_port_where_nobody_listens(servers: TestSetup, make_cluster: Make) -> None:
    with Proxy(servers.host(0)["unix_socket_path"]) as proxy:
        port = proxy.port
    cluster = make_cluster({0: servers.host(0), 1: {"host": "127.0.0.1", "port": port}})
    client, promises = everywhere(cluster)
    with pytest.raises(redis.ConnectionError, match=rf"host 1 \(127\.0\.0\.1:{port}/0\)"):
        client.join()
    assert [promise.is_resolved for promise in promises] == [True, False]


def test_a_routing_client_says_that_a_host_is_down(servers: TestSetup, cluster: Cluster) -> None:
    keys = one_each(cluster)
    servers.stop(1)
    client = cluster.get_routing_client()
    with pytest.raises(redis.ConnectionError):
        client.get(keys[1])
    assert client.get(keys[0]) is None
    with pytest.raises(redis.ConnectionError, match="host 1"):
        client.dbsize()


def test_handled_failures_of_hosts_are_not_raised(servers: TestSetup, cluster: Cluster) -> None:
    keys = one_each(cluster)
    servers.stop(1)
    seen: list[Any] = []
    with cluster.map() as client:
        for key in keys:
            client.incr(key).done(on_failure=seen.append)
    assert [type(reason) for reason in seen] == [HostConnectionError]


def test_a_callback_that_raises_for_a_host_that_is_down(servers: TestSetup, cluster: Cluster) -> None:
    servers.stop(1)
    client, promises = everywhere(cluster)

    def fail(reason: object) -> None:
        raise KeyError

    promises[1].done(on_failure=fail)
    with pytest.raises(KeyError):
        client.join()
    assert [promise.is_resolved for promise in promises] == [True, False, True, True]


@pytest.mark.parametrize("connected", [True, False])
def test_the_keys_of_a_killed_host_fail(servers: TestSetup, cluster: Cluster, connected: bool) -> None:
    spread = [f"key:{number}" for number in range(40)]
    home = cluster.get_router().get_hosts_for_keys(spread)
    if connected:
        cluster.get_routing_client().ping()
    servers.kill(2)
    client = cluster.get_routing_client().get_mapping_client()
    stored = client.set_many(spread, spread, px=50_000)
    found = client.get_many(spread)
    pairs = client.delete_many(spread)
    client.execute(raise_on_error=False)
    error = HostConnectionError
    assert values_of(stored) == [error if host_id == 2 else True for host_id in home]
    assert values_of(found) == [
        error if host_id == 2 else key.encode() for key, host_id in zip(spread, home, strict=True)
    ]
    assert [promise.is_rejected for _, promise in pairs] == [part.host_id == 2 for part, _ in pairs]
    with pytest.raises(HostConnectionError, match="host 2"), cluster.map() as mapping:
        mapping.get_many(spread)


# ---- half-way ------------------------------------------------------------------------------------


def test_a_server_that_is_killed_while_it_works(servers: TestSetup, cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    keys = one_each(cluster)
    before = client.incr(keys[1])
    blocked = client.blpop(keys_on(cluster, 1, 2, "list")[0], 30)
    after = client.incr(keys[1])
    others = [client.incr(keys[host_id]) for host_id in (0, 2, 3)]

    def kill() -> None:
        with servers.client(1) as plain:
            while not plain.info("clients")["blocked_clients"]:
                time.sleep(0.01)
        servers.kill(1)

    with meanwhile(kill), pytest.raises(redis.ConnectionError, match="host 1"):
        client.join()
    # What was answered before it died stands.
    assert before.value == 1
    assert isinstance(blocked.reason, HostConnectionError)
    assert isinstance(after.reason, HostConnectionError)
    assert [promise.value for promise in others] == [1, 1, 1]


class Cut:
    """Ends a connection after so many bytes of replies."""

    def __init__(self, size: int) -> None:
        self.left = size

    def __call__(self, data: bytes) -> bytes | None:
        data, left = data[: self.left], self.left
        self.left -= len(data)
        return data if left else None


@pytest.mark.parametrize("size", [0, 1, 7, 5_000])
@pytest.mark.parametrize("auto_batch", [True, False])
def test_a_connection_that_breaks_while_it_is_read(
    servers: TestSetup, make_cluster: Make, size: int, auto_batch: bool
) -> None:
    started = threading.Event()
    cut = Cut(size)
    with Proxy(
        servers.host(0)["unix_socket_path"], back=lambda data: cut(data) if started.is_set() else data
    ) as proxy:
        hosts = {0: proxy.host, 1: servers.host(1)}
        cluster = make_cluster(hosts, pool_options={"protocol": 2})
        cluster.get_routing_client().ping()
        started.set()
        client = cluster.get_routing_client(auto_batch=auto_batch).get_mapping_client()
        promises = [client.set(key, "x" * 100) for key in keys_on(cluster, 0, 100)]
        promises += [client.get(key) for key in keys_on(cluster, 0, 100)]
        other = client.incr(keys_on(cluster, 1, 1)[0])
        with pytest.raises(redis.ConnectionError, match="host 0"):
            client.join()
        assert other.value == 1
        assert not any(promise.is_pending for promise in promises)
        states = [promise.is_resolved for promise in promises]
        assert states == sorted(states, reverse=True)
        assert states[0] is (size >= 5)
        assert states[-1] is False
        # The connection that broke is not used again.
        started.clear()
        assert cluster.get_routing_client().ping()


@pytest.mark.parametrize("garbage", [b"nonsense\r\n", b"$x\r\n", b"*1\r\n?\r\n"])
def test_a_server_that_speaks_something_else(servers: TestSetup, make_cluster: Make, garbage: bytes) -> None:
    talks_nonsense = threading.Event()
    with Proxy(
        servers.host(0)["unix_socket_path"], back=lambda data: garbage if talks_nonsense.is_set() else data
    ) as proxy:
        cluster = make_cluster({0: proxy.host, 1: servers.host(1)})
        cluster.get_routing_client().ping()
        talks_nonsense.set()
        client, promises = everywhere(cluster)
        with pytest.raises(redis.ConnectionError, match="host 0"):
            client.join()
        assert [promise.is_resolved for promise in promises] == [False, True]
        talks_nonsense.clear()
        assert cluster.get_routing_client().ping()


# ---- hanging -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("connected", [True, False])
def test_a_timeout_rejects_what_has_no_reply(servers: TestSetup, cluster: Cluster, connected: bool) -> None:
    if connected:
        cluster.get_routing_client().ping()
    servers.pause(1)
    client, promises = everywhere(cluster)
    with pytest.raises(redis.TimeoutError, match="host 1"):
        # Without a connection, some of it goes into waiting for one, and the rest is for the others.
        client.join(timeout=PATIENCE if connected else 4 * PATIENCE)
    assert [promise.is_resolved for promise in promises] == [True, False, True, True]
    assert isinstance(promises[1].reason, HostTimeoutError)


@pytest.mark.usefixtures("soon")
def test_the_timeout_of_a_block(servers: TestSetup, cluster: Cluster) -> None:
    cluster.get_routing_client().ping()
    servers.pause(3)
    key = one_each(cluster)[3]
    with pytest.raises(HostTimeoutError, match=r"host 3 .*1 of 1 replies"), cluster.map(PATIENCE) as client:
        client.get(key)
    with pytest.raises(HostTimeoutError, match="host 3"), cluster.all(timeout=PATIENCE) as fanout:
        fanout.ping()


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("connected", [True, False])
def test_the_timeout_of_the_pools(servers: TestSetup, make_cluster: Make, connected: bool) -> None:
    cluster = make_cluster(pool_options={"socket_timeout": PATIENCE})
    if connected:
        cluster.get_routing_client().ping()
    servers.pause(1)
    client, promises = everywhere(cluster)
    with pytest.raises(redis.TimeoutError, match="host 1"):
        client.join()
    assert [promise.is_resolved for promise in promises] == [True, False, True, True]


@pytest.mark.usefixtures("soon")
def test_the_timeout_is_for_all_rounds_together(servers: TestSetup, cluster: Cluster) -> None:
    cluster.get_routing_client().ping()
    for server in range(4):
        servers.pause(server)
    client, promises = everywhere(cluster, max_concurrency=1)
    start = time.monotonic()
    with pytest.raises(HostTimeoutError):
        client.join(timeout=0.5)
    assert time.monotonic() - start < 1.5
    assert all(isinstance(promise.reason, HostTimeoutError) for promise in promises)


def test_after_a_timeout_replies_are_those_of_their_commands(servers: TestSetup, cluster: Cluster) -> None:
    keys = keys_on(cluster, 1, 20)
    with cluster.map() as client:
        for key in keys:
            client.set(key, f"value of {key}")
    pool = cluster.get_pool_for_host(1)
    (connection,) = pool._available_connections
    servers.pause(1)
    with pytest.raises(HostTimeoutError), cluster.map(PATIENCE, auto_batch=False) as client:  # noqa: PT012
        for key in keys:
            client.get(key)
    # It owes replies.
    assert connection._sock is None
    servers.resume(1)
    with cluster.map() as client:
        lengths = [client.strlen(key) for key in keys]
        values = [client.get(key) for key in keys]
    assert [promise.value for promise in lengths] == [len(f"value of {key}") for key in keys]
    assert [promise.value for promise in values] == [f"value of {key}".encode() for key in keys]
    assert cluster.get_routing_client().get(keys[5]) == f"value of {keys[5]}".encode()
    assert len(pool._in_use_connections) == 0


def test_a_map_with_a_timeout_leaves_connections_as_they_are(cluster: Cluster) -> None:
    with cluster.map(timeout=5) as client:
        client.get("a")
    host_id = cluster.get_router().get_host_for_key("a")
    (connection,) = cluster.get_pool_for_host(host_id)._available_connections
    assert connection._sock.gettimeout() == connection.socket_timeout
    usual = cluster.get_pool_for_host(host_id).make_connection()
    assert connection.socket_timeout == usual.socket_timeout
    assert connection.socket_connect_timeout == usual.socket_connect_timeout


@pytest.mark.usefixtures("soon")
def test_a_server_that_reads_nothing(servers: TestSetup, cluster: Cluster) -> None:
    cluster.get_routing_client().ping()
    servers.pause(1)
    client, promises = everywhere(cluster)
    large = client.set(keys_on(cluster, 1, 1)[0], b"x" * (2 << 20))
    with pytest.raises(HostTimeoutError, match="host 1"):
        client.join(timeout=2 * PATIENCE)
    assert isinstance(large.reason, HostTimeoutError)
    assert [promise.is_resolved for promise in promises] == [True, False, True, True]


def test_a_host_that_works_on_is_waited_for(servers: TestSetup, make_cluster: Make) -> None:
    """The pool's timeout counts from the last thing heard, not from the start."""
    cluster = make_cluster(pool_options={"socket_timeout": 0.5})
    lists = keys_on(cluster, 0, 4, "list")
    client = cluster.get_routing_client().get_mapping_client()
    promises = [client.blpop(name, 0.2) for name in lists]
    client.join()
    assert [promise.value for promise in promises] == [None] * 4


# ---- let in or not -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked() -> Iterator[TestSetup]:
    """A server with a password."""
    with TestSetup(servers=1, databases_each=1, password="richtig") as setup:
        yield setup


@pytest.mark.parametrize(
    "login", [{"password": "geheim"}, {"username": "me", "password": "geheim"}, {"password": None}]
)
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_wrong_password_is_said_and_not_shown(
    servers: TestSetup, locked: TestSetup, make_cluster: Make, login: dict[str, str], protocol: int
) -> None:
    hosts = {0: servers.host(0), 1: {**locked.host(0), **login}}
    cluster = make_cluster(hosts, pool_options={"protocol": protocol})
    client, promises = everywhere(cluster)
    with pytest.raises(redis.RedisError, match="host 1") as caught:
        client.join()
    assert promises[0].is_resolved
    key = one_each(cluster)[1]
    with pytest.raises(redis.RedisError) as direct:
        cluster.get_routing_client().get(key)
    for error in (caught.value, direct.value, promises[1]):
        assert "geheim" not in str(error)
        assert "geheim" not in repr(error)
    assert len(cluster.get_pool_for_host(1)._in_use_connections) == 0


def test_a_database_that_is_not_there(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster({0: servers.host(0), 1: {**servers.host(1), "db": 99}})
    client, promises = everywhere(cluster)
    with pytest.raises(redis.RedisError, match="host 1"):
        client.join()
    assert [promise.is_resolved for promise in promises] == [True, False]


def test_a_pool_that_has_no_connection_left(make_cluster: Make) -> None:
    cluster = make_cluster(pool_options={"max_connections": 1})
    taken = cluster.get_local_client(2).client()  # type: ignore[no-untyped-call]
    client, promises = everywhere(cluster)
    with pytest.raises(redis.ConnectionError, match=r"host 2 .*connections"):
        client.join()
    assert [promise.is_resolved for promise in promises] == [True, True, False, True]
    taken.close()
    client, promises = everywhere(cluster)
    client.join()
