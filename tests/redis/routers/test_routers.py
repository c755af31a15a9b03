"""Which host a command goes to, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pindb.redis import (
    BaseRouter,
    Cluster,
    ClusterConfigError,
    ConsistentHashingRouter,
    PartitionRouter,
    UnroutableCommand,
)
from tests.redis.tools import Make

VECTORS = Path(__file__).parents[2] / "vectors"
RB = json.loads((VECTORS / "rb.json").read_text())


@pytest.fixture(scope="module")
def router() -> BaseRouter:
    return Cluster({i: {"port": i + 1} for i in range(4)}).get_router()


# ---- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "args", "key"),
    [
        *(("GET", ["k"], "k"), ("get", ["k"], "k"), (b"GET", [b"k"], b"k")),
        *(("SET", ["k", "v", "EX", 5], "k"), ("INCRBY", ["k", 1], "k")),
        *(("HSET", ["k", "a", 1, "b", 2], "k"), ("ZADD", ["k", 1, "a"], "k")),
        *(("LPUSH", ["k", 1, 2, 3], "k"), ("DEL", ["k"], "k"), ("MGET", ["k"], "k")),
        *(("MSET", ["k", "v"], "k"), ("EXISTS", ["k"], "k"), ("BLPOP", ["k", 0], "k")),
        *(("BITOP", ["NOT", "k"], "k"), ("OBJECT", ["ENCODING", "k"], "k")),
        *(("OBJECT ENCODING", ["k"], "k"), ("object encoding", ["k"], "k")),
        *((b"OBJECT ENCODING", ["k"], "k"), ("MEMORY USAGE", ["k"], "k")),
        *(("MEMORY", ["USAGE", "k", "SAMPLES", 5], "k"), ("DEBUG OBJECT", ["k"], "k")),
        *(("XADD", ["k", "*", "a", 1], "k"), ("XINFO STREAM", ["k"], "k")),
        *(("XGROUP CREATE", ["k", "group", "$"], "k"), ("XGROUP", [b"CREATE", "k", "group", "$"], "k")),
        *(("GEOADD", ["k", 1, 2, "m"], "k"), ("GETEX", ["k", "EX", 5], "k"), ("PFCOUNT", ["k"], "k")),
        *(("SPUBLISH", ["k", "message"], "k"), ("DUMP", ["k"], "k"), ("JSON.GET", ["k", "$"], "k")),
        *(("VADD", ["k", "VALUES", 1, 1, "e"], "k"), ("HGETEX", ["k", "FIELDS", 1, "f"], "k")),
        *(("GET", [5], 5), ("EVAL", ["return 1", 1, "k", "value"], "k")),
        *(("evalsha", ["sha", "1", "k"], "k"), ("FCALL_RO", ["function", 1, "k"], "k")),
    ],
)
def test_the_key_of_a_command(router: BaseRouter, command: Any, args: Sequence[Any], key: Any) -> None:
    assert router.get_key(command, args) == key
    assert router.get_host_for_command(command, args) == router.get_host_for_key(key)


# ---- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "args", "ways_out"),
    [
        # No key.
        ("PING", [], ["PING has no key", "cluster.fanout(hosts=[...])", "get_local_client(host_id)"]),
        ("DBSIZE", [], ["DBSIZE has no key", "fanout"]),
        ("KEYS", ["*"], ["KEYS has no key", "fanout"]),
        ("SCAN", [0], ["SCAN has no key", "fanout"]),
        ("PUBLISH", ["c", "m"], ["PUBLISH has no key", "fanout"]),
        ("CONFIG GET", ["maxmemory"], ["CONFIG GET has no key", "fanout"]),
        ("CONFIG", ["GET", "maxmemory"], ["CONFIG GET has no key", "fanout"]),
        ("SCRIPT LOAD", ["return 1"], ["SCRIPT LOAD has no key", "fanout"]),
        ("FT.SEARCH", ["index", "query"], ["FT.SEARCH has no key", "fanout"]),
        ("GET", [], ["GET needs a key"]),
        ("OBJECT ENCODING", [], ["OBJECT ENCODING needs a key"]),
        ("MGET", [], ["MGET needs a key"]),
        # Several keys.
        (
            "MGET",
            ["a", "b"],
            ["MGET has 2 keys", "{hash tag}", "hash_tags", "split_multi_key=True", "fanout"],
        ),
        ("MSET", ["a", 1, "b", 2, "c", 3], ["MSET has 3 keys", "split_multi_key=True"]),
        ("DEL", ["a", "b"], ["DEL has 2 keys", "split_multi_key=True"]),
        ("RENAME", ["a", "b"], ["RENAME has 2 keys", "{hash tag}"]),
        ("SINTER", ["a", "b", "c"], ["SINTER has 3 keys", "{hash tag}"]),
        ("SMOVE", ["a", "b", "m"], ["SMOVE has 2 keys"]),
        ("BLPOP", ["a", "b", 0], ["BLPOP has 2 keys"]),
        ("BITOP", ["AND", "a", "b"], ["BITOP has 2 keys"]),
        ("PFMERGE", ["a", "b"], ["PFMERGE has 2 keys"]),
        ("COPY", ["a", "b"], ["COPY has 2 keys"]),
        # Unknown.
        ("NOSUCH", ["a"], ["NOSUCH is not a command that pindb knows", "fanout"]),
        ("OBJECT", ["NOSUCH", "a"], ["OBJECT is not a command", "fanout"]),
        ("", [], ["is not a command"]),
        (5, ["a"], ["5 is not a command"]),
        # Depends.
        ("EVAL", ["return 1", 0], ["EVAL has no key", "fanout"]),
        ("EVALSHA", ["sha"], ["EVALSHA has no key", "fanout"]),
        ("FCALL", ["function", "many", "a"], ["FCALL has no key", "fanout"]),
        ("EVAL", ["return 1", 2, "a", "b", "value"], ["EVAL has 2 keys", "{hash tag}"]),
        ("SORT", ["a"], ["The keys of SORT", "depend on its arguments", "get_local_client_for_key"]),
        ("XREAD", ["STREAMS", "a", 0], ["XREAD", "depend on its arguments"]),
        ("ZUNIONSTORE", ["a", 1, "b"], ["ZUNIONSTORE", "depend on its arguments"]),
        ("MIGRATE", ["h", 1, "a", 0, 5], ["MIGRATE", "depend on its arguments"]),
        # Changes its connection.
        ("SELECT", [1], ["SELECT changes the connection", "get_local_client", "pool_options"]),
        ("AUTH", ["geheim"], ["AUTH changes the connection"]),
        ("WATCH", ["a"], ["WATCH changes the connection", "pipeline()"]),
        ("MULTI", [], ["MULTI changes the connection"]),
        ("SSUBSCRIBE", ["a"], ["SSUBSCRIBE changes the connection", "pubsub()"]),
        ("CLIENT", ["REPLY", "OFF"], ["CLIENT REPLY changes the connection"]),
        ("CLIENT SETNAME", ["n"], ["CLIENT SETNAME changes the connection"]),
    ],
)
def test_what_cannot_be_routed_says_the_way_out(
    router: BaseRouter, command: Any, args: Sequence[Any], ways_out: list[str]
) -> None:
    with pytest.raises(UnroutableCommand) as caught:
        router.get_host_for_command(command, args)
    for text in ways_out:
        assert text in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_router_of_ones_own_must_say_where_keys_are(router: BaseRouter) -> None:
    with pytest.raises(NotImplementedError, match="BaseRouter must override get_host_for_key"):
        BaseRouter(router.cluster).get_host_for_key("a")


@pytest.mark.parametrize("key", [None, 1.5, [], object()])
@pytest.mark.parametrize("kind", [PartitionRouter, ConsistentHashingRouter])
def test_keys_of_other_types_are_named(kind: type[BaseRouter], key: Any) -> None:
    router = kind(Cluster({0: {"port": 1}, 1: {"port": 2}}))
    with pytest.raises(TypeError, match=type(key).__name__):
        router.get_host_for_key(key)


# ---- partition -----------------------------------------------------------------------------------


@pytest.mark.parametrize("measured", RB["partition"], ids=lambda measured: str(measured["hosts"]))
def test_keys_lie_where_rb_partitions_them(measured: dict[str, Any]) -> None:
    number, hosts = measured["hosts"], measured["index"]
    router = Cluster({i: {"port": i + 1} for i in range(number)}).get_router()
    assert isinstance(router, PartitionRouter)
    assert [router.get_host_for_key(key) for key in RB["keys"]] == hosts
    assert router.get_hosts_for_keys(RB["keys"]) == hosts
    assert [router.get_host_for_key(key) for key in RB["ints"]] == measured["int_index"]
    groups = router.group_keys(RB["keys"])
    assert {place: host for host, places in groups.items() for place in places} == dict(enumerate(hosts))
    assert all(places == sorted(places) for places in groups.values())


def test_text_bytes_and_numbers_lie_together(router: BaseRouter) -> None:
    for number in range(100):
        hosts = {router.get_host_for_key(key) for key in (number, str(number), b"%d" % number)}
        assert len(hosts) == 1
    assert router.get_host_for_key("schlüssel") == router.get_host_for_key("schlüssel".encode())


# ---- consistent hashing --------------------------------------------------------------------------


# rb's router has no weights.
UNWEIGHTED = [measured for measured in RB["ketama"] if not measured["weights"]]


@pytest.mark.parametrize("measured", UNWEIGHTED, ids=lambda measured: str(len(measured["nodes"])))
def test_keys_lie_where_rb_s_ring_has_them(measured: dict[str, Any]) -> None:
    nodes = measured["nodes"]
    router = ring({i: {"port": i + 1, "name": node} for i, node in enumerate(nodes)})
    assert [nodes[router.get_host_for_key(key)] for key in RB["keys"]] == measured["node"]
    assert [nodes[host_id] for host_id in router.get_hosts_for_keys(RB["keys"])] == measured["node"]


def ring(hosts: dict[int, dict[str, Any]], **options: Any) -> BaseRouter:
    return Cluster(hosts, router_cls=ConsistentHashingRouter, router_options=options).get_router()


KEYS = [f"key:{i}" for i in range(4000)]


def places(router: BaseRouter) -> list[int]:
    return router.get_hosts_for_keys(KEYS)


def test_weights_share_the_keys_out() -> None:
    hosts = {i: {"port": i + 1} for i in range(3)}
    even = Counter(places(ring(hosts)))
    assert all(0.2 < even[i] / len(KEYS) < 0.47 for i in range(3))
    weighted = Counter(places(ring(hosts, weights={1: 4})))
    assert 0.5 < weighted[1] / len(KEYS) < 0.8


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({7: 1}, "weights has 7, but the hosts are 0, 1"),
        ({"0": 1}, "weights has '0'"),
        ({0: 0}, "weights: "),
        ({0: -1}, "weights: "),
        ({0: "much"}, "weights: "),
    ],
)
def test_wrong_weights_are_named(weights: Any, message: str) -> None:
    with pytest.raises(ClusterConfigError, match=message):
        ring({0: {"port": 1}, 1: {"port": 2}}, weights=weights)


def test_the_ring_goes_by_addresses() -> None:
    hosts = {i: {"host": "server", "port": i + 1} for i in range(3)}
    before = places(ring(hosts))
    named = {i: {"host": "elsewhere", "port": 9, "db": i, "name": f"server:{i + 1}/0"} for i in range(3)}
    assert places(ring(named)) == before
    # Neither passwords nor options move keys, nor does the order.
    with_password = {i: {**host, "password": "p", "username": "u"} for i, host in hosts.items()}
    assert places(ring(with_password)) == before
    other_ids = ring({2 - i: host for i, host in hosts.items()})
    assert [2 - host_id for host_id in places(other_ids)] == before


@pytest.mark.parametrize("weights", [{}, {1: 3}, {0: 0.5, 2: 2.5}])
def test_keys_move_only_to_a_host_that_comes(weights: dict[int, float]) -> None:
    hosts: dict[int, dict[str, Any]] = {i: {"port": i + 1} for i in range(4)}
    before = places(ring(hosts, weights=weights))
    after = places(ring({**hosts, 4: {"port": 9}}, weights={**weights, 4: 2}))
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {4}
    assert len(moved) < len(KEYS) * 0.5


def test_hosts_with_the_same_name_are_refused() -> None:
    with pytest.raises(ClusterConfigError, match="same name on the ring, 'localhost:6379/0'"):
        ring({0: {}, 1: {}})
    with pytest.raises(ClusterConfigError, match="same name on the ring, 'n'"):
        ring({0: {"port": 1, "name": "n"}, 1: {"port": 2, "name": "n"}})


# ---- hash tags -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PartitionRouter, ConsistentHashingRouter])
def test_keys_with_the_same_tag_lie_together(kind: type[BaseRouter]) -> None:
    cluster = Cluster(
        {i: {"port": i + 1} for i in range(8)}, router_cls=kind, router_options={"hash_tags": True}
    )
    router = cluster.get_router()
    tagged = [f"{{user:7}}:{i}" for i in range(20)]
    host_id = router.get_host_for_key("user:7")
    assert {router.get_host_for_key(key) for key in tagged} == {host_id}
    assert set(router.get_hosts_for_keys(tagged)) == {host_id}
    assert list(router.group_keys(tagged)) == [host_id]
    assert router.get_host_for_command("MGET", tagged) == host_id
    assert router.get_host_for_command("RENAME", [b"{user:7}", "{user:7}:x"]) == host_id
    with pytest.raises(UnroutableCommand, match="RENAME has 2 keys"):
        router.get_host_for_command("RENAME", ["{user:7}", "{user:8}"])
    # An empty tag is none.
    assert len({router.get_host_for_key(f"{{}}{i}") for i in range(50)}) > 1


def test_without_hash_tags_keys_are_placed_whole(router: BaseRouter) -> None:
    assert len({router.get_host_for_key(f"{{user:7}}:{i}") for i in range(50)}) == 4
    with pytest.raises(UnroutableCommand, match="hash_tags"):
        router.get_host_for_command("MGET", ["{a}1", "{a}2"])


# ---- routers of one's own ------------------------------------------------------------------------


class FirstLetter(BaseRouter):
    """A site's own router."""

    def __init__(self, cluster: Cluster, shift: int = 0) -> None:
        super().__init__(cluster)
        self.shift = shift

    def get_host_for_key(self, key: Any) -> int:
        return (ord(str(key)[0]) + self.shift) % len(self.cluster.hosts)


