"""What is sent once more when a connection fails, what never is, and how often."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pindb.redis import (
    ClusterConfigError,
    CommandError,
    HostConnectionError,
    HostTimeoutError,
    MaxRetriesExceededError,
    RoundRobinRouter,
    RoutedCluster,
)
from pindb.testing.redis import TestSetup
from tests.redis.down.conftest import MakeFace, both_faces, both_routers, call, in_map_or_not
from tests.redis.tools import Clock, Create, Make, Proxy, down, keys_of


class Broken:
    """A connection that breaks as soon as a command was sent on it: nothing says whether the command ran.

    Attributes:
        breaks: how often it still does.
        received: how often each of the commands came.
    """

    def __init__(self, *commands: str) -> None:
        self.breaks = 0
        self.received = dict.fromkeys(commands, 0)

    def __call__(self, data: bytes) -> bytes | None:
        found = [data.count(b"\r\n%s\r\n" % command.encode()) for command in self.received]
        for command, number in zip(self.received, found, strict=True):
            self.received[command] += number
        if any(found) and self.breaks:
            self.breaks -= 1
            return None
        return data


@pytest.fixture
def broken() -> Broken:
    return Broken("INCRBY", "GET", "MGET", "SET")


@pytest.fixture
def host(servers: TestSetup, broken: Broken) -> Iterator[dict[str, Any]]:
    """The first server behind connections that break."""
    with Proxy(servers.host(0)["unix_socket_path"], forward=broken) as proxy:
        yield proxy.host


# ---- connections that break ----------------------------------------------------------------------


@both_faces
@both_routers
@in_map_or_not
def test_what_may_have_run_is_not_sent_again(
    make_face: MakeFace, broken: Broken, host: dict[str, Any], face: str, router: str, in_map: bool
) -> None:
    cluster = make_face(face, router, [host])
    cluster.connect()
    broken.breaks = 1
    (error,) = cluster.run([call("incr", "n")], in_map)
    assert isinstance(error, HostConnectionError)
    assert not isinstance(error, MaxRetriesExceededError)
    assert "host 0" in str(error)
    assert error.sent is True
    assert broken.received["INCRBY"] == 1
    assert cluster.down == []
    assert cluster.run([call("incr", "n")], in_map) == [1]


@both_faces
@both_routers
def test_what_only_reads_is_sent_again(
    make_face: MakeFace, broken: Broken, host: dict[str, Any], face: str, router: str
) -> None:
    cluster = make_face(face, router, [host])
    cluster.client.set("k", "v")
    broken.breaks = 2
    assert cluster.client.get("k") == b"v"
    assert broken.received["GET"] == 3
    assert cluster.down == []
    broken.breaks = 2
    assert cluster.client.mget(["k", "nothing"]) == [b"v", None]
    assert broken.received["MGET"] == 3


def test_what_only_reads_goes_to_the_next_host(
    create: Create, broken: Broken, host: dict[str, Any], servers: TestSetup
) -> None:
    cluster = create("round_robin", [host, servers.host(1)])
    cluster[1].set("k", "the other's")
    broken.breaks = 1
    assert cluster.get("k") == b"the other's"
    assert broken.received["GET"] == 1
    assert down(cluster) == []


@both_routers
def test_a_map_sends_again_what_only_reads(
    create: Create, broken: Broken, host: dict[str, Any], router: str
) -> None:
    cluster = create(router, [host])
    cluster.mset({"a": 1, "b": 2})
    broken.breaks = 1
    with pytest.raises(CommandError) as caught, cluster.map() as conn:  # noqa: PT012
        first, length = conn.get("a"), conn.strlen("b")
        counted = conn.incr("n")
        stored = conn.set("c", "x")
        rest = [conn.get("a"), conn.get("b")]
        together = conn.mget("a", "b", "nothing")
    assert (first, length, rest, together) == (b"1", 1, [b"1", b"2"], [b"1", b"2", None])
    assert [call.name for call, _ in caught.value.errors] == ["INCRBY", "SET"]
    for failed in (counted, stored):
        assert isinstance(failed, HostConnectionError)
        assert failed.sent is True
    assert (broken.received["INCRBY"], broken.received["SET"]) == (1, 1)
    assert down(cluster) == []


def test_what_was_answered_before_a_connection_broke_stands(create: Create, servers: TestSetup) -> None:
    cutting = threading.Event()

    def cut(data: bytes) -> bytes:
        if not cutting.is_set():
            return data
        cutting.clear()
        return data[: len(b":1\r\n$1\r\n")]

    with Proxy(servers.host(0)["unix_socket_path"], back=cut) as proxy:
        cluster = create("round_robin", [proxy.host])
        cluster.set("a", "1")
        cutting.set()
        with pytest.raises(CommandError) as caught, cluster.map() as conn:
            counted, value, again, last = conn.incr("n"), conn.get("a"), conn.incr("n"), conn.get("n")
        assert (counted, value) == (1, b"1")
        assert isinstance(again, HostConnectionError)
        # It did run, though nobody can know.
        assert last == b"2"
        assert [call.name for call, _ in caught.value.errors] == ["INCRBY"]


@both_faces
@both_routers
def test_what_breaks_every_time_is_given_up(
    make_face: MakeFace, broken: Broken, host: dict[str, Any], face: str, router: str
) -> None:
    cluster = make_face(face, router, [host], retries=2)
    cluster.connect()
    broken.breaks = 100
    for received, in_map in ((3, False), (6, True)):
        (error,) = cluster.run([call("get", "k")], in_map)
        assert type(error) is MaxRetriesExceededError
        assert re.match(r"Gave up after 2 retries .*Last: host 0", str(error))
        assert broken.received["GET"] == received


@pytest.mark.parametrize(
    ("face", "router", "retries"),
    [
        ("create_cluster", "partition", 20),
        ("create_cluster", None, 20),
        ("create_cluster", "round_robin", 0),
        ("Cluster", "partition", 20),
        ("Cluster", "round_robin", 0),
        ("Cluster", "consistent", 0),
    ],
)
def test_where_nothing_is_retried_nothing_is_sent_twice(
    make_face: MakeFace, broken: Broken, host: dict[str, Any], face: str, router: str | None, retries: int
) -> None:
    cluster = make_face(face, router, [host], retries=retries)
    cluster.connect()
    broken.breaks = 2
    for in_map in (False, True):
        (error,) = cluster.run([call("get", "k")], in_map)
        assert type(error) is HostConnectionError
        assert "host 0" in str(error)
    assert broken.received["GET"] == 2
    assert cluster.client.get("k") is None


def test_a_map_of_a_cluster_class_sends_again_what_only_reads(
    make_face: MakeFace, broken: Broken, host: dict[str, Any]
) -> None:
    cluster = make_face("Cluster", "consistent", [host], retries=3)
    cluster.client.set("k", "v")
    broken.breaks = 1
    value, error = cluster.run([call("get", "k"), call("incr", "n")], in_map=True)
    assert value == b"v"
    assert isinstance(error, HostConnectionError)
    assert broken.received["INCRBY"] == 1
    assert cluster.down == []


# ---- hosts that are slow -------------------------------------------------------------------------


def test_a_timeout_is_waited_for_once(create: Create, servers: TestSetup) -> None:
    received, hanging, going_on = Broken("GET", "INCRBY"), threading.Event(), threading.Event()

    def hold(data: bytes) -> bytes:
        if hanging.is_set():
            going_on.wait(10)
        return data

    with Proxy(servers.host(0)["unix_socket_path"], forward=received, back=hold) as proxy:
        hosts = [{**proxy.host, "timeout": 0.15}, servers.host(1)]
        cluster = create("round_robin", hosts)
        assert cluster.ping() and cluster.ping()  # noqa: PT018
        hanging.set()
        with pytest.raises(HostTimeoutError, match="host 0") as caught:
            cluster.get("k")
        assert caught.value.sent is True
        assert cluster.get("k") is None
        going_on.set()
        assert received.received["GET"] == 1
        assert down(cluster) == []


def test_a_map_waits_for_a_timeout_once(create: Create, servers: TestSetup) -> None:
    cluster = create("round_robin", [{**servers.host(server), "timeout": 0.15} for server in (0, 1)])
    assert cluster.ping() and cluster.ping()  # noqa: PT018
    servers.pause(0)
    with pytest.raises(CommandError) as caught, cluster.map() as conn:
        values = [conn.get("k") for _ in range(4)]
    assert [type(error) for _, error in caught.value.errors] == [HostTimeoutError] * 2
    assert values[1] == values[3] == None  # noqa: E711
    assert down(cluster) == []


def test_a_host_that_takes_too_long_to_connect_is_down(create: Create, servers: TestSetup) -> None:
    cluster = create("round_robin", [{**servers.host(server), "timeout": 0.15} for server in (0, 1)])
    servers.pause(0)
    assert [cluster.incr("n") for _ in range(3)] == [1, 2, 3]
    assert down(cluster) == [0]


# ---- hosts that refuse ---------------------------------------------------------------------------


def test_a_connection_that_went_stale_is_replaced(create: Create, servers: TestSetup) -> None:
    cluster = create("round_robin", [servers.host(0)])
    assert cluster.incr("n") == 1
    servers.kill(0)
    servers.start(0)
    assert cluster.incr("n") == 1
    servers.kill(0)
    servers.start(0)
    with cluster.map() as conn:
        counted = conn.incr("n")
    assert counted == 1
    assert down(cluster) == []


def test_a_connection_that_breaks_while_it_is_made_is_refused(create: Create, servers: TestSetup) -> None:
    with Proxy(servers.host(0)["unix_socket_path"], forward=lambda data: None) as proxy:
        hosts = [proxy.host, servers.host(1)]
        cluster = create("round_robin", hosts)
        assert [cluster.incr("n") for _ in range(3)] == [1, 2, 3]
        assert down(cluster) == [0]
        assert proxy.accepted == 1


@both_faces
@both_routers
@pytest.mark.parametrize("retries", [1, 3])
def test_a_host_that_always_refuses_is_given_up(
    make_face: MakeFace, servers: TestSetup, clock: Clock, face: str, router: str, retries: int
) -> None:
    servers.kill(0)
    cluster = make_face(face, router, [servers.host(0)], retries, retry_timeout=0)
    commands = [call("incr", "n"), call("get", "k"), call("mget", ["a", "b"])]
    for in_map in (False, True, False, True):
        for error in cluster.run(commands, in_map):
            assert isinstance(error, MaxRetriesExceededError)
            assert re.match(
                rf"Gave up after {retries} retries \(max_connection_retries\)\. Last: host 0", str(error)
            )
            assert error.sent is False
    servers.start(0)
    assert cluster.client.incr("n") == 1


def test_hosts_that_all_refuse_are_given_up(create: Create, servers: TestSetup) -> None:
    for server in range(4):
        servers.kill(server)
    cluster = create("round_robin", router_options={"retry_timeout": 0}, max_connection_retries=6)
    # Seven hosts were asked, one after the other.
    with pytest.raises(MaxRetriesExceededError, match=r"Gave up after 6 retries.*Last: host 2 "):
        cluster.incr("n")
    with pytest.raises(CommandError, match="Gave up after 6 retries"), cluster.map() as conn:
        conn.incr("n")


def test_no_more_hosts_are_asked_than_there_are_retries(
    create: Create, servers: TestSetup, clock: Clock
) -> None:
    for server in (0, 1, 2):
        servers.kill(server)
    cluster = create("round_robin", max_connection_retries=1)
    with pytest.raises(MaxRetriesExceededError, match=r"Gave up after 1 retries.*Last: host 1 "):
        cluster.incr("n")
    assert down(cluster) == [0, 1]
    assert [cluster.incr("n"), cluster.incr("n")] == [1, 2]
    assert down(cluster) == [0, 1, 2]


@both_routers
def test_the_errors_are_attributes_of_a_cluster(create: Create, servers: TestSetup, router: str) -> None:
    servers.kill(0)
    hosts = [servers.host(0)]
    cluster = create(router, hosts, router_options={"retry_timeout": 0}, max_connection_retries=1)
    with pytest.raises(cluster.MaxRetriesExceededError):
        cluster.incr("n")
    with pytest.raises(CommandError) as caught, cluster.map() as conn:
        result = conn.incr("n")
    assert [type(error) for _, error in caught.value.errors] == [MaxRetriesExceededError]
    assert isinstance(result, MaxRetriesExceededError)


def test_a_cluster_class_gives_up_too(make_cluster: Make, servers: TestSetup) -> None:
    servers.kill(0)
    options = {"retry_timeout": 0}
    cluster = make_cluster(
        {0: servers.host(0)}, router_cls=RoundRobinRouter, router_options=options, max_connection_retries=2
    )
    with pytest.raises(MaxRetriesExceededError, match="Gave up after 2 retries"), cluster.map() as mapping:
        mapping.get("k")
    assert cluster.max_connection_retries == 2


@pytest.mark.parametrize("retries", [-1, "2", 1.5, True])
def test_the_retries_of_a_cluster_class_are_a_number(make_cluster: Make, retries: Any) -> None:
    with pytest.raises(ClusterConfigError, match=f"max_connection_retries is {retries!r}"):
        make_cluster(max_connection_retries=retries)


# ---- error replies -------------------------------------------------------------------------------


@both_routers
def test_an_error_reply_is_an_answer(create: Create, servers: TestSetup, router: str) -> None:
    cluster = create(router, [servers.host(0)])
    cluster.rpush("l", "x")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        cluster.incr("l")
    with pytest.raises(CommandError, match="WRONGTYPE"), cluster.map() as conn:
        conn.incr("l")
    assert down(cluster) == []


@both_routers
def test_a_wrong_password_is_no_reason_to_go_elsewhere(
    create: Create, servers: TestSetup, router: str
) -> None:
    hosts = [{**servers.host(server), "username": "nobody", "password": "wrong"} for server in range(2)]
    cluster = create(router, hosts)
    for _ in range(2):
        with pytest.raises(redis.AuthenticationError, match="host "):
            cluster.get("k")
        with pytest.raises(CommandError) as caught, cluster.map() as conn:
            conn.get("k")
        assert [type(error) for _, error in caught.value.errors] == [redis.AuthenticationError]
    assert down(cluster) == []


@pytest.mark.parametrize("connected", [True, False])
def test_a_server_that_is_loading_is_passed_over(create: Create, servers: TestSetup, connected: bool) -> None:
    loading = threading.Event()

    def answer(data: bytes) -> bytes:
        return b"-LOADING Redis is loading the dataset in memory\r\n" if loading.is_set() else data

    with Proxy(servers.host(0)["unix_socket_path"], back=answer) as proxy:
        hosts = [{**proxy.host, "db": 1}, {**servers.host(1), "db": 1}]
        cluster = create("consistent", hosts)
        (key,) = keys_of(cluster.router, 0, 1)
        if connected:
            cluster.ping()
        loading.set()
        assert cluster.set(key, "x") is True
        assert down(cluster) == [0]
        cluster.router.mark_connection_up(0)
        with cluster.map() as conn:
            value = conn.get(key)
        assert value == b"x"
        assert down(cluster) == [0]
        # Where keys stay, it is the error.
        alone = create("partition", hosts[:1])
        with pytest.raises(redis.BusyLoadingError, match=r"host 0 .*LOADING"):
            alone.get(key)
        with pytest.raises(CommandError, match="LOADING") as caught, alone.map() as conn:
            conn.get(key)
        assert [isinstance(error, redis.BusyLoadingError) for _, error in caught.value.errors] == [True]


def test_a_host_that_answers_with_an_error_is_up_again(
    create: Create, servers: TestSetup, clock: Clock
) -> None:
    cluster = create("round_robin", [servers.host(0), servers.host(1)], router_options={"retry_timeout": 5})
    for host_id in cluster:
        cluster[host_id].rpush("l", "x")
    for fail in (lambda: cluster.incr("l"), lambda: fail_in_map(cluster)):
        cluster.router.mark_connection_down(0)
        clock.now += 5
        for _ in range(2):
            with pytest.raises(redis.RedisError, match="WRONGTYPE"):
                fail()
        assert down(cluster) == []


def fail_in_map(cluster: RoutedCluster) -> None:
    with cluster.map() as conn:
        conn.incr("l")


# ---- redis-py's own retries ----------------------------------------------------------------------


@both_routers
def test_what_was_sent_once_was_sent_however_redis_py_s_retries_end(
    create: Create, servers: TestSetup, router: str
) -> None:
    """The reply is cut, and then the host refuses connections: the command may have run."""
    received = []

    def cut(data: bytes) -> bytes | None:
        if b"INCRBY" not in data:
            return data
        received.append(data)
        proxy.refuse()
        return None

    def forward(data: bytes) -> bytes:
        received.extend([data] * data.count(b"INCRBY"))
        return data

    path = servers.host(0)["unix_socket_path"]
    with Proxy(path, forward=cut) as proxy, Proxy(path, forward=forward) as other:
        hosts = [each.host for each in (proxy, other)]
        cluster = create(router, hosts, pool_options={"retry": Retry(NoBackoff(), 2)})
        key = keys_of(cluster.router, 0, 1)[0] if router == "consistent" else "n"
        with pytest.raises(HostConnectionError, match="host 0") as caught:
            cluster.incr(key)
        assert caught.value.sent is True
        assert len(received) == 1
        # What comes next was not sent to it, and goes on.
        if router == "consistent":
            assert cluster.incr(key) == 1
            assert down(cluster) == [0]


def test_what_only_reads_goes_on_after_redis_py_s_retries(create: Create, servers: TestSetup) -> None:
    def cut(data: bytes) -> bytes | None:
        if b"GET" not in data:
            return data
        proxy.refuse()
        return None

    path = servers.host(0)["unix_socket_path"]
    with Proxy(path, forward=cut) as proxy, Proxy(path) as other:
        hosts = [each.host for each in (proxy, other)]
        cluster = create("consistent", hosts, pool_options={"retry": Retry(NoBackoff(), 2)})
        assert cluster.get(keys_of(cluster.router, 0, 1)[0]) is None
        assert down(cluster) == [0]


def test_an_idle_connection_that_was_lost_has_sent_nothing(create: Create, servers: TestSetup) -> None:
    path = servers.host(0)["unix_socket_path"]
    with Proxy(path) as proxy, Proxy(path) as other:
        hosts = [each.host for each in (proxy, other)]
        cluster = create("consistent", hosts, pool_options={"retry": Retry(NoBackoff(), 2)})
        key = keys_of(cluster.router, 0, 1)[0]
        for number in range(1, 4):
            assert cluster.incr(key) == number
        with cluster.map() as conn:
            conn.incr(key)
        proxy.refuse(also_open=True)
        with cluster.map() as conn:
            result = conn.incr(key)
        assert result == 5
        cluster.router.mark_connection_up(0)
        assert cluster.incr(key) == 6
        assert down(cluster) == [0]
