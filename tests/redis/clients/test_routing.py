"""One command, one host, now."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis
from redis.commands import CoreCommands
from redis.commands.core import Script

from pindb.redis import Cluster, RoutingClient, UnroutableCommand
from pindb.testing.redis import TestSetup
from tests.processes import end_of, start_child
from tests.redis.tools import Make, Proxy, keys_on, one_each
from tests.threads import in_threads

ENGINES = ["plain", "redis-cluster"]


@pytest.fixture
def client(cluster: Cluster) -> RoutingClient:
    return cluster.get_routing_client()


# ---- commands ------------------------------------------------------------------------------------


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_each_command_goes_to_the_host_of_its_key(cluster: Cluster, client: RoutingClient) -> None:
    for i in range(40):
        assert client.set(f"key:{i}", i)
    router = cluster.get_router()
    for i in range(40):
        for host_id in range(4):
            found = cluster.get_local_client(host_id).exists(f"key:{i}")
            assert found == (host_id == router.get_host_for_key(f"key:{i}"))
        assert client.get(f"key:{i}") == b"%d" % i


def c(name: str, *args: Any, **kwargs: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    return name, args, kwargs


COMMANDS = [
    c("set", "s", "5"),
    c("set", "s2", "v", ex=100, nx=True, get=False),
    c("get", "s"),
    c("get", "missing"),
    *(c("set", "s", "6", xx=True), c("getrange", "s", 0, 1)),
    *(c("setrange", "s2", 3, "x"), c("append", "s2", "tail"), c("strlen", "s2")),
    *(c("incr", "n"), c("incr", "n", 5)),
    c("incrbyfloat", "f", 1.5),
    c("decr", "n"),
    *(c("set", "e", "v", px=100_000), c("getex", "e", persist=True), c("getdel", "e")),
    c("mset", {"m": 1}),
    c("mget", ["m"]),
    *(c("exists", "m"), c("touch", "m"), c("expire", "m", 1000), c("ttl", "m"), c("persist", "m")),
    *(c("pttl", "m"), c("type", "m")),
    c("dump", "missing"),
    c("object", "refcount", "missing"),
    c("memory_usage", "missing"),
    *(c("setbit", "b", 7, 1), c("getbit", "b", 7), c("bitcount", "b"), c("bitpos", "b", 1)),
    *(c("hset", "h", "a", 1), c("hset", "h", mapping={"b": 2, "c": 3}), c("hget", "h", "a")),
    *(c("hmget", "h", ["a", "x"]), c("hgetall", "h"), c("hkeys", "h"), c("hlen", "h")),
    *(c("hincrby", "h", "a", 2), c("hincrbyfloat", "h", "b", 0.5), c("hexists", "h", "a")),
    *(c("hdel", "h", "a", "x"), c("hscan", "h")),
    *(c("rpush", "l", 1, 2, 3), c("lpush", "l", 0), c("lrange", "l", 0, -1), c("lindex", "l", 1)),
    *(c("linsert", "l", "BEFORE", 2, "x"), c("lpos", "l", "x"), c("llen", "l"), c("lset", "l", 0, "y")),
    *(c("lrem", "l", 1, "x"), c("ltrim", "l", 0, 2), c("lpop", "l"), c("rpop", "l", 1)),
    c("blpop", ["l"], 1),
    c("brpop", ["missing"], 0.01),
    *(c("sadd", "set", "a", "b"), c("smembers", "set"), c("sismember", "set", "a")),
    *(c("smismember", "set", ["a", "x"]), c("scard", "set"), c("srem", "set", "a"), c("spop", "set")),
    c("sscan", "set"),
    *(c("zadd", "z", {"a": 1, "b": 2.5}), c("zadd", "z", {"a": 2}, incr=True), c("zscore", "z", "a")),
    *(c("zmscore", "z", ["a", "x"]), c("zrange", "z", 0, -1, withscores=True)),
    *(c("zrevrange", "z", 0, -1), c("zrangebyscore", "z", 0, 10, withscores=True, start=0, num=1)),
    *(c("zrank", "z", "b"), c("zincrby", "z", 3, "b"), c("zcount", "z", "-inf", "+inf"), c("zcard", "z")),
    *(c("zscan", "z"), c("zpopmin", "z"), c("zrem", "z", "b")),
    *(c("pfadd", "hll", "a", "b"), c("pfcount", "hll")),
    *(c("geoadd", "g", (13.36, 38.11, "Palermo")), c("geopos", "g", "Palermo")),
    c("geohash", "g", "Palermo"),
    c("geosearch", "g", longitude=13, latitude=38, radius=100, unit="km"),
    *(c("xadd", "x", {"a": 1}, "1-1"), c("xlen", "x"), c("xrange", "x")),
    *(c("xgroup_create", "x", "group", "0"), c("xinfo_stream", "x"), c("xinfo_groups", "x")),
    *(c("xpending", "x", "group"), c("xack", "x", "group", "1-1"), c("xdel", "x", "1-1")),
    c("delete", "s"),
    c("unlink", "s2"),
]


@pytest.mark.plain_servers("compares with one server that takes all keys")
@pytest.mark.parametrize("protocol", [2, 3])
def test_replies_are_those_of_redis_py(servers: TestSetup, make_cluster: Make, protocol: int) -> None:
    """Routed and mapped, each method returns what it returns from redis-py's own client."""
    options = {"pool_options": {"protocol": protocol}}
    clusters = [make_cluster({i: servers.host(i, db) for i in range(4)}, **options) for db in (1, 2)]
    routing = clusters[0].get_routing_client()
    mapping = clusters[1].get_routing_client(auto_batch=False).get_mapping_client()
    with servers.client(0, 3, protocol=protocol) as plain:
        for name, args, kwargs in COMMANDS:
            expected: Any = attempt(lambda: getattr(plain, name)(*args, **kwargs))  # noqa: B023
            routed = attempt(lambda: getattr(routing, name)(*args, **kwargs))  # noqa: B023
            promise = getattr(mapping, name)(*args, **kwargs).done(on_failure=lambda reason: None)
            mapping.join()
            mapped = str(type(promise.reason)) if promise.is_rejected else promise.value
            if name == "spop":
                # At random.
                expected = routed = mapped = None
            assert routed == expected, name
            assert mapped == expected, name
            assert type(routed) is type(mapped) is type(expected), name


def attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except redis.ResponseError as error:
        return str(type(error))


def test_methods_of_containers(cluster: Cluster) -> None:
    client: Any = cluster.get_routing_client()
    client["a"] = 1
    assert client["a"] == b"1"
    assert "a" in client
    del client["a"]
    assert "a" not in client
    with pytest.raises(KeyError):
        client["a"]


def test_iteration_over_the_parts_of_a_key(client: RoutingClient) -> None:
    fields = {f"field:{i}": i for i in range(1000)}
    client.hset("h", mapping=fields)
    client.sadd("s", *fields)
    client.zadd("z", fields)
    expected = {name.encode() for name in fields}
    assert {name for name, _ in client.hscan_iter("h")} == expected
    assert set(client.sscan_iter("s", match="field:*")) == expected
    assert {name for name, _ in client.zscan_iter("z", count=50)} == expected


def test_a_bitfield(client: RoutingClient) -> None:
    assert client.bitfield("b").set("u8", 0, 200).get("u8", 0).execute() == [0, 200]


def test_dump_and_restore_are_never_decoded(make_cluster: Make) -> None:
    client = make_cluster(pool_options={"decode_responses": True}).get_routing_client()
    client.set("a", "ä")
    assert isinstance(client.dump("a"), bytes)
    client.restore("b", 0, client.dump("a"))
    assert client.get("b") == "ä"


def test_an_error_reply_is_raised(client: RoutingClient) -> None:
    client.rpush("list", 1)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.get("list")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.incr("list")
    with pytest.raises(redis.DataError):
        client.set("a", object())
    assert client.get("a") is None


# ---- over the cluster ----------------------------------------------------------------------------


@pytest.fixture
def names(client: RoutingClient) -> list[str]:
    """Keys that are there, on all hosts."""
    found = [f"key:{i}" for i in range(50)]
    for name in found:
        client.set(name, name)
    return found


def test_keys(client: RoutingClient, names: list[str]) -> None:
    assert sorted(client.keys()) == sorted(name.encode() for name in names)
    assert sorted(client.keys("key:1*")) == sorted(n.encode() for n in names if n.startswith("key:1"))
    assert client.keys("nothing*") == []


def test_dbsize(client: RoutingClient, names: list[str]) -> None:
    assert client.dbsize() == 50


def test_scan_iter(client: RoutingClient, names: list[str]) -> None:
    client.rpush("list", 1)
    assert set(client.scan_iter()) == {name.encode() for name in [*names, "list"]}
    assert set(client.scan_iter("key:2*", count=5)) == {n.encode() for n in names if n.startswith("key:2")}
    assert list(client.scan_iter(_type="list")) == [b"list"]


def test_ping(servers: TestSetup, client: RoutingClient) -> None:
    assert client.ping() is True
    servers.stop(2)
    with pytest.raises(redis.ConnectionError, match="host 2"):
        client.ping()