class ByCommand(FirstLetter):
    """Keeps counters elsewhere."""

    def get_host_for_command(self, command: Any, args: Sequence[Any]) -> int:
        return 3 if command == "INCRBY" else super().get_host_for_command(command, args)


def test_a_router_of_ones_own(make_cluster: Make) -> None:
    cluster = make_cluster(router_cls=FirstLetter, router_options={"shift": 1})
    client = cluster.get_routing_client()
    client.set("a", "routed")
    with cluster.map() as mapping:
        value = mapping.get("a")
        mapping.set("b", "mapped")
        mapping.incr("c")
    assert value.value == b"routed"
    hosts = {key: (ord(key) + 1) % 4 for key in "abc"}
    assert all(cluster.get_local_client(host_id).exists(key) for key, host_id in hosts.items())
    assert isinstance(cluster.get_router(), FirstLetter)
    with pytest.raises(
        ClusterConfigError, match=r"nonsense, which FirstLetter does not take. It takes: shift"
    ):
        make_cluster(router_cls=FirstLetter, router_options={"nonsense": 1}).get_router()


def test_a_router_that_goes_by_the_command(make_cluster: Make) -> None:
    cluster = make_cluster(router_cls=ByCommand)
    cluster.get_routing_client().incr("a")
    with cluster.map() as client:
        client.incr("a")
        client.incr("b")
    assert cluster.get_local_client(3).mget("a", "b") == [b"2", b"1"]
    assert cluster.get_routing_client().get("a") is None


def test_routers_know_their_cluster(cluster: Cluster) -> None:
    assert cluster.get_router().cluster is cluster
    assert cluster.get_router() is cluster.get_router()
