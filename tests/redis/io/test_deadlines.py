"""One deadline for all that a map does, and the time that a server gets without one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from pindb.redis import Cluster, ConsistentHashingRouter, HostTimeoutError
from pindb.testing.redis import TestSetup
from tests.redis.tools import Make, Proxy, held, keys_on, one_each

#: More than a busy machine needs, and less than any of the timeouts that must not count.
SLACK = 1.0


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds + SLACK


@contextmanager
def answering(reply: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server of our own, on a port; `reply` is given each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                connections.append(sock)
                threading.Thread(target=guarded, args=(sock,), daemon=True).start()

        def guarded(sock: socket.socket) -> None:
            with suppress(OSError):
                reply(sock)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for sock in connections:
                sock.close()


def silence(sock: socket.socket) -> None:
    """Take everything, and say nothing."""
    while sock.recv(4096):
        pass


def dripping(data: bytes, seconds: float) -> Callable[[socket.socket], None]:
    """Answer anything with `data`, a byte at a time."""

    def reply(sock: socket.socket) -> None:
        while sock.recv(4096):
            for byte in data:
                sock.sendall(bytes([byte]))
                time.sleep(seconds)

    return reply


# ---- connecting ----------------------------------------------------------------------------------


def test_hosts_that_hang_cost_one_timeout_together(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster(pool_options={"socket_timeout": 0.5, "socket_connect_timeout": 0.5})
    keys = one_each(cluster)
    for server in range(1, 4):
        servers.pause(server)
    client = cluster.get_routing_client().get_mapping_client()
    promises = [client.get(key) for key in keys]
    # One after the other, it would be 1.5 seconds at the least.
    with at_most(0.4), pytest.raises(redis.TimeoutError):
        client.join()
    assert [promise.is_resolved for promise in promises] == [True, False, False, False]
    assert held(cluster) == [0, 0, 0, 0]


def test_the_time_counts_for_the_handshake_too(servers: TestSetup, make_cluster: Make) -> None:
    """Each step of it is answered late, but none too late."""

    def late(data: bytes) -> bytes:
        time.sleep(0.4)
        return data

    with Proxy(str(servers._socket(0)), back=late) as proxy:
        cluster = make_cluster(
            {0: {"port": proxy.port, "db": 1}, 1: servers.host(1)},
            pool_options={"client_name": "slow", "protocol": 3},
        )
        with (
            at_most(0.5),
            pytest.raises(HostTimeoutError, match="host 0"),
            cluster.map(timeout=0.5) as client,
        ):
            client.get(keys_on(cluster, 0, 1)[0])


def test_the_time_counts_for_all_addresses_of_a_name(
    make_cluster: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody answers there: the addresses are reserved for documentation, or the backlog is full.
    with full_backlog() as address:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)] * 4
        monkeypatch.setattr("socket.getaddrinfo", lambda *args, **kwargs: found)
        cluster = make_cluster({0: {"host": "four.example", "port": 1}})
        with at_most(0.5), pytest.raises(HostTimeoutError), cluster.map(timeout=0.5) as client:
            client.get("a")


def test_an_address_that_hangs_leaves_time_for_the_next_one(
    servers: TestSetup, make_cluster: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_backlog() as address, Proxy(str(servers._socket(0))) as proxy:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", place)
            for place in (address, ("127.0.0.1", proxy.port))
        ]
        monkeypatch.setattr("socket.getaddrinfo", lambda *args, **kwargs: found)
        cluster = make_cluster({0: {"host": "two.example", "port": 1}})
        with cluster.map(timeout=2) as client:
            promise = client.set("a", "1")
        assert promise.value is True


@contextmanager
def full_backlog() -> Iterator[tuple[str, int]]:
    """An address where connections are neither accepted nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        try:
            for _ in range(8):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(address)
                waiting.append(sock)
            yield address
        finally:
            for sock in waiting:
                sock.close()


