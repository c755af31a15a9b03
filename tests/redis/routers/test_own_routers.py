"""Which hosts a call goes to: what routers answer, and routers of a site's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pindb.redis import (
    BaseRouter,
    Cluster,
    ClusterConfigError,
    HostConnectionError,
    MaxRetriesExceededError,
    PartitionRouter,
    RoundRobinRouter,
    RoutedCluster,
    UnroutableCommand,
    create_cluster,
)
from pindb.testing.redis import TestSetup
from tests.redis.tools import Create, Make

FOUR = [{"port": i + 1} for i in range(4)]


# ---- the hosts of a call -------------------------------------------------------------------------

CALLS: list[tuple[str, Sequence[Any], dict[str, Any], Any]] = [
    *(("get", ["k"], {}, "k"), ("get", [], {"name": "k"}, "k"), ("incr", [b"k", 5], {}, "k")),
    *(("hset", ["k"], {"mapping": {"f": "v"}}, "k"), ("set", ["k", "v"], {"ex": 5}, "k")),
    *(("rename", ["k", "other"], {}, None), ("object", ["encoding", "k"], {}, "k")),
    *(("memory_usage", ["k"], {}, "k"), ("execute_command", ["GET", "k"], {}, "k")),
    *(("execute_command", ["PING"], {}, ...), ("delete", ["k"], {}, "k"), ("mget", [["k"]], {}, "k")),
    *(("ping", [], {}, ...), ("dbsize", [], {}, ...), ("config_get", ["maxmemory"], {}, ...)),
    *(("script_load", ["return 1"], {}, ...), ("publish", ["k", "message"], {}, ...)),
    # No commands of redis-py's.
    *(("get_conn", ["k"], {}, "k"), ("get_conn", [], {"key": "k"}, "k"), ("lock", ["k", 5], {}, "k")),
    *(("lock", [], {"name": "k"}, "k"), ("anything.at.all", ["k"], {}, "k")),
    *(("anything.at.all", [], {}, ...), ("connection_pool.disconnect", [], {}, ...)),
]


@pytest.mark.parametrize(("attr", "args", "kwargs", "key"), CALLS)
@pytest.mark.parametrize("router", ["partition", "consistent"])
@pytest.mark.parametrize("face", ["created", "cluster"])
def test_a_call_goes_to_the_host_of_its_key_or_to_all(
    router: str, face: str, attr: str, args: Sequence[Any], kwargs: dict[str, Any], key: Any
) -> None:
    created = create_cluster({"router": router, "hosts": FOUR})
    found = created.router
    if face == "cluster":
        found = Cluster(dict(enumerate(FOUR)), router_cls=type(found)).get_router()
    if key is None:
        with pytest.raises(UnroutableCommand):
            found.get_dbs(attr, args, kwargs)
    else:
        expected = list(range(4)) if key is ... else [found.get_host_for_key(key)]
        assert found.get_dbs(attr, args, kwargs) == expected


@pytest.mark.parametrize(("attr", "args", "kwargs", "key"), CALLS)
def test_without_a_router_every_call_goes_to_all(
    attr: str, args: Sequence[Any], kwargs: dict[str, Any], key: Any
) -> None:
    assert create_cluster({"hosts": FOUR}).router.get_dbs(attr, args, kwargs) == [0, 1, 2, 3]


@pytest.mark.parametrize(("attr", "args", "kwargs", "key"), CALLS)
def test_every_call_goes_to_the_next_host(
    attr: str, args: Sequence[Any], kwargs: dict[str, Any], key: Any
) -> None:
    router = create_cluster({"router": "round_robin", "hosts": FOUR}).router
    turns = [router.get_dbs(attr, args, kwargs) for _ in range(6)]
    assert turns == [[0], [1], [2], [3], [0], [1]]
    assert router.get_host_for_key("any") == 2


@pytest.mark.parametrize(
    ("attr", "args"), [("mget", ["a", "b"]), ("rename", ["a", "b"]), ("eval", ["return 1", 2, "a", "b"])]
)
def test_calls_with_several_keys_are_no_one_host_s(attr: str, args: Sequence[Any]) -> None:
    router = create_cluster({"router": "partition", "hosts": FOUR}).router
    with pytest.raises(UnroutableCommand):
        router.get_dbs(attr, args, {})


def test_every_host_has_every_key_without_a_router() -> None:
    with pytest.raises(UnroutableCommand, match="The cluster has no router, so no single host has the key"):
        create_cluster({"hosts": FOUR}).router.get_host_for_key("k")


# ---- by key --------------------------------------------------------------------------------------


class FirstLetter(BaseRouter):
    """Says where keys are, and nothing else."""

    def get_host_for_key(self, key: Any) -> int:
        return (key if isinstance(key, bytes) else str(key).encode())[0] % len(self.cluster.hosts)


HOST = {letter: ord(letter) % 4 for letter in "abcd"}


def test_a_router_that_says_where_keys_are(create: Create) -> None:
    cluster = create(FirstLetter)
    assert cluster.set("a", "now") is True
    assert cluster.mset({"b": 1, "c": 2}) is True
    with cluster.map() as conn:
        conn.set("d", "in a map")
        values, value = conn.mget("a", "b", "c", "nothing"), conn.get("d")
    assert (values, value) == ([b"now", b"1", b"2", None], b"in a map")
    assert all(cluster[host_id].exists(letter) for letter, host_id in HOST.items())
    assert cluster.dbsize() == [1] * 4
    assert cluster.get_conn("b") is cluster[HOST["b"]]
    assert cluster.router.get_dbs("hget", ["c", "field"], {}) == [HOST["c"]]
    assert cluster.router.get_dbs("ping", [], {}) == [0, 1, 2, 3]


def test_the_same_router_serves_a_cluster_class(make_cluster: Make) -> None:
    cluster = make_cluster(router_cls=FirstLetter)
    cluster.get_routing_client().set("a", "now")
    with cluster.map() as client:
        client.set("b", "in a map")
        client.mset({"c": 1, "d": 2})
    assert all(cluster.get_local_client(host_id).exists(letter) for letter, host_id in HOST.items())
    assert cluster.get_router().get_dbs("get", ["a"], {}) == [HOST["a"]]


def test_a_router_has_a_path_and_options(create: Create) -> None:
    cluster = create("tests.redis.routers.test_own_routers.FirstLetter", router_options={"hash_tags": True})
    assert cluster.router.hash_tags is True
    with pytest.raises(ClusterConfigError, match=r"x, which FirstLetter does not take\. It takes: hash_tags"):
        create("tests.redis.routers.test_own_routers.FirstLetter", router_options={"x": 1})


# ---- by call -------------------------------------------------------------------------------------


class ReadsElsewhere(BaseRouter):
    """Says where calls go: writes to the first host, reads to the last, the rest to two in the middle."""

    def __init__(self, cluster: Any) -> None:
        super().__init__(cluster)
        self.seen: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def get_dbs(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
        self.seen.append((attr, tuple(args), dict(kwargs)))
        if attr in ("set", "mset", "incr"):
            return [0]
        return [3] if attr in ("get", "mget") else [2, 1]


def seen_by(cluster: RoutedCluster) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    router = cluster.router
    assert isinstance(router, ReadsElsewhere)
    return router.seen


def test_a_router_that_looks_at_calls(create: Create) -> None:
    cluster = create(ReadsElsewhere)
    assert cluster.set("k", "v", ex=50) is True
    assert cluster.get(name="k") is None
    assert cluster.mset({"a": 1, "b": 2}) is True
    assert cluster.mget("a", "b") == [None, None]
    assert cluster.dbsize() == [0, 0]
    assert cluster.lpush("l", "x") == [1, 1]
    assert cluster.get_conn("k") == [cluster[2], cluster[1]]
    assert cluster[0].dbsize() == 3
    assert seen_by(cluster) == [
        ("set", ("k", "v"), {"ex": 50}),
        ("get", (), {"name": "k"}),
        ("mset", ({"a": 1, "b": 2},), {}),
        ("mget", ("a", "b"), {}),
        ("dbsize", (), {}),
        ("lpush", ("l", "x"), {}),
        ("get_conn", ("k",), {}),
    ]


def test_a_router_looks_at_calls_of_attributes(create: Create) -> None:
    cluster = create(ReadsElsewhere)
    assert cluster.connection_pool.disconnect() == [None, None]
    assert cluster.execute_command("DBSIZE") == [0, 0]
    assert [attr for attr, _, _ in seen_by(cluster)] == ["connection_pool.disconnect", "execute_command"]


def test_a_router_looks_at_the_calls_of_a_map(create: Create) -> None:
    cluster = create(ReadsElsewhere)
    with cluster.map() as conn:
        stored, value = conn.set("k", "v", ex=50), conn.get("k")
        together, values = conn.mset({"a": 1}), conn.mget(["a", "b"])
        pushed, sizes = conn.lpush("l", "x"), conn.dbsize()
        assert len(conn) == 6
    assert (stored, value, together, values) == (True, None, True, [None, None])
    assert (pushed, sizes) == ([1, 1], [1, 1])
    assert cluster[0].dbsize() == 2
    assert [attr for attr, _, _ in seen_by(cluster)] == ["set", "get", "mset", "mget", "lpush", "dbsize"]
    assert seen_by(cluster)[0] == ("set", ("k", "v"), {"ex": 50})


def test_the_map_of_a_router_that_looks_at_calls_is_a_map(create: Create) -> None:
    cluster = create(ReadsElsewhere)
    cluster[1].set("l", "no list")
    with cluster.map(fail_silently=True) as conn:
        failed, fine = conn.lpush("l", "x"), conn.set("k", "v")
    assert bool(fine)
    assert [call.name for call, _ in conn.get_errors()] == ["LPUSH"]
    assert "WRONGTYPE" in str(failed)
    conn = cluster.map()
    counted = conn.incr("n")
    conn.join()
    assert counted == 1


class Nowhere(BaseRouter):
    def get_dbs(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
        return [7]


def test_a_router_that_names_hosts_which_are_not_there(create: Create) -> None:
    cluster = create(Nowhere)
    with pytest.raises(ClusterConfigError, match="There is no host 7; there are 0, 1, 2, 3"):
        cluster.get("k")
    with cluster.map(fail_silently=True) as conn:
        conn.get("k")
    assert [type(error) for _, error in conn.get_errors()] == [ClusterConfigError]


# ---- by command ----------------------------------------------------------------------------------


class CountersElsewhere(PartitionRouter):
    """Says where commands go: counters lie on the last host."""

    def get_host_for_command(self, command: Any, args: Sequence[Any]) -> int:
        return 3 if command == "INCRBY" else super().get_host_for_command(command, args)


def test_a_router_that_looks_at_commands(create: Create) -> None:
    cluster = create(CountersElsewhere)
    assert cluster.incr("a") == 1
    with cluster.map() as conn:
        counted, stored, value = conn.incr("b", 5), conn.set("c", "x"), conn.get("c")
    assert (counted, stored, value) == (5, True, b"x")
    assert cluster[3].mget("a", "b") == [b"1", b"5"]
    assert cluster.router.get_dbs("incr", ["a"], {}) == [3]
    assert cluster.router.get_dbs("get", ["a"], {}) == [cluster.router.get_host_for_key("a")]


def test_the_same_router_looks_at_the_commands_of_a_cluster_class(make_cluster: Make) -> None:
    cluster = make_cluster(router_cls=CountersElsewhere)
    cluster.get_routing_client().incr("a")
    with cluster.map() as client:
        client.incr("b", 5)
    assert cluster.get_local_client(3).mget("a", "b") == [b"1", b"5"]


# ---- by call, around dead hosts ------------------------------------------------------------------


class WritesFirst(RoundRobinRouter):
    """Sends writes to the first host alone, counters to all, and reads by turns."""

    def get_dbs(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
        if attr == "incr":
            return list(self.cluster.hosts)
        return [0] if attr == "set" else super().get_dbs(attr, args, kwargs)


def test_a_call_that_is_for_one_host_goes_to_no_other(create: Create, servers: TestSetup) -> None:
    cluster = create(WritesFirst)
    assert cluster.set("k", "v") is True
    assert [cluster.get("k") for _ in range(4)] == [b"v", None, None, None]
    servers.kill(0)
    with pytest.raises(MaxRetriesExceededError):
        cluster.set("k", "v")
    with cluster.map(fail_silently=True) as conn:
        stored = conn.set("k", "v")
    assert isinstance(stored, MaxRetriesExceededError)
    assert [cluster[host_id].dbsize() for host_id in (1, 2, 3)] == [0] * 3


def test_a_call_that_is_for_several_hosts_needs_each_of_them(create: Create, servers: TestSetup) -> None:
    cluster = create(WritesFirst)
    assert cluster.incr("n") == [1] * 4
    servers.kill(2)
    with pytest.raises(HostConnectionError, match="host 2"):
        cluster.incr("n")
    with cluster.map(fail_silently=True) as conn:
        counted = conn.incr("n")
    assert isinstance(counted, HostConnectionError)
    assert [cluster[host_id].get("n") for host_id in (0, 1, 3)] == [b"3"] * 3


def test_a_call_that_is_for_any_host_goes_around_dead_ones(create: Create, servers: TestSetup) -> None:
    cluster = create(WritesFirst)
    servers.kill(1)
    assert [cluster.get("k") for _ in range(4)] == [None] * 4
    cluster.router.mark_connection_up(1)
    with cluster.map() as conn:
        values = [conn.get("k") for _ in range(4)]
    assert values == [None] * 4
    assert list(cluster.router.down_connections) == [1]


class Watched(PartitionRouter):
    """Changes nothing."""

    def get_dbs(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
        return super().get_dbs(attr, args, kwargs)


def test_a_router_that_looks_at_calls_sees_the_values_of_results(create: Create) -> None:
    cluster = create(Watched)
    cluster.set("where", "target")
    with cluster.map() as conn:
        key = conn.get("where")
    assert cluster.set(key, 1) is True
    with cluster.map() as conn:
        value, counted = conn.get(key), conn.incr(name=key)
    assert (value, counted) == (b"1", 2)