@pytest.mark.plain_servers("about many databases")
@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize(("name", "in_another_database"), [("flushdb", b"1"), ("flushall", None)])
def test_flushdb_empties_the_cluster_s_databases_and_flushall_all_of_the_servers(
    servers: TestSetup,
    client: RoutingClient,
    names: list[str],
    name: str,
    in_another_database: bytes | None,
    asynchronous: bool,
) -> None:
    with servers.client(0, 1) as other:
        other.set("other", 1)
        assert getattr(client, name)(asynchronous=asynchronous) is True
        assert client.dbsize() == 0
        assert other.get("other") == in_another_database


def test_lock(cluster: Cluster, client: RoutingClient) -> None:
    lock = client.lock("name", timeout=10)
    assert lock.acquire(blocking=False)
    assert cluster.get_local_client_for_key("name").exists("name")
    assert not client.lock("name", timeout=10).acquire(blocking=False)
    assert lock.extend(5)
    lock.release()
    assert not client.exists("name")
    with client.lock("name", timeout=10, blocking_timeout=1):
        assert client.exists("name")


# ---- refused -------------------------------------------------------------------------------------

# What is refused as a whole, with a word of the way out.
REFUSED = {
    **dict.fromkeys(["pubsub", "monitor", "transaction", "watch", "unwatch", "client"], "get_local_client"),
    **dict.fromkeys(["shutdown", "json", "ft", "ts", "bf", "cf", "cms", "topk"], "get_local_client"),
    **dict.fromkeys(["tdigest", "vset"], "get_local_client"),
    "scan": "scan_iter",
    "register_script": "execute_commands",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_belongs_to_one_server_is_refused(cluster: Cluster, name: str) -> None:
    clients = [
        cluster.get_routing_client(),
        cluster.get_routing_client().get_mapping_client(),
        cluster.get_routing_client().get_fanout_client("all"),
    ]
    for client in clients:
        with pytest.raises(UnroutableCommand, match=REFUSED[name]) as caught:
            getattr(client, name)("argument")
        assert f"{name}()" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        *(("info", ()), ("time", ()), ("randomkey", ()), ("publish", ("channel", "message"))),
        *(("config_get", ("*",)), ("config_set", ("maxmemory", 1)), ("script_load", ("return 1",))),
        *(("script_exists", ("sha",)), ("script_flush", ()), ("client_list", ())),
        *(("client_setname", ("name",)), ("client_kill", ("address",)), ("save", ()), ("bgsave", ())),
        *(("lastsave", ()), ("slowlog_get", ()), ("echo", ("text",)), ("select", (1,))),
        *(("auth", ("password",)), ("swapdb", (0, 1)), ("wait", (1, 1)), ("acl_list", ())),
        *(("command", ()), ("memory_stats", ()), ("replicaof", ("host", 1)), ("eval", ("return 1", 0))),
        *(("evalsha", ("sha", 2, "a", "b")), ("fcall", ("function", 0)), ("sort", ("a",))),
        *(("xread", ({"a": 0},)), ("xreadgroup", ("g", "c", {"a": 0})), ("zunionstore", ("a", ["b"]))),
        *(("zinter", (["a", "b"],)), ("smove", ("a", "b", "member")), ("georadius", ("a", 1, 1, 1))),
        *(("rename", ("a", "b")), ("copy", ("a", "b")), ("lmove", ("a", "b")), ("sdiff", ("a", "b"))),
        *(("pfmerge", ("a", "b")), ("bitop", ("AND", "a", "b")), ("blpop", (["a", "b"],))),
    ],
)
def test_methods_of_commands_that_cannot_be_routed(
    cluster: Cluster, name: str, args: tuple[Any, ...]
) -> None:
    for client in (cluster.get_routing_client(), cluster.get_routing_client().get_mapping_client()):
        with pytest.raises(
            UnroutableCommand, match=r"cluster\.fanout|cluster\.get_local_client|pool_options"
        ):
            getattr(client, name)(*args)
    assert cluster.get_routing_client().dbsize() == 0


# ---- redis-py's methods, one by one --------------------------------------------------------------