def test_the_time_counts_for_retries_of_the_pool(make_cluster: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    cluster = make_cluster({0: {"port": port}}, pool_options={"retry": Retry(ConstantBackoff(2), 3)})
    with (
        at_most(0.3),
        pytest.raises((redis.TimeoutError, redis.ConnectionError)),
        cluster.map(timeout=0.3) as client,
    ):
        client.get("a")


def test_the_time_counts_for_a_slow_look_up_of_a_name(
    make_cluster: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()

    def look_up(*args: Any, **kwargs: Any) -> Any:
        may_go_on.wait(10)
        raise socket.gaierror("no such name")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    cluster = make_cluster({0: {"host": "slow.example"}})
    try:
        with at_most(0.2), pytest.raises(HostTimeoutError), cluster.map(timeout=0.2) as client:
            client.get("a")
    finally:
        may_go_on.set()
    # The thread that looked it up gives the connection back.
    assert held(cluster) == [0]


def test_the_time_counts_for_a_pool_that_is_exhausted(make_cluster: Make) -> None:
    cluster = make_cluster(
        pool_cls=redis.BlockingConnectionPool, pool_options={"max_connections": 1, "timeout": 20}
    )
    taken = cluster.get_local_client(2).client()  # type: ignore[no-untyped-call]
    try:
        with (
            at_most(0.2),
            pytest.raises(redis.ConnectionError, match="host 2"),
            cluster.map(timeout=0.2) as client,
        ):
            client.get(keys_on(cluster, 2, 1)[0])
    finally:
        taken.close()


def test_the_rounds_of_execute_commands_share_one_timeout(servers: TestSetup, cluster: Cluster) -> None:
    script = cluster.get_local_client(0).register_script("return redis.call('get', KEYS[1])")
    (key,) = keys_on(cluster, 1, 1)
    servers.pause(1)
    with at_most(0.5), pytest.raises(HostTimeoutError):
        cluster.execute_commands({key: [(script, [key], [])]}, timeout=0.5)


# ---- a caller's own short time says nothing about a host ------------------------------------------


@pytest.mark.parametrize("timeout", [0.0001, 0.01, 0.3])
def test_a_short_time_marks_no_host_down(servers: TestSetup, make_cluster: Make, timeout: float) -> None:
    cluster = make_cluster(router_cls=ConsistentHashingRouter, max_connection_retries=20, retry_timeout=30)
    keys = [f"key:{i}" for i in range(100)]
    servers.pause(2)
    with pytest.raises(HostTimeoutError), cluster.map(timeout=timeout) as client:
        client.get_many(keys)
    assert not cluster.get_router().down_connections
    servers.resume(2)
    with cluster.map() as client:
        promises = client.get_many(keys)
    assert [promise.value for promise in promises] == [None] * 100


def test_a_host_that_hangs_in_one_batch_is_asked_once(servers: TestSetup, make_cluster: Make) -> None:
    """Its retry_timeout is over before the batch is."""
    cluster = make_cluster(
        router_cls=ConsistentHashingRouter,
        router_options={"retry_timeout": 0.05},
        max_connection_retries=20,
        pool_options={"socket_timeout": 0.3},
    )
    for server in range(3):
        servers.pause(server)
    with at_most(0.6), cluster.map() as client:
        promises = client.get_many([f"key:{i}" for i in range(100)])
    assert [promise.value for promise in promises] == [None] * 100


# ---- turns ---------------------------------------------------------------------------------------


def test_a_host_that_hangs_takes_one_turn_and_not_all(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster()
    keys = one_each(cluster)
    cluster.get_routing_client().ping()
    servers.pause(0)
    client = cluster.get_routing_client().get_mapping_client(max_concurrency=2)
    promises = [client.get(key) for key in keys]
    with pytest.raises(HostTimeoutError, match="host 0"):
        client.join(timeout=0.3)
    assert [promise.is_resolved for promise in promises] == [False, True, True, True]


def test_hosts_that_are_down_leave_their_turns_to_others(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster()
    keys = one_each(cluster)
    for server in range(3):
        servers.kill(server)
    client = cluster.get_routing_client().get_mapping_client(max_concurrency=1)
    promises = [client.get(key) for key in keys]
    with pytest.raises(redis.ConnectionError):
        client.join()
    assert [promise.is_resolved for promise in promises] == [False, False, False, True]


# ---- without a deadline --------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"socket_timeout": 2}, {"socket_connect_timeout": 2}])
def test_pools_have_timeouts_that_no_version_of_redis_py_decides(
    make_cluster: Make, options: dict[str, Any]
) -> None:
    connection = make_cluster(pool_options=options).get_pool_for_host(0).make_connection()
    assert connection.socket_timeout == options.get("socket_timeout", 5)
    connecting = options.get("socket_connect_timeout", options.get("socket_timeout", 5))
    assert connection.socket_connect_timeout == connecting


def test_a_pool_waits_for_ever_where_it_is_told_to(make_cluster: Make) -> None:
    cluster = make_cluster(pool_options={"socket_timeout": None})
    connection = cluster.get_pool_for_host(0).make_connection()
    assert connection.socket_timeout is None
    assert connection.socket_connect_timeout == 5


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_server_that_drips_its_handshake_is_given_up(make_cluster: Make, protocol: int) -> None:
    hello = b"%1\r\n+proto\r\n:3\r\n" if protocol == 3 else b"+OK\r\n"
    with answering(dripping(hello * 4, 0.1)) as port:
        cluster = make_cluster(
            {0: {"port": port, "db": 1}}, pool_options={"socket_timeout": 0.3, "protocol": protocol}
        )
        with at_most(0.6), pytest.raises(redis.TimeoutError):
            cluster.get_routing_client().get("a")
        with at_most(0.6), pytest.raises(redis.TimeoutError), cluster.map() as client:
            client.get("a")


@pytest.mark.parametrize("with_map", [True, False])
def test_a_server_that_drips_a_reply_is_given_up(make_cluster: Make, with_map: bool) -> None:
    def reply(sock: socket.socket) -> None:
        while data := sock.recv(4096):
            if b"GET" not in data:
                sock.sendall(b"+OK\r\n" * data.count(b"*"))
                continue
            for byte in b"$100\r\n" + 100 * b"x":
                sock.sendall(bytes([byte]))
                time.sleep(0.05)

    with answering(reply) as port:
        cluster = make_cluster({0: {"port": port}}, pool_options={"socket_timeout": 0.3, "protocol": 2})
        client = cluster.map() if with_map else cluster.get_routing_client()
        with at_most(0.6), pytest.raises(HostTimeoutError, match="host 0"), client:
            client.get("a")
        assert held(cluster) == [0]


@pytest.mark.parametrize("with_map", [True, False])
def test_a_large_reply_may_take_longer_than_the_timeout(make_cluster: Make, with_map: bool) -> None:
    size = 1 << 20

    def reply(sock: socket.socket) -> None:
        while data := sock.recv(4096):
            if b"GET" not in data:
                sock.sendall(b"+OK\r\n" * data.count(b"*"))
                continue
            sock.sendall(b"$%d\r\n" % size)
            for _ in range(8):
                sock.sendall(b"x" * (size // 8))
                time.sleep(0.1)
            sock.sendall(b"\r\n")

    with answering(reply) as port:
        cluster = make_cluster({0: {"port": port}}, pool_options={"socket_timeout": 0.4, "protocol": 2})
        with cluster.map() if with_map else cluster.get_routing_client() as client:
            value = client.get("a")
        assert (value.value if with_map else value) == b"x" * size


def test_messages_may_come_for_longer_than_the_timeout(servers: TestSetup, make_cluster: Make) -> None:
    """Each is a reply of its own, which nobody has asked for."""
    cluster = make_cluster(pool_options={"socket_timeout": 0.4, "protocol": 2})
    pubsub = cluster.get_local_client(0).pubsub()  # type: ignore[no-untyped-call]
    pubsub.subscribe("news")
    for number in range(8):
        with servers.client(0) as client:
            client.publish("news", number)
        time.sleep(0.1)
        while (message := pubsub.get_message(timeout=1))["type"] != "message":
            pass
        assert message["data"] == b"%d" % number
    pubsub.close()
