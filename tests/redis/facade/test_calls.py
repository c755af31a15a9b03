"""Any method on a cluster: which hosts it goes to, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from pindb.redis import ClusterConfigError, Result, RoutedCluster, UnroutableCommand
from pindb.testing.redis import TestSetup
from tests.redis.tools import Create, calls_on, forget_calls, keys_of, one_each
from tests.threads import in_threads

ENGINES = ["plain", "redis-cluster"]


@pytest.fixture
def everywhere(create: Create) -> RoutedCluster:
    """Four hosts that all get every command."""
    return create()


def connected(servers: TestSetup) -> int:
    """How many connections the first server has."""
    with servers.client(0) as client:
        return len(client.client_list())


# ---- one key -------------------------------------------------------------------------------------


def test_a_command_with_a_key_goes_to_its_host(partitioned: RoutedCluster) -> None:
    for host_id, key in enumerate(one_each(partitioned)):
        assert partitioned.set(key, host_id) is True
        assert partitioned.incr(name=key) == host_id + 1
        assert partitioned.get(key) == str(host_id + 1).encode()
        assert partitioned[host_id].keys() == [key.encode()]


def test_commands_return_what_redis_py_makes_of_them(partitioned: RoutedCluster) -> None:
    assert partitioned.get("nothing") is None
    assert partitioned.hset("h", mapping={"a": 1, "b": 2}) == 2
    assert partitioned.hgetall("h") == {b"a": b"1", b"b": b"2"}
    assert partitioned.zadd("z", {"m": 1.5}) == 1
    assert partitioned.zscore("z", "m") == 1.5
    assert dict(partitioned.hscan_iter("h")) == {b"a": b"1", b"b": b"2"}
    assert partitioned.object("encoding", "h") in (b"listpack", b"ziplist")
    assert partitioned.set("k", "v", ex=50, nx=True) is True
    assert 0 < partitioned.ttl("k") <= 50


def test_a_command_may_be_written_in_words(partitioned: RoutedCluster) -> None:
    assert partitioned.execute_command("SET", "k", "v") is True
    assert partitioned.execute_command("get", "k") == b"v"
    assert partitioned.execute("get", ["k"]) == b"v"
    assert partitioned.execute("get", kwargs={"name": "k"}) == b"v"
    assert all(partitioned.execute_command("PING"))


def test_an_error_reply_names_command_key_and_host(partitioned: RoutedCluster) -> None:
    partitioned.lpush("k", "x")
    with pytest.raises(redis.ResponseError, match=r"INCRBY 'k' on host \d \(.*\): WRONGTYPE"):
        partitioned.incr("k")


# ---- several hosts -------------------------------------------------------------------------------


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_a_command_without_a_key_returns_a_list_in_the_order_of_the_hosts(partitioned: RoutedCluster) -> None:
    first, second = keys_of(partitioned.router, 1, 2)
    third = keys_of(partitioned.router, 3, 1)[0]
    for key in (first, second, third):
        partitioned.set(key, "x")
    assert partitioned.dbsize() == [0, 2, 0, 1]
    assert partitioned.ping() == [True] * 4
    assert [sorted(keys) for keys in partitioned.keys("*")] == [
        [],
        sorted([first.encode(), second.encode()]),
        [],
        [third.encode()],
    ]
    assert partitioned.config_get("databases") == [{"databases": "8"}] * 4
    assert partitioned.flushdb() == [True] * 4
    assert partitioned.dbsize() == [0] * 4


@pytest.mark.plain_servers("about a cluster without a router")
def test_the_only_host_s_answer_is_no_list(create: Create, servers: TestSetup) -> None:
    for router in (None, "partition", "consistent", "round_robin"):
        cluster = create(router, [servers.host(0)])
        assert cluster.ping() is True
        assert cluster.dbsize() == 0
        assert cluster.get("k") is None


@pytest.mark.plain_servers("about a cluster without a router")
def test_without_a_router_each_host_runs_every_command(everywhere: RoutedCluster) -> None:
    everywhere[2].set("n", 10)
    assert everywhere.incr("n") == [1, 1, 11, 1]
    assert everywhere.mget("n", "m") == [[b"1", None], [b"1", None], [b"11", None], [b"1", None]]
    assert everywhere.mset({"a": 1, "b": 2}) == [True] * 4
    assert everywhere.rename("a", "c") == [True] * 4
    assert everywhere.eval("return redis.call('GET', KEYS[1])", 1, "c") == [b"1"] * 4


# ---- several keys --------------------------------------------------------------------------------


@pytest.mark.plain_servers("a command with many keys is split by key there")
def test_commands_with_several_keys_are_cut_by_host(partitioned: RoutedCluster, servers: TestSetup) -> None:
    keys = [key for host_id in partitioned for key in keys_of(partitioned.router, host_id, 3)]
    forget_calls(servers)
    assert partitioned.mset({key: f"value of {key}" for key in keys}) is True
    assert partitioned.mget(keys) == [f"value of {key}".encode() for key in keys]
    assert partitioned.mget(keys[7], keys[0], "nothing", keys[7]) == [
        f"value of {keys[7]}".encode(),
        f"value of {keys[0]}".encode(),
        None,
        f"value of {keys[7]}".encode(),
    ]
    assert partitioned.exists(*keys, "nothing") == 12
    assert partitioned.touch(*keys) == 12
    assert partitioned.delete(*keys[:6]) == 6
    assert partitioned.unlink(*keys) == 6
    assert partitioned.dbsize() == [0] * 4
    assert [calls_on(servers, server, "mset", "touch", "unlink") for server in range(4)] == [[1, 1, 1]] * 4


def test_nothing_to_get_is_nothing(partitioned: RoutedCluster) -> None:
    assert partitioned.mget([]) == []


@pytest.mark.parametrize(
    ("name", "args"),
    [
        *(("rename", ("a", "b")), ("sinter", (["a", "b"],)), ("smove", ("a", "b", "m"))),
        *(("pfcount", ("a", "b")), ("blpop", (["a", "b"], 0)), ("eval", ("return 1", 2, "a", "b"))),
        *(("sort", ("a",)), ("execute_command", ("NOSUCH", "a"))),
    ],
)
def test_what_belongs_to_no_one_host_is_refused(
    partitioned: RoutedCluster, name: str, args: tuple[Any, ...]
) -> None:
    with pytest.raises(UnroutableCommand, match=r"cluster\[host_id\]"):
        getattr(partitioned, name)(*args)
    with pytest.raises(UnroutableCommand, match=r"cluster\[host_id\]"), partitioned.map() as conn:
        getattr(conn, name)(*args)


# ---- what needs a client of one host -------------------------------------------------------------

OF_ONE_HOST = ["pubsub", "monitor", "transaction", "watch", "unwatch", "client", "scan", "shutdown"]
OF_MODULES = ["json", "ft", "ts", "bf"]


@pytest.mark.parametrize("name", [*OF_ONE_HOST, *OF_MODULES])
def test_what_needs_one_host_s_client_says_how_to_get_it(partitioned: RoutedCluster, name: str) -> None:
    with pytest.raises(UnroutableCommand, match=rf"no {name}\(\): .*cluster\[host_id\].*get_conn\(key\)"):
        getattr(partitioned, name)()
    with partitioned.map() as conn, pytest.raises(UnroutableCommand, match=r"cluster\[host_id\].*get_conn"):
        getattr(conn, name)()


def test_what_changes_a_shared_connection_is_refused(partitioned: RoutedCluster) -> None:
    with pytest.raises(UnroutableCommand, match="SELECT changes the connection"):
        partitioned.select(1)


def test_the_client_of_the_host_that_has_a_key(partitioned: RoutedCluster) -> None:
    for host_id, key in enumerate(one_each(partitioned)):
        assert partitioned.get_conn(key) is partitioned[host_id]
        assert partitioned.get_conn(key=key) is partitioned[host_id]
    with partitioned.get_conn("k").pipeline() as pipeline:
        pipeline.incr("k").incr("k")
        assert pipeline.execute() == [1, 2]
    assert partitioned.get("k") == b"2"


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_the_clients_of_all_hosts(partitioned: RoutedCluster, everywhere: RoutedCluster) -> None:
    assert partitioned.get_conn() == [partitioned[host_id] for host_id in range(4)]
    assert everywhere.get_conn("k") == [everywhere[host_id] for host_id in range(4)]


def test_methods_that_are_no_commands_go_by_their_first_argument(partitioned: RoutedCluster) -> None:
    with partitioned.lock("the lock", timeout=5):
        assert partitioned.exists("the lock") == 1
    assert partitioned.exists("the lock") == 0
    with partitioned.lock(name="the lock", timeout=5):
        assert partitioned.exists("the lock") == 1


def test_methods_of_attributes_run_on_all_hosts(partitioned: RoutedCluster, servers: TestSetup) -> None:
    partitioned.ping()
    assert partitioned.connection_pool.get_encoder()[3].encoding == "utf-8"

    before = connected(servers)
    assert partitioned.connection_pool.disconnect() == [None] * 4
    assert connected(servers) == before - 1
    assert partitioned.ping() == [True] * 4


def test_methods_that_redis_py_does_not_have(partitioned: RoutedCluster) -> None:
    with pytest.raises(AttributeError, match="no_such_command"):
        partitioned.no_such_command("k")
    with pytest.raises(AttributeError, match="_private"):
        partitioned._private  # noqa: B018


@pytest.mark.parametrize("key", [None, 1.5, ["k"], object()])
def test_keys_of_other_types_are_named(partitioned: RoutedCluster, key: Any) -> None:
    with pytest.raises(TypeError, match=type(key).__name__):
        partitioned.get(key)
    with pytest.raises(UnroutableCommand, match=type(key).__name__):
        partitioned.lock(key)


# ---- the cluster itself --------------------------------------------------------------------------


@pytest.mark.plain_servers("about numbers of hosts")
def test_a_cluster_is_a_collection_of_the_ids_of_its_hosts(partitioned: RoutedCluster) -> None:
    assert len(partitioned) == 4
    assert list(partitioned) == list(partitioned.hosts) == [0, 1, 2, 3]
    assert 3 in partitioned
    assert 4 not in partitioned
    assert "k" not in partitioned
    assert bool(partitioned)
    assert repr(partitioned) == "<RoutedRedis of 4 hosts, PartitionRouter>"


@pytest.mark.plain_servers("compares with one server that takes all keys")
def test_a_host_s_connection_is_redis_py_s_client(partitioned: RoutedCluster) -> None:
    assert isinstance(partitioned[2], redis.Redis)
    assert partitioned[2] is partitioned.get_connection(2)
    assert partitioned[2].set("k", "v") is True


@pytest.mark.plain_servers("about numbers of hosts")
@pytest.mark.parametrize("host_id", [4, -1, "0", None])
def test_hosts_that_are_not_there(partitioned: RoutedCluster, host_id: Any) -> None:
    with pytest.raises(ClusterConfigError, match=r"There is no host .*; there are 0, 1, 2, 3"):
        partitioned[host_id]


def test_disconnecting_closes_every_connection(create: Create, servers: TestSetup) -> None:
    before = connected(servers)
    cluster = create("partition")
    cluster.ping()
    with cluster.map() as conn:
        conn.ping()
    assert connected(servers) == before + 1
    cluster.disconnect()
    assert connected(servers) == before
    assert cluster.ping() == [True] * 4


@pytest.mark.plain_servers("has keys in several hash slots")
def test_a_result_of_a_map_is_an_argument_like_any_other(partitioned: RoutedCluster) -> None:
    with partitioned.map() as conn:
        key, other, number = conn.echo("the key"), conn.get("nothing"), conn.incr("n")
    key = key[0]
    assert other.__class__ is type(None)
    with partitioned.map() as conn:
        conn.set("where", key)
        conn.incr("n", number)
    with partitioned.map() as conn:
        where = conn.get("where")
    assert type(where) is Result
    assert partitioned.set(where, number) is True
    assert partitioned.get(where) == partitioned.get("the key") == b"1"
    assert partitioned.mget([where, "n"]) == [b"1", b"2"]
    assert partitioned.exists(where, where) == 2
    assert partitioned.get_conn(where) is partitioned.get_conn("the key")
    assert partitioned.lock(where).name == b"the key"
    assert partitioned.hset("h", where, number) == 1
    assert partitioned.hgetall("h") == {b"the key": b"1"}


def test_one_cluster_serves_many_threads(partitioned: RoutedCluster) -> None:
    def work(number: int) -> None:
        for turn in range(20):
            key = f"{number}:{turn}"
            partitioned.set(key, key)
            with partitioned.map() as conn:
                value = conn.get(key)
                conn.incr("n")
            assert value == partitioned.get(key) == key.encode()

    in_threads(8, work)
    assert partitioned.get("n") == b"160"


def test_the_keys_of_all_hosts_come_one_after_the_other(partitioned: RoutedCluster) -> None:
    for number in range(20):
        partitioned.set(f"scanned:{number}", 1)
    assert len(list(partitioned.scan_iter("scanned:*"))) == 20
