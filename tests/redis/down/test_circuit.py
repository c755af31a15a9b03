"""A host that refuses connections is left alone for a while: who tries it, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from pindb.redis import (
    Cluster,
    ClusterConfigError,
    ConsistentHashingRouter,
    HostConnectionError,
    HostTimeoutError,
    Promise,
    UnroutableCommand,
)
from pindb.testing.redis import TestSetup
from tests.redis.tools import Clock, Proxy, calls_on, forget_calls, keys_on

Make = Callable[..., Cluster]

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
    hosts = {0: {"host": "127.0.0.1", "port": proxy.port}, 1: servers.host(1)}
    return make_cluster(hosts, retry_timeout=5)


def in_threads(work: Callable[[], Any]) -> list[Any]:
    """What the work returns or raises, when many threads do it at once."""
    start = threading.Barrier(THREADS)

    def run(_: int) -> Any:
        start.wait(10)
        try:
            return work()
        except redis.RedisError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


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
    watched: Cluster, proxy: Proxy, door: Door, clock: Clock
) -> None:
    door.is_open = False
    (key,) = keys_on(watched, 0, 1)
    client = watched.get_routing_client()
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


def test_a_host_that_is_back_is_used_again(watched: Cluster, proxy: Proxy, door: Door, clock: Clock) -> None:
    door.is_open = False
    (key,) = keys_on(watched, 0, 1)
    client = watched.get_routing_client()
    with pytest.raises(HostConnectionError):
        client.set(key, "x")
    door.is_open = True
    with pytest.raises(HostConnectionError, match=AT_ONCE):
        client.set(key, "x")
    clock.now += 5
    assert client.set(key, "x") is True
    assert all(in_threads(lambda: client.get(key) == b"x"))
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
    cluster = make_cluster({0: {"host": "127.0.0.1", "port": proxy.port}})
    door.is_open = False
    client = cluster.get_routing_client()
    for attempts in range(1, 4):
        with pytest.raises(HostConnectionError):
            client.get("key")
        assert proxy.accepted == attempts


def test_many_threads_try_once(watched: Cluster, proxy: Proxy, door: Door, clock: Clock) -> None:
    door.is_open = False
    (key,) = keys_on(watched, 0, 1)
    client = watched.get_routing_client()
    with pytest.raises(HostConnectionError):
        client.get(key)

    def work() -> None:
        for _ in range(10):
            with pytest.raises(HostConnectionError):
                client.get(key)

    for attempts in range(1, 4):
        assert in_threads(work) == [None] * THREADS
        assert proxy.accepted == attempts
        clock.now += 5


def test_while_one_thread_tries_the_others_do_not_wait(
    watched: Cluster, proxy: Proxy, door: Door, clock: Clock
) -> None:
    door.is_open = False
    (key,) = keys_on(watched, 0, 1)
    client = watched.get_routing_client()
    with pytest.raises(HostConnectionError):
        client.get(key)
    clock.now += 5
    door.is_open = True
    door.moves.clear()
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(client.get, key)
        while proxy.accepted < 2:
            threading.Event().wait(0.001)
        errors = in_threads(lambda: client.get(key))
        assert not trial.done()
        door.moves.set()
        assert trial.result(10) is None
    assert all("tried again" in str(error) for error in errors)
    assert proxy.accepted == 2
    assert in_threads(lambda: client.get(key)) == [None] * THREADS


def test_a_server_that_lets_nobody_in_is_waited_for_once(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster(retry_timeout=60, pool_options={"socket_timeout": 0.1, "protocol": 3})
    (key,) = keys_on(cluster, 0, 1)
    client = cluster.get_routing_client()
    servers.pause(0)
    # It takes the connection, and does not answer the HELLO.
    with pytest.raises(HostTimeoutError, match="host 0") as caught:
        client.get(key)
    assert caught.value.sent is False
    assert all("tried again in" in str(error) for error in in_threads(lambda: client.get(key)))


def test_a_server_that_is_killed_and_started(servers: TestSetup, make_cluster: Make, clock: Clock) -> None:
    cluster = make_cluster(retry_timeout=5)
    (key,) = keys_on(cluster, 0, 1)
    client = cluster.get_routing_client()
    assert client.set(key, "x") is True
    servers.kill(0)
    with pytest.raises(HostConnectionError, match="host 0"):
        client.get(key)
    with pytest.raises(HostConnectionError, match=AT_ONCE):
        client.get(key)
    servers.start(0)
    clock.now += 5
    assert client.get(key) is None


def test_a_connection_that_broke_is_no_refusal(servers: TestSetup, make_cluster: Make, clock: Clock) -> None:
    cluster = make_cluster(retry_timeout=5)
    (key,) = keys_on(cluster, 0, 1)
    client = cluster.get_routing_client()
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
    hosts = {0: {"host": "127.0.0.1", "port": proxy.port, "password": "wrong"}}
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
    keys = [keys_on(cluster, host_id, 1)[0] for host_id in range(4)]
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


# ---- scripts by their key ------------------------------------------------------------------------

SET = "return redis.call('SET', KEYS[1], ARGV[1])"


def test_a_script_goes_to_the_host_of_its_key(servers: TestSetup, cluster: Cluster) -> None:
    client = cluster.get_routing_client()
    sha = cluster.get_local_client(0).script_load(SET)
    for host_id in range(4):
        cluster.get_local_client(host_id).script_load(SET)
        one, two = keys_on(cluster, host_id, 2)
        forget_calls(servers)
        assert client.eval(SET, 1, one, "by eval") == b"OK"
        assert client.evalsha(sha, 1, two, "by evalsha") == b"OK"
        assert calls_on(servers, host_id, "eval", "evalsha") == [1, 1]
        assert (client.get(one), client.get(two)) == (b"by eval", b"by evalsha")


def test_scripts_in_a_map(cluster: Cluster) -> None:
    keys = [key for host_id in range(4) for key in keys_on(cluster, host_id, 3)]
    with cluster.map() as client:
        stored = [client.eval(SET, 1, key, key) for key in keys]
        values = [client.get(key) for key in keys]
        counted = [client.eval("return redis.call('INCRBY', KEYS[1], 2)", "1", f"n:{key}") for key in keys]
    assert [promise.value for promise in stored] == [b"OK"] * 12
    assert [promise.value for promise in values] == [key.encode() for key in keys]
    assert [promise.value for promise in counted] == [2] * 12


def test_functions_go_to_the_host_of_their_key(servers: TestSetup, cluster: Cluster) -> None:
    if servers.version < (7,):
        pytest.skip("functions came with Redis 7")
    function = "function(keys, args) redis.call('SET', keys[1], args[1]) end"
    library = f"#!lua name=pindb\nredis.register_function('put', {function})"
    with cluster.all() as fanout:
        fanout.function_load(library, replace=True)
    client = cluster.get_routing_client()
    for host_id in range(4):
        (key,) = keys_on(cluster, host_id, 1)
        client.fcall("put", 1, key, "x")
        assert client.get(key) == b"x"
    with cluster.all() as fanout:
        fanout.function_delete("pindb")


@pytest.mark.parametrize("words", [(0,), (0, "argument"), (2, "a", "b"), ("x", "a"), ()])
def test_scripts_of_no_single_key_are_refused(cluster: Cluster, words: tuple[Any, ...]) -> None:
    with pytest.raises(UnroutableCommand):
        cluster.get_routing_client().execute_command("EVAL", "return 1", *words)
    with pytest.raises(UnroutableCommand):
        cluster.get_routing_client().get_mapping_client().execute_command("EVAL", "return 1", *words)


def test_scripts_with_several_keys_of_one_tag(make_cluster: Make) -> None:
    cluster = make_cluster(router_options={"hash_tags": True})
    client = cluster.get_routing_client()
    script = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('SET', KEYS[2], ARGV[1])"
    assert client.eval(script, 2, "{tag}:1", "{tag}:2", "x") == b"OK"
    assert (client.get("{tag}:1"), client.get("{tag}:2")) == (b"x", b"x")


def test_a_script_for_a_dead_host_is_not_sent_elsewhere(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster(retry_timeout=5)
    (key,) = keys_on(cluster, 0, 1)
    servers.kill(0)
    with pytest.raises(HostConnectionError, match="host 0"):
        cluster.get_routing_client().eval(SET, 1, key, "x")


# ---- many keys -----------------------------------------------------------------------------------

DEAD = 1


@pytest.fixture
def spread(cluster: Cluster) -> list[str]:
    """Keys of all hosts, in turn."""
    keys = [keys_on(cluster, host_id, 10) for host_id in range(4)]
    return [key for some in zip(*keys, strict=True) for key in some]


def values_of(promises: list[Promise]) -> list[Any]:
    return [promise.value if promise.is_resolved else type(promise.reason) for promise in promises]


def test_many_keys_come_in_their_order(servers: TestSetup, cluster: Cluster, spread: list[str]) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    stored = client.set_many(spread, [f"value of {key}" for key in spread])
    found = client.get_many([*spread, "nothing", spread[0]])
    forget_calls(servers)
    client.join()
    assert values_of(stored) == [True] * 40
    expected = [f"value of {key}".encode() for key in spread]
    assert values_of(found) == [*expected, None, expected[0]]
    # One command for each host.
    calls = [calls_on(servers, server, "mget", "mset", "get", "set") for server in range(4)]
    assert calls == [[1, 1, 0, 0]] * 4


def test_many_keys_with_a_time(cluster: Cluster, spread: list[str]) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    client.set_many(spread, spread, px=50_000)
    client.set_many(["forever"], ["x"])
    client.join()
    routing = cluster.get_routing_client()
    assert all(49_000 < routing.pttl(key) <= 50_000 for key in spread)
    assert routing.pttl("forever") == -1


def test_runs_with_different_times_are_not_mixed(cluster: Cluster) -> None:
    keys = keys_on(cluster, 2, 6)
    client = cluster.get_routing_client().get_mapping_client()
    client.set_many(keys[:2], ["x", "x"], px=50_000)
    client.set_many(keys[2:4], ["x", "x"])
    client.set_many(keys[4:], ["x", "x"], px=90_000)
    client.set(keys[0], "y")
    client.join()
    routing = cluster.get_routing_client()
    times = [routing.pttl(key) for key in keys]
    assert [round(left / 10_000) for left in times] == [0, 5, 0, 0, 9, 9]


def test_calls_keep_their_order(cluster: Cluster) -> None:
    keys = keys_on(cluster, 2, 3)
    client = cluster.get_routing_client().get_mapping_client()
    client.set(keys[0], "first")
    before = client.get_many(keys)
    client.set_many(keys, ["a", "b", "c"])
    single = client.get(keys[1])
    ((part, deleted),) = client.delete_many(keys[:2])
    after = client.get_many(keys)
    results = client.execute()
    assert values_of(before) == [b"first", None, None]
    assert single.value == b"b"
    assert (part.places, deleted.value) == ([0, 1], 2)
    assert values_of(after) == [None, None, b"c"]
    assert results == [True, b"first", None, None, True, True, True, b"b", 2, None, None, b"c"]


def test_no_keys_at_all(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    assert (client.get_many([]), client.set_many([], []), client.delete_many([])) == ([], [], [])
    assert client.execute() == []


def test_each_host_deletes_what_it_has(cluster: Cluster, spread: list[str]) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    client.set_many(spread[:20], spread[:20])
    pairs = client.delete_many(spread)
    client.join()
    assert sum(promise.value for _, promise in pairs) == 20
    assert sorted(place for part, _ in pairs for place in part.places) == list(range(40))
    assert sorted(part.host_id for part, _ in pairs) == [0, 1, 2, 3]


def test_a_key_that_is_none_fails_alone(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    wrong: Any = object()
    stored = client.set_many(["a", wrong, "b"], [1, 2, 3], px=50_000)
    found = client.get_many(["a", wrong, "b"])
    client.execute(raise_on_error=False)
    assert [promise.is_resolved for promise in stored] == [True, False, True]
    assert [promise.is_resolved for promise in found] == [True, False, True]
    assert (found[0].value, found[2].value) == (b"1", b"3")
    assert cluster.get_routing_client().pttl("b") > 0


@pytest.mark.parametrize("connected", [True, False])
def test_the_keys_of_a_killed_host_fail(
    servers: TestSetup, cluster: Cluster, spread: list[str], connected: bool
) -> None:
    home = cluster.get_router().get_hosts_for_keys(spread)
    if connected:
        cluster.get_routing_client().ping()
    servers.kill(DEAD)
    client = cluster.get_routing_client().get_mapping_client()
    stored = client.set_many(spread, spread, px=50_000)
    found = client.get_many(spread)
    pairs = client.delete_many(spread)
    client.execute(raise_on_error=False)
    error = HostConnectionError
    assert values_of(stored) == [error if host_id == DEAD else True for host_id in home]
    assert values_of(found) == [
        error if host_id == DEAD else key.encode() for key, host_id in zip(spread, home, strict=True)
    ]
    assert [promise.is_rejected for _, promise in pairs] == [part.host_id == DEAD for part, _ in pairs]
    with pytest.raises(HostConnectionError, match=f"host {DEAD}"), cluster.map() as mapping:
        mapping.get_many(spread)


@pytest.fixture
def ring(servers: TestSetup, make_cluster: Make) -> Cluster:
    """Hosts on a ring, where others stand in for a dead one."""
    hosts = {server: {**servers.host(server), "name": f"ring:{server}"} for server in range(4)}
    return make_cluster(
        hosts,
        router_cls=ConsistentHashingRouter,
        router_options={"retry_timeout": 60},
        max_connection_retries=4,
        retry_timeout=60,
    )


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("px", [None, 50_000])
def test_the_keys_of_a_killed_host_go_elsewhere(
    servers: TestSetup, ring: Cluster, connected: bool, px: int | None
) -> None:
    keys = [key for host_id in range(4) for key in keys_on(ring, host_id, 10)]
    if connected:
        ring.get_routing_client().ping()
    servers.kill(DEAD)
    client = ring.get_routing_client().get_mapping_client()
    stored = client.set_many(keys, keys, px=px)
    found = client.get_many([*keys, "nothing"])
    pairs = client.delete_many(keys[:15])
    rest = client.get_many(keys)
    client.join()
    assert values_of(stored) == [True] * 40
    assert values_of(found) == [*(key.encode() for key in keys), None]
    assert sum(promise.value for _, promise in pairs) == 15
    assert values_of(rest) == [None] * 15 + [key.encode() for key in keys[15:]]
    left = [ring.get_routing_client().pttl(key) for key in keys[15:]]
    assert all(time == -1 for time in left) if px is None else all(0 < time <= px for time in left)


def test_a_script_goes_elsewhere_too(servers: TestSetup, ring: Cluster) -> None:
    one, two = keys_on(ring, DEAD, 2)
    servers.kill(DEAD)
    client = ring.get_routing_client()
    assert client.eval(SET, 1, one, "x") == b"OK"
    assert client.get(one) == b"x"
    ring.get_router().mark_connection_up(DEAD)
    with ring.map() as mapping:
        stored = mapping.eval(SET, 1, two, "x")
    assert stored.value == b"OK"
    assert client.get(two) == b"x"


def test_a_caller_without_time_says_nothing_about_the_host(
    make_cluster: Callable[..., Cluster], servers: TestSetup
) -> None:
    cluster = make_cluster(retry_timeout=60)
    (key,) = keys_on(cluster, 1, 1)
    servers.pause(1)
    with pytest.raises(HostTimeoutError), cluster.map(timeout=0.05) as client:
        client.get(key)
    servers.resume(1)
    assert cluster.get_routing_client().get(key) is None