# Methods that do more, or something else, than return what execute_command() returns, and what they do here.
# A new version of redis-py may bring more of them: look at what they do with the reply, which is a promise in
# maps, and put them here, or refuse them in pindb.redis.clients.
REVIEWED = {
    "bitfield": "its builder calls execute_command at the end",
    **dict.fromkeys(["client_tracking_off", "client_tracking_on"], "CLIENT TRACKING is refused"),
    **dict.fromkeys(["command_docs", "command_info", "debug_segfault"], "redis-py's own refusal"),
    **dict.fromkeys(["failover", "hello", "script_debug"], "redis-py's own refusal"),
    **dict.fromkeys(["latency_doctor", "latency_graph", "latency_histogram"], "redis-py's own refusal"),
    **dict.fromkeys(["memory_doctor", "memory_help"], "redis-py's own refusal"),
    "digest_local": "sends nothing",
    "execute_command": "each client's own",
    **dict.fromkeys(["hscan_iter", "sscan_iter", "zscan_iter"], "works, refused in maps"),
    "publish": "no key; counts messages for redis-py's statistics, whatever the reply is",
    "spublish": "counts messages for redis-py's statistics, whatever the reply is",
    "scan_iter": "over all hosts, refused in maps",
    **dict.fromkeys(["register_script", "shutdown", "unwatch", "watch"], "refused"),
    **dict.fromkeys(
        ["xread", "xreadgroup"], "keys depend on arguments; the statistics of redis-py look at the reply"
    ),
}


def returned_calls(name: str) -> set[str] | None:
    """The methods whose results a method returns and does nothing else with; None where it does more."""
    function = inspect.unwrap(getattr(CoreCommands, name))
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Yield, ast.YieldFrom, ast.Await)):
            return None
        if isinstance(node, ast.Return):
            match node.value:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=attribute)):
                    called.add(attribute)
                case _:
                    return None
    return called or None


def is_wrapper(name: str, seen: tuple[str, ...] = ()) -> bool:
    """Whether all that a method returns is what execute_command() returned."""
    if name == "execute_command":
        return True
    called = returned_calls(name)
    return called is not None and all(
        other not in seen and is_wrapper(other, (*seen, name)) for other in called
    )


def test_every_method_of_redis_py_was_looked_at() -> None:
    methods = {name for name in dir(CoreCommands) if not name.startswith("_")}
    # Those that are not redis-py's commands are not for clients at all.
    methods = {name for name in methods if callable(getattr(CoreCommands, name))}
    assert len(methods) > 300
    odd = {name for name in methods if not is_wrapper(name)}
    assert odd - REVIEWED.keys() == set()


def test_what_redis_py_refuses_is_refused(cluster: Cluster) -> None:
    own = [name for name, what in REVIEWED.items() if what == "redis-py's own refusal"]
    for client in (cluster.get_routing_client(), cluster.get_routing_client().get_mapping_client()):
        for name in own:
            arguments = ["x"] if name == "script_debug" else []
            with pytest.raises((NotImplementedError, UnroutableCommand)):
                getattr(client, name)(*arguments)


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_methods_that_look_at_replies_work_in_a_fanout(cluster: Cluster) -> None:
    with cluster.all() as client:
        client.xadd("x", {"a": 1}, "1-1")
        client.xgroup_create("x", "g", "0")
        read = client.xread({"x": 0})
        read_by_group = client.xreadgroup("g", "c", {"x": ">"})
        published = client.publish("channel", "message")
        bits = client.bitfield("b").set("u8", 0, 200).get("u8", 0).execute()
    for host_id in range(4):
        assert b"1-1" in str(read.value[host_id]).encode()
        assert b"1-1" in str(read_by_group.value[host_id]).encode()
        assert published.value[host_id] == 0
        assert bits.value[host_id] == [0, 200]


# ---- connections ---------------------------------------------------------------------------------


def test_a_stale_connection_is_replaced(servers: TestSetup, cluster: Cluster, client: RoutingClient) -> None:
    (key,) = keys_on(cluster, 1, 1)
    for i in range(5):
        assert client.incr(key) == i + 1
        with cluster.map() as mapping:
            mapping.get(key)
        (connection,) = cluster.get_pool_for_host(1)._available_connections
        peer = connection._sock
        # By somebody else: the pool learns nothing of it.
        with servers.client(1) as killer:
            killed = killer.client_kill_filter(_type="normal", skipme=True)
        assert killed >= 1
        if i % 2:
            with cluster.map() as mapping:
                value = mapping.get(key)
            assert value.value == b"%d" % (i + 1)
        else:
            assert client.get(key) == b"%d" % (i + 1)
        assert connection._sock is not peer


class DropAfter:
    """Hands what clients send on, and ends the connection once a command is with the server."""

    def __init__(self, word: bytes) -> None:
        self.word = word
        self.seen = 0
        self.replies_pass = True

    def forward(self, data: bytes) -> bytes:
        if self.word in data:
            self.seen += 1
            self.replies_pass = False
        return data

    def back(self, data: bytes) -> bytes | None:
        if not self.replies_pass:
            # The server has done it, and nobody hears of it.
            self.replies_pass = True
            return None
        return data


