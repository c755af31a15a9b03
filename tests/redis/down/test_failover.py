"""Commands go to another host while theirs is down, and come back to it afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from pindb.redis import (
    CommandError,
    HostConnectionError,
    HostListExhausted,
    MaxRetriesExceededError,
    RoutedCluster,
    create_cluster,
)
from pindb.testing.redis import TestSetup
from tests.redis.down.conftest import Face, MakeFace, both_faces, both_routers, call, in_map_or_not
from tests.redis.tools import Clock, Create, Make, calls_on, down, forget_calls, keys_of, values_of

DEAD = 1
SET = "return redis.call('SET', KEYS[1], ARGV[1])"

connected_or_not = pytest.mark.parametrize("connected", [True, False])


@pytest.fixture
def ring(make_face: MakeFace, clock: Clock) -> Any:
    """Four hosts on a ring, of which one is about to die. Its next ones on the ring are several."""
    return make_face("create_cluster", "consistent").cluster


def homes_of(router: Any, number: int) -> list[str]:
    """So many keys of each host on a ring, the dead one too."""
    return [key for host_id in range(4) for key in keys_of(router, host_id, number)]


def stand_ins(keys: Sequence[str]) -> list[int]:
    """Where keys are while the host is dead."""
    hosts = [{"port": server + 1, "identifier": f"ring:{server}"} for server in range(4)]
    router = create_cluster({"router": "consistent", "hosts": hosts}).router
    router.mark_connection_down(DEAD)
    return router.get_hosts_for_keys(keys)


def value_on(servers: TestSetup, server: int, key: str) -> int:
    """What a counter has come to on a server; -1 where the server does not run."""
    if not servers.is_running(server):
        return -1
    with servers.client(server) as client:
        return int(client.get(key) or 0)


def key_of(face: Face) -> str:
    """A key of the host that is about to die; any key where hosts take turns."""
    return keys_of(face.router, DEAD, 1)[0] if face.router.by_key else "n"


# ---- around a host that is down ------------------------------------------------------------------


@both_faces
@connected_or_not
@in_map_or_not
def test_keys_of_a_dead_host_are_on_the_next_one(
    make_face: MakeFace, servers: TestSetup, clock: Clock, face: str, connected: bool, in_map: bool
) -> None:
    ring = make_face(face, "consistent")
    keys = homes_of(ring.router, 5)
    if connected:
        ring.connect()
    servers.kill(DEAD)
    commands = []
    for key in keys:
        commands += [call("set", key, key), call("incr", f"n:{key}"), call("get", key)]
        commands += [call("strlen", key), call("append", key, "!")]
    replies = ring.run(commands, in_map)
    expected = [[True, 1, key.encode(), len(key), len(key) + 1] for key in keys]
    assert replies == [reply for each in expected for reply in each]
    assert ring.down == [DEAD]
    found = stand_ins(keys)
    assert len(set(found[5:10])) > 1
    for host_id in {0, 2, 3}:
        with servers.client(host_id) as client:
            mine = [key for key, where in zip(keys, found, strict=True) if where == host_id]
            assert client.exists(*mine) == len(mine)


@both_faces
@connected_or_not
def test_a_dead_host_s_turns_are_the_others(
    make_face: MakeFace, servers: TestSetup, clock: Clock, face: str, connected: bool
) -> None:
    turns = make_face(face, "round_robin")
    if connected:
        turns.connect()
    servers.kill(DEAD)
    turns.run([call("incr", "n")] * 12, in_map=False)
    assert turns.down == [DEAD]
    assert [value_on(servers, server, "n") for server in range(4)] == [4, -1, 4, 4]


@both_faces
@connected_or_not
def test_a_map_gives_a_dead_host_s_turns_to_the_others(
    make_face: MakeFace, servers: TestSetup, clock: Clock, face: str, connected: bool
) -> None:
    turns = make_face(face, "round_robin")
    if connected:
        turns.connect()
    servers.kill(DEAD)
    commands = [call("incr", "n")] * 12 + [call("get", "n")] * 4
    replies = turns.run([*commands, call("mset", {"a": 1, "b": 2})], in_map=True)
    assert turns.down == [DEAD]
    # The three that were for the dead host went to the others, after what those had.
    assert Counter(replies[:12]) == Counter([1, 2, 3, 4] * 3)
    assert {int(value) for value in replies[12:16]} <= {3, 4}
    assert [value_on(servers, server, "n") for server in range(4)] == [4, -1, 4, 4]
    assert turns.run([call("incr", "n")] * 3, in_map=True) == [5, 5, 5]


def test_keys_of_other_hosts_stay(ring: RoutedCluster, servers: TestSetup) -> None:
    keys = homes_of(ring.router, 4)
    home = ring.router.get_hosts_for_keys(keys)
    ring.mset(dict.fromkeys(keys, "x"))
    servers.kill(DEAD)
    assert [ring.get(key) for key in keys] == [None if host_id == DEAD else b"x" for host_id in home]


def test_get_conn_leads_to_the_host_in_its_place(ring: RoutedCluster, servers: TestSetup) -> None:
    (key,) = keys_of(ring.router, DEAD, 1)
    servers.kill(DEAD)
    assert ring.get_conn(key) is ring[DEAD]
    ring.get(key)
    assert ring.get_conn(key) is ring[stand_ins([key])[0]]


def test_commands_for_all_hosts_need_all_of_them(ring: RoutedCluster, servers: TestSetup) -> None:
    servers.kill(DEAD)
    with pytest.raises(HostConnectionError, match="host 1"):
        ring.ping()


def test_one_cluster_s_dead_hosts_are_not_another_s(create: Create) -> None:
    one, other = create("round_robin"), create("round_robin")
    one.router.mark_connection_down(1)
    assert down(other) == []


# ---- what stays as it is -------------------------------------------------------------------------


def test_each_key_s_commands_keep_their_order(ring: RoutedCluster, servers: TestSetup) -> None:
    keys = keys_of(ring.router, DEAD, 6)
    servers.kill(DEAD)
    with ring.map() as conn:
        results = [
            (conn.get(key), conn.set(key, 1), conn.incr(key), conn.get(key), conn.delete(key), conn.get(key))
            for key in keys
        ]
    assert results == [(None, True, 2, b"2", 1, None)] * 6


def test_runs_are_merged_for_the_hosts_in_its_place_too(ring: RoutedCluster, servers: TestSetup) -> None:
    keys = keys_of(ring.router, DEAD, 12)
    found = stand_ins(keys)
    others = [host_id for host_id in range(4) if found.count(host_id) > 1]
    assert len(others) > 1
    servers.kill(DEAD)
    ring.get(keys[0])
    ring.router.mark_connection_up(DEAD)
    forget_calls(servers)
    with ring.map() as conn:
        for key in keys:
            conn.set(key, key)
        values = [conn.get(key) for key in keys]
    assert values == [key.encode() for key in keys]
    for server in others:
        assert calls_on(servers, server, "set", "get", "mset", "mget") == [0, 0, 1, 1]


@pytest.mark.parametrize("dead", [True, False])
def test_commands_with_several_keys_are_cut_anew(ring: RoutedCluster, servers: TestSetup, dead: bool) -> None:
    keys = homes_of(ring.router, 5)
    keys = [key for place in range(5) for key in keys[place::5]]
    if dead:
        servers.kill(DEAD)
    with ring.map() as conn:
        stored = conn.mset({key: f"value of {key}" for key in keys})
        values = conn.mget([*keys, "nothing"])
        found = conn.exists(*keys)
        some = conn.delete(*keys[:7])
        rest = conn.unlink(*keys)
    assert bool(stored)
    assert values == [*(f"value of {key}".encode() for key in keys), None]
    assert (found, some, rest) == (20, 7, 13)
    assert down(ring) == [DEAD] * dead


@both_faces
def test_single_commands_with_several_keys_are_cut_anew(
    make_face: MakeFace, servers: TestSetup, clock: Clock, face: str
) -> None:
    ring = make_face(face, "consistent")
    keys = homes_of(ring.router, 5)
    servers.kill(DEAD)
    assert ring.client.mset({key: key for key in keys}) is True
    ring.router.mark_connection_up(DEAD)
    assert ring.client.mget(keys) == [key.encode() for key in keys]
    ring.router.mark_connection_up(DEAD)
    assert ring.client.delete(*keys) == 20


@connected_or_not
@pytest.mark.parametrize("px", [None, 50_000])
def test_many_keys_of_a_dead_host_go_elsewhere(
    make_face: MakeFace, servers: TestSetup, connected: bool, px: int | None
) -> None:
    ring = make_face("Cluster", "consistent")
    keys = homes_of(ring.router, 10)
    if connected:
        ring.connect()
    servers.kill(DEAD)
    client = ring.client.get_mapping_client()
    stored = client.set_many(keys, keys, px=px)
    found = client.get_many([*keys, "nothing"])
    pairs = client.delete_many(keys[:15])
    rest = client.get_many(keys)
    left = [client.pttl(key) for key in keys[15:]]
    client.join()
    assert values_of(stored) == [True] * 40
    assert values_of(found) == [*(key.encode() for key in keys), None]
    assert sum(promise.value for _, promise in pairs) == 15
    assert values_of(rest) == [None] * 15 + [key.encode() for key in keys[15:]]
    assert all(each.value == -1 if px is None else 0 < each.value <= px for each in left)


def test_a_script_goes_elsewhere_too(make_face: MakeFace, servers: TestSetup) -> None:
    ring = make_face("Cluster", "consistent")
    one, two = keys_of(ring.router, DEAD, 2)
    servers.kill(DEAD)
    assert ring.client.eval(SET, 1, one, "x") == b"OK"
    assert ring.client.get(one) == b"x"
    ring.router.mark_connection_up(DEAD)
    assert ring.run([call("eval", SET, 1, two, "x")], in_map=True) == [b"OK"]
    assert ring.client.get(two) == b"x"


# ---- home again ----------------------------------------------------------------------------------


@both_faces
@both_routers
@in_map_or_not
def test_a_host_that_came_back_is_used_when_its_time_has_come(
    make_face: MakeFace, servers: TestSetup, clock: Clock, face: str, router: str, in_map: bool
) -> None:
    cluster = make_face(face, router)
    key = key_of(cluster)
    servers.kill(DEAD)
    cluster.run([call("incr", key)] * 4, in_map)
    assert cluster.down == [DEAD]
    servers.start(DEAD)
    clock.now += 4.9
    cluster.run([call("incr", key)] * 3, in_map)
    assert cluster.down == [DEAD]
    assert value_on(servers, DEAD, key) == 0
    clock.now += 0.1
    # On a ring, the key is new there; else it is the host's turn once.
    replies = cluster.run([call("incr", key)] * 4, in_map)
    assert cluster.down == []
    at_home = 4 if router == "consistent" else 1
    assert (value_on(servers, DEAD, key), 1 in replies) == (at_home, True)


@both_faces
@both_routers
def test_a_host_that_is_still_dead_is_down_for_another_time(
    make_face: MakeFace, servers: TestSetup, clock: Clock, face: str, router: str
) -> None:
    cluster = make_face(face, router)
    key = key_of(cluster)
    servers.kill(DEAD)
    for rounds in range(1, 4):
        replies = cluster.run([call("incr", key)] * 4, in_map=False)
        assert not any(isinstance(reply, Exception) for reply in replies)
        assert cluster.router.down_connections == {DEAD: clock.now + 5}
        assert sum(max(value_on(servers, server, key), 0) for server in range(4)) == 4 * rounds
        clock.now += 5


# ---- all hosts down ------------------------------------------------------------------------------


@both_faces
@both_routers
def test_when_all_hosts_are_down_commands_fail_at_once(
    make_face: MakeFace, servers: TestSetup, clock: Clock, face: str, router: str
) -> None:
    cluster: Any = make_face(face, router, [servers.host(0), servers.host(1)])
    for server in (0, 1):
        servers.kill(server)
    commands = [call("incr", "n"), call("get", "k"), call("mget", ["a", "b"])]
    # The first round finds it out, the second one knows.
    for in_map in (True, True, False, False):
        replies = cluster.run(commands, in_map)
        assert [type(reply) for reply in replies] == [HostListExhausted] * 3
        assert "All 2 hosts refused connections" in str(replies[0])
    assert sorted(cluster.down) == [0, 1]
    for server in (0, 1):
        servers.start(server)
    with pytest.raises(HostListExhausted):
        cluster.client.incr("n")
    cluster.router.flush_down_connections()
    assert cluster.client.incr("n") == 1


@both_routers
def test_when_all_hosts_die_the_commands_of_a_map_fail(
    create: Create, servers: TestSetup, clock: Clock, router: str
) -> None:
    cluster = create(router, [servers.host(0), servers.host(1)])
    for server in (0, 1):
        servers.kill(server)
    for _ in range(2):
        with pytest.raises(CommandError) as caught, cluster.map() as conn:
            results = [conn.incr("n"), conn.get("k"), conn.mget("a", "b")]
        assert [call.name for call, _ in caught.value.errors] == ["INCRBY", "GET", "MGET"]
        assert {type(error) for _, error in caught.value.errors} == {HostListExhausted}
        assert all(isinstance(result, HostListExhausted) for result in results)
    with pytest.raises(HostListExhausted):
        cluster.get_conn("n")


def test_several_dead_hosts_and_then_all(ring: RoutedCluster, servers: TestSetup) -> None:
    keys = homes_of(ring.router, 4)
    for dead in (DEAD, 0, 3):
        servers.kill(dead)
        assert [ring.exists(key) for key in keys] == [0] * 16
    assert sorted(down(ring)) == [0, 1, 3]
    assert ring.mset(dict.fromkeys(keys, "x")) is True
    assert ring[2].dbsize() == 16
    servers.kill(2)
    with pytest.raises(HostListExhausted, match="All 4 hosts"):
        ring.get(keys[0])
    with pytest.raises(HostListExhausted):
        ring.mget(keys)


# ---- clusters that do not pass hosts over --------------------------------------------------------


@both_faces
@both_routers
def test_without_retries_every_key_stays_where_it_is(
    make_face: MakeFace, servers: TestSetup, face: str, router: str
) -> None:
    cluster = make_face(face, router, retries=0)
    key = key_of(cluster)
    servers.kill(DEAD)
    for in_map in (False, True, False, True):
        replies = cluster.run([call("incr", key)] * 4, in_map)
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        # All for the one key, or the host's turn.
        assert len(errors) == (4 if router == "consistent" else 1)
        for error in errors:
            assert isinstance(error, HostConnectionError)
            assert not isinstance(error, MaxRetriesExceededError)
            assert "host 1" in str(error)
    assert cluster.router.down_connections == {}


@pytest.mark.parametrize("face", ["create_cluster", "Cluster"])
def test_partitioned_keys_are_never_anywhere_else(
    create: Create, make_cluster: Make, servers: TestSetup, face: str
) -> None:
    cluster = Face(create("partition") if face == "create_cluster" else make_cluster())
    (key,) = keys_of(cluster.router, DEAD, 1)
    servers.kill(DEAD)
    for in_map in (False, True, False, True):
        (reply,) = cluster.run([call("set", key, "x")], in_map)
        assert isinstance(reply, HostConnectionError)
        assert "host 1" in str(reply)
    assert cluster.router.down_connections == {}
    assert [value_on(servers, server, key) for server in range(4)] == [0, -1, 0, 0]
    # Nothing keeps a cluster without a retry_timeout from using the server as soon as it is there.
    servers.start(DEAD)
    assert cluster.client.set(key, "x") is True


def test_errors_of_maps_name_the_dead_host(create: Create, servers: TestSetup) -> None:
    cluster = create("partition")
    (key,) = keys_of(cluster.router, DEAD, 1)
    servers.kill(DEAD)
    with pytest.raises(CommandError, match="host 1"), cluster.map() as conn:
        conn.set(key, "x")
    with pytest.raises(redis.ConnectionError, match="host 1"):
        cluster.set(key, "x")
