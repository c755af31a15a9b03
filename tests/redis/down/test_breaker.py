"""The circuit breaker of a host: with ``Cluster(retry_timeout=...)`` it is left alone while it is down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from pindb.cache.options import read_options
from pindb.redis import (
    Cluster,
    ClusterConfigError,
    ConsistentHashingRouter,
    HostConnectionError,
    HostTimeoutError,
    RoutingClient,
    create_cluster,
)
from pindb.testing.redis import TestSetup
from tests.redis.down.conftest import Face, call, in_map_or_not
from tests.redis.tools import Clock, Make, Proxy, keys_on, one_each
from tests.threads import in_threads

THREADS = 16
AT_ONCE = "host 0 .*It refused the last connection; it is tried again in"


class Door:
    """What a `Proxy` does with what clients send: it is open, closed, or keeps them waiting."""

    def __init__(self) -> None:
        self.is_open = True
        self.moves = threading.Event()
        self.moves.set()

    def __call__(self, data: bytes) -> bytes | None:
        self.moves.wait(10)
        return data if self.is_open else None


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.moves.set()


@pytest.fixture
def proxy(servers: TestSetup, door: Door) -> Iterator[Proxy]:
    """Counts connections to the first server."""
    with Proxy(servers.host(0)["unix_socket_path"], forward=door) as proxy:
        yield proxy


@pytest.fixture
def watched(servers: TestSetup, make_cluster: Make, proxy: Proxy) -> Cluster:
    """Two hosts; connections to the first one are counted."""
    hosts = {0: proxy.host, 1: servers.host(1)}
    return make_cluster(hosts, retry_timeout=5)


@pytest.fixture
def refusing(watched: Cluster, door: Door, clock: Clock) -> tuple[RoutingClient, str]:
    """A client whose first host has begun to refuse, which nobody knows yet, and a key of that host."""
    door.is_open = False
    return watched.get_routing_client(), keys_on(watched, 0, 1)[0]


@pytest.fixture
def left_alone(make_cluster: Make, clock: Clock) -> tuple[RoutingClient, str]:
    """A client with a time, and a key of its first host."""
    cluster = make_cluster(retry_timeout=5)
    return cluster.get_routing_client(), keys_on(cluster, 0, 1)[0]


def outcomes_in_threads(work: Callable[[], Any]) -> list[Any]:
    """What the work returns or raises, when many threads do it at once."""

    def run(_: int) -> Any:
        try:
            return work()
        except redis.RedisError as error:
            return error

    return in_threads(THREADS, run)


# ---- clusters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, -1, "5", True, float("nan")])
def test_a_time_that_is_none_is_refused(seconds: Any) -> None:
    with pytest.raises(ClusterConfigError, match=r"retry_timeout is .*Write seconds, above 0, or None"):
        Cluster({0: {}}, retry_timeout=seconds)


def test_the_time_is_an_attribute() -> None:
    assert Cluster({0: {}}, retry_timeout=0.5).retry_timeout == 0.5
    assert Cluster({0: {}}).retry_timeout is None


def everything(cluster: Cluster) -> list[Callable[[], Any]]:
    """Ways to need the first host."""
    client = cluster.get_routing_client()
    (key,) = keys_on(cluster, 0, 1)

    def mapped() -> None:
        with cluster.map() as mapping:
            mapping.get(key)

    def fanned_out() -> None:
        with cluster.all() as fanout:
            fanout.ping()

    return [
        lambda: client.get(key),
        lambda: client.set(key, "x"),
        lambda: client.eval("return 1", 1, key),
        lambda: client.dbsize(),
        lambda: cluster.get_local_client(0).ping(),
        lambda: client.lock(key, timeout=5).acquire(blocking=False),
        mapped,
        fanned_out,
    ]


def test_a_host_that_refuses_is_tried_once_in_the_time(
    watched: Cluster, proxy: Proxy, door: Door, clock: Clock
) -> None:
    door.is_open = False
    for attempts in range(1, 4):
        for work in everything(watched):
            with pytest.raises(redis.ConnectionError):
                work()
        assert proxy.accepted == attempts
        clock.now += 5


def test_the_error_says_when_the_host_is_tried_again(
    refusing: tuple[RoutingClient, str], clock: Clock
) -> None:
    client, key = refusing
    with pytest.raises(HostConnectionError, match=r"host 0 \(127\.0\.0\.1:\d+/0\)"):
        client.get(key)
    clock.now += 1
    with pytest.raises(HostConnectionError, match=AT_ONCE + r" 4\.0 s") as caught:
        client.get(key)
    assert caught.value.sent is False


def test_other_hosts_go_on(watched: Cluster, door: Door) -> None:
    door.is_open = False
    ours, theirs = keys_on(watched, 0, 3), keys_on(watched, 1, 3)
    client = watched.get_routing_client().get_mapping_client()
    for _ in range(3):
        for key in [*ours, *theirs]:
            client.set(key, key)
        results = client.execute(raise_on_error=False)
        assert [isinstance(result, HostConnectionError) for result in results] == [True] * 3 + [False] * 3
    assert watched.get_routing_client().get(theirs[0]) == theirs[0].encode()


def test_a_host_that_is_back_is_used_again(
    watched: Cluster, refusing: tuple[RoutingClient, str], proxy: Proxy, door: Door, clock: Clock
) -> None:
    client, key = refusing
    with pytest.raises(HostConnectionError):
        client.set(key, "x")
    door.is_open = True
    with pytest.raises(HostConnectionError, match=AT_ONCE):
        client.set(key, "x")
    clock.now += 5
    assert client.set(key, "x") is True
    assert all(outcomes_in_threads(lambda: client.get(key) == b"x"))
    # It refused once more, later: that is found out anew.
    door.is_open = False
    watched.disconnect_pools()
    before = proxy.accepted
    for _ in range(3):
        with pytest.raises(HostConnectionError):
            client.get(key)
    assert proxy.accepted == before + 1


def test_without_a_time_everybody_tries(
    servers: TestSetup, make_cluster: Make, proxy: Proxy, door: Door
) -> None:
    cluster = make_cluster({0: proxy.host})
    door.is_open = False
    client = cluster.get_routing_client()
    for attempts in range(1, 4):
        with pytest.raises(HostConnectionError):
            client.get("key")
        assert proxy.accepted == attempts


def test_many_threads_try_once(refusing: tuple[RoutingClient, str], proxy: Proxy, clock: Clock) -> None:
    client, key = refusing
    with pytest.raises(HostConnectionError):
        client.get(key)

    def work() -> None:
        for _ in range(10):
            with pytest.raises(HostConnectionError):
                client.get(key)

    for attempts in range(1, 4):
        assert outcomes_in_threads(work) == [None] * THREADS
        assert proxy.accepted == attempts
        clock.now += 5


def test_while_one_thread_tries_the_others_do_not_wait(
    refusing: tuple[RoutingClient, str], proxy: Proxy, door: Door, clock: Clock
) -> None:
    client, key = refusing
    with pytest.raises(HostConnectionError):
        client.get(key)
    clock.now += 5
    door.is_open = True
    door.moves.clear()
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(client.get, key)
        while proxy.accepted < 2:
            threading.Event().wait(0.001)
        errors = outcomes_in_threads(lambda: client.get(key))
        assert not trial.done()
        door.moves.set()
        assert trial.result(10) is None
    assert all("tried again" in str(error) for error in errors)
    assert proxy.accepted == 2
    assert outcomes_in_threads(lambda: client.get(key)) == [None] * THREADS


def test_a_server_that_lets_nobody_in_is_waited_for_once(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster(retry_timeout=60, pool_options={"socket_timeout": 0.1, "protocol": 3})
    (key,) = keys_on(cluster, 0, 1)
    client = cluster.get_routing_client()
    servers.pause(0)
    # It takes the connection, and does not answer the HELLO.
    with pytest.raises(HostTimeoutError, match="host 0") as caught:
        client.get(key)
    assert caught.value.sent is False
    assert all("tried again in" in str(error) for error in outcomes_in_threads(lambda: client.get(key)))


def test_a_server_that_is_killed_and_started(
    servers: TestSetup, left_alone: tuple[RoutingClient, str], clock: Clock
) -> None:
    client, key = left_alone
    assert client.set(key, "x") is True
    servers.kill(0)
    with pytest.raises(HostConnectionError, match="host 0"):
        client.get(key)
    with pytest.raises(HostConnectionError, match=AT_ONCE):
        client.get(key)
    servers.start(0)
    clock.now += 5
    assert client.get(key) is None


def test_a_connection_that_broke_is_no_refusal(
    servers: TestSetup, left_alone: tuple[RoutingClient, str]
) -> None:
    client, key = left_alone
    client.set(key, "x")
    servers.kill(0)
    servers.start(0)
    # A new connection was to be had at once.
    assert client.get(key) is None


def test_a_reply_that_is_late_is_no_refusal(servers: TestSetup, make_cluster: Make, clock: Clock) -> None:
    cluster = make_cluster(retry_timeout=5, pool_options={"socket_timeout": 0.1})
    (key,) = keys_on(cluster, 0, 1)
    client = cluster.get_routing_client()
    client.ping()
    servers.pause(0)
    with pytest.raises(HostTimeoutError, match="host 0"):
        client.get(key)
    servers.resume(0)
    assert client.set(key, "x") is True


def test_an_error_reply_is_no_refusal(servers: TestSetup, make_cluster: Make, proxy: Proxy) -> None:
    hosts = {0: {**proxy.host, "password": "wrong"}}
    cluster = make_cluster(hosts, retry_timeout=5)
    client = cluster.get_routing_client()
    with servers.client(0) as plain:
        plain.config_set("requirepass", "right")
        try:
            for attempts in range(1, 4):
                with pytest.raises(redis.AuthenticationError, match="host 0"):
                    client.get("key")
                # The host was there to say that.
                assert proxy.accepted == attempts
        finally:
            plain.config_set("requirepass", "")


def test_connections_of_another_class_always_try(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster(
        {0: {"host": "127.0.0.1", "port": 1}},
        retry_timeout=5,
        pool_options={"connection_class": redis.Connection},
    )
    for _ in range(3):
        with pytest.raises(HostConnectionError) as caught:
            cluster.get_routing_client().get("key")
        assert "tried again" not in str(caught.value)


def test_each_host_has_a_time_of_its_own(servers: TestSetup, make_cluster: Make, clock: Clock) -> None:
    cluster = make_cluster(retry_timeout=5)
    keys = one_each(cluster)
    client = cluster.get_routing_client()
    servers.kill(0)
    with pytest.raises(HostConnectionError):
        client.get(keys[0])
    clock.now += 3
    servers.kill(1)
    with pytest.raises(HostConnectionError):
        client.get(keys[1])
    servers.start(0)
    servers.start(1)
    clock.now += 2
    assert client.get(keys[0]) is None
    with pytest.raises(HostConnectionError, match=r"host 1 .*3\.0 s"):
        client.get(keys[1])
    clock.now += 3
    assert client.get(keys[1]) is None


def test_a_script_for_a_dead_host_is_not_sent_elsewhere(
    servers: TestSetup, left_alone: tuple[RoutingClient, str]
) -> None:
    client, key = left_alone
    servers.kill(0)
    with pytest.raises(HostConnectionError, match="host 0"):
        client.eval("return 1", 1, key)


def test_a_caller_without_time_says_nothing_about_the_host(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster(retry_timeout=60)
    (key,) = keys_on(cluster, 1, 1)
    servers.pause(1)
    with pytest.raises(HostTimeoutError), cluster.map(timeout=0.05) as client:
        client.get(key)
    servers.resume(1)
    assert cluster.get_routing_client().get(key) is None


# ---- one breaker for connections and routers -----------------------------------------------------


@pytest.fixture
def ring(make_cluster: Make, servers: TestSetup, proxy: Proxy, clock: Clock) -> Cluster:
    """Two hosts that stand in for each other; connections to the first one are counted."""
    hosts = {0: {**proxy.host, "name": "a"}, 1: {**servers.host(1), "name": "b"}}
    return make_cluster(hosts, router_cls=ConsistentHashingRouter, max_connection_retries=2, retry_timeout=5)


def test_routers_go_by_the_time_of_their_cluster(ring: Cluster, clock: Clock) -> None:
    router: Any = ring.get_router()
    assert router.retry_timeout == 5
    router.mark_connection_down(1)
    assert router.down_connections == {1: clock.now + 5}
    made = create_cluster({"router": "round_robin", "hosts": [{"port": 1}], "retry_timeout": 7})
    assert made.router.retry_timeout == 7  # type: ignore[attr-defined]


def test_a_host_has_one_time() -> None:
    options: dict[str, Any] = {"router_cls": ConsistentHashingRouter, "router_options": {"retry_timeout": 10}}
    with pytest.raises(ClusterConfigError, match="retry_timeout is 10 for the router and 5 for the cluster"):
        Cluster({0: {}}, retry_timeout=5, **options).get_router()
    Cluster({0: {}}, retry_timeout=10, **options).get_router()


def test_the_time_is_the_same_everywhere(clock: Clock) -> None:
    for router in ("round_robin", "consistent"):
        made: Any = create_cluster({"router": router, "hosts": [{"port": 1}]}).router
        plain: Any = Cluster({0: {}}, router_cls=type(made)).get_router()
        options = read_options("redis://localhost", {"ROUTER": "consistent"})
        assert made.retry_timeout == plain.retry_timeout == options.retry_timeout == 5


@in_map_or_not
def test_a_host_that_a_router_gives_a_thread_is_connected_to(
    ring: Cluster, door: Door, proxy: Proxy, clock: Clock, in_map: bool
) -> None:
    face = Face(ring)
    key, other = keys_on(ring, 0, 1) + keys_on(ring, 1, 1)
    commands = [call("set", key, "x"), call("get", other)]
    door.is_open = False
    assert face.run(commands, in_map) == [True, None]
    assert (face.down, proxy.accepted) == ([0], 1)
    for attempts in (2, 3):
        clock.now += 5
        assert face.run(commands, in_map) == [True, None]
        assert (face.down, proxy.accepted) == ([0], attempts)
    door.is_open = True
    clock.now += 5
    assert face.run([call("get", key), call("get", other)], in_map) == [None, None]
    assert (face.down, proxy.accepted) == ([], 4)


def test_of_many_threads_one_tries_a_host_that_is_passed_over(
    ring: Cluster, door: Door, proxy: Proxy, clock: Clock
) -> None:
    (key,) = keys_on(ring, 0, 1)
    client = ring.get_routing_client()
    door.is_open = False
    assert client.set(key, "x") is True
    for attempts in (2, 3):
        clock.now += 5
        assert outcomes_in_threads(lambda: client.get(key)) == [b"x"] * THREADS
        assert proxy.accepted == attempts


def test_a_host_that_is_marked_up_is_tried_at_once(ring: Cluster, door: Door, clock: Clock) -> None:
    (key,) = keys_on(ring, 0, 1)
    client, router = ring.get_routing_client(), ring.get_router()
    door.is_open = False
    assert client.set(key, "elsewhere") is True
    door.is_open = True
    assert client.get(key) == b"elsewhere"
    router.mark_connection_up(0)
    assert client.get(key) is None
    assert router.down_connections == {}


def test_a_host_that_was_marked_by_hand_can_be_worked_on(ring: Cluster, clock: Clock) -> None:
    router = ring.get_router()
    router.mark_connection_down(0)
    assert ring.get_local_client(0).ping() is True
    with ring.all() as fanout:
        fanout.ping()
    assert router.down_connections == {0: clock.now + 5}


def test_the_reply_to_an_earlier_command_is_no_news(
    servers: TestSetup, make_cluster: Make, clock: Clock
) -> None:
    """The host refuses connections while a command is on its way on an open one."""
    asked, goes_on = threading.Event(), threading.Event()
    goes_on.set()

    def back(data: bytes) -> bytes:
        if not goes_on.is_set():
            asked.set()
            goes_on.wait(10)
        return data

    with Proxy(servers.host(0)["unix_socket_path"], back=back) as slow, ThreadPoolExecutor(1) as pool:
        hosts = {0: {**slow.host, "name": "a"}, 1: servers.host(1)}
        cluster = make_cluster(
            hosts, router_cls=ConsistentHashingRouter, max_connection_retries=2, retry_timeout=5
        )
        (key,) = keys_on(cluster, 0, 1)
        client, router = cluster.get_routing_client(), cluster.get_router()
        assert client.set(key, "x") is True
        goes_on.clear()
        earlier = pool.submit(client.get, key)
        assert asked.wait(10)
        slow.refuse()
        assert client.get(key) is None
        assert list(router.down_connections) == [0]
        goes_on.set()
        assert earlier.result(10) == b"x"
        # It is left alone all the same, until somebody finds out.
        assert client.get(key) is None
        assert router.down_connections == {0: clock.now + 5}
        clock.now += 5
        assert client.get(key) == b"x"
        assert router.down_connections == {}