@pytest.mark.plain_servers("needs a proxy before one host")
@pytest.mark.parametrize("how", ["routed", "mapped", "split", "fanned out"])
def test_a_command_that_may_have_run_is_not_run_again(
    servers: TestSetup, make_cluster: Make, how: str
) -> None:
    drop = DropAfter(b"count")
    path = servers.host(0)["unix_socket_path"]
    with Proxy(path, drop.forward, drop.back) as proxy:
        cluster = make_cluster({0: proxy.host})
        client = cluster.get_routing_client(split_multi_key=True)
        client.ping()

        def run() -> None:
            if how == "routed":
                client.incr("count")
            elif how == "split":
                client.delete("count", "other")
            else:
                with cluster.map() if how == "mapped" else cluster.all() as many:
                    many.incr("count")

        for i in range(3):
            with pytest.raises(redis.ConnectionError, match=f"127.0.0.1:{proxy.port}|closed|reset"):
                run()
            assert drop.seen == i + 1
    with servers.client(0) as plain:
        assert plain.get("count") == (None if how == "split" else b"3")


@pytest.mark.plain_servers("needs a proxy before one host")
def test_a_command_is_run_again_where_the_pools_say_so(servers: TestSetup, make_cluster: Make) -> None:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    drop = DropAfter(b"count")
    with Proxy(servers.host(0)["unix_socket_path"], drop.forward, drop.back) as proxy:
        cluster = make_cluster(
            {0: proxy.host},
            pool_options={"retry": Retry(NoBackoff(), 2), "retry_on_error": [redis.ConnectionError]},
        )
        with pytest.raises(redis.ConnectionError):
            cluster.get_routing_client().incr("count")
        assert drop.seen == 3


def test_connections_are_shared_by_all_clients(cluster: Cluster) -> None:
    for _ in range(5):
        cluster.get_routing_client().get("a")
        cluster.get_local_client_for_key("a").get("a")
        with cluster.map() as client:
            client.get("a")
    pool = cluster.get_pool_for_host(cluster.get_router().get_host_for_key("a"))
    assert len(pool._available_connections) == 1


# ---- threads and processes -----------------------------------------------------------------------


def test_threads_share_a_client(cluster: Cluster, client: RoutingClient) -> None:
    threads, rounds = 16, 60

    def work(number: int) -> None:
        for i in range(rounds):
            own = f"thread:{number}:{i}"
            assert client.set(own, own)
            assert client.get(own) == own.encode()
            client.incr("shared")
            with cluster.map() as mapping:
                values = [mapping.get(f"thread:{number}:{j}") for j in range(i + 1)]
                mapping.incr("mapped")
            assert [promise.value for promise in values] == [
                f"thread:{number}:{j}".encode() for j in range(i + 1)
            ]

    in_threads(threads, work)
    assert client.mget("shared") == [b"%d" % (threads * rounds)]
    assert client.get("mapped") == b"%d" % (threads * rounds)
    assert all(not cluster.get_pool_for_host(host_id)._in_use_connections for host_id in range(4))


def test_threads_start_a_cluster_together(make_cluster: Make) -> None:
    cluster = make_cluster()

    def work(number: int) -> tuple[int, ...]:
        cluster.get_routing_client().set(f"key:{number}", number)
        return (id(cluster.get_router()), *(id(cluster.get_pool_for_host(i)) for i in range(4)))

    assert len(set(in_threads(16, work))) == 1
    assert cluster.get_routing_client().dbsize() == 16


def test_forked_processes_use_connections_of_their_own(cluster: Cluster, client: RoutingClient) -> None:
    for key in one_each(cluster):
        client.set(key, "before")

    def work(number: int) -> None:
        for i in range(50):
            own = f"process:{number}:{i}"
            client.set(own, own)
            with cluster.map() as mapping:
                value = mapping.get(own)
                mapping.incr("shared")
            assert value.value == client.get(own) == own.encode()

    pids = [start_child(partial(work, number), 30) for number in range(4)]
    work(4)
    assert [end_of(pid) for pid in pids] == [0] * 4
    assert client.get("shared") == b"250"


def test_a_script_knows_the_client_s_encoding(make_cluster: Make) -> None:
    client: Any = make_cluster(pool_options={"encoding": "latin-1"}).get_routing_client()
    assert Script(client, "return 'ä'").sha == Script(client, "return 'ä'".encode("latin-1")).sha
