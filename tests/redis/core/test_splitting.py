"""Commands with many keys, cut by host."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import pytest
import redis

from pindb.redis import Cluster, CommandError, RoutingClient, UnroutableCommand, create_cluster
from pindb.testing.redis import TestSetup
from tests.redis.tools import Create, Make, Proxy, one_each

NAMES = [f"key:{i}" for i in range(40)]


@pytest.fixture
def client(cluster: Cluster) -> RoutingClient:
    return cluster.get_routing_client(split_multi_key=True)


def test_mset_and_mget(cluster: Cluster, client: RoutingClient) -> None:
    assert client.mset({name: i for i, name in enumerate(NAMES)}) is True
    assert client.mget(NAMES) == [b"%d" % i for i in range(40)]
    assert client.mget(NAMES[::-1]) == [b"%d" % i for i in range(39, -1, -1)]
    single = cluster.get_routing_client()
    assert [single.get(name) for name in NAMES] == [b"%d" % i for i in range(40)]
    assert all(cluster.get_local_client(host_id).dbsize() for host_id in range(4))


def test_values_come_in_the_caller_s_order_with_gaps_and_duplicates(client: RoutingClient) -> None:
    client.mset({"a": 1, "b": 2})
    asked = ["b", "missing", "a", "b", "missing", "a", "a"]
    assert client.mget(asked) == [b"2", None, b"1", b"2", None, b"1", b"1"]
    assert client.mget("b", "a") == [b"2", b"1"]
    assert client.mget(b"b", "a") == [b"2", b"1"]


@pytest.mark.parametrize("name", ["delete", "unlink"])
def test_what_deletes(client: RoutingClient, name: str) -> None:
    client.mset(dict.fromkeys(NAMES, 1))
    assert getattr(client, name)(*NAMES[:30], "missing", NAMES[0]) == 30
    assert client.dbsize() == 10
    assert getattr(client, name)("missing") == 0
    assert getattr(client, name)(NAMES[35]) == 1


@pytest.mark.parametrize("name", ["exists", "touch"])
def test_what_counts(client: RoutingClient, name: str) -> None:
    client.mset(dict.fromkeys(NAMES, 1))
    assert getattr(client, name)(*NAMES, "missing") == 40
    # A key counts as often as it is named.
    assert getattr(client, name)("key:0", "key:0", "key:1") == 3
    assert getattr(client, name)("missing") == 0


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (("mset", "a", 1, "b", 2, "c", 3), True),
        (("Exists", "a", "b", "x"), 2),
        (("DEL", "a", "b"), 2),
        (("MGET", "a", "c"), [None, b"3"]),
    ],
)
def test_names_of_any_case(client: RoutingClient, words: tuple[Any, ...], reply: object) -> None:
    if words[0] != "mset":
        client.mset({"a": 1, "b": 2, "c": 3})
    if words[0] == "MGET":
        client.delete("a")
    assert client.execute_command(*words) == reply


def test_in_a_map(cluster: Cluster) -> None:
    with cluster.map(split_multi_key=True) as client:
        client.mset(dict.fromkeys(NAMES, 1))
        found = client.exists(*NAMES, "missing")
        deleted = client.delete(*NAMES[:5])
        values = client.mget(NAMES[3:7])
        client.set("key:0", "again")
        touched = client.touch(*NAMES)
        gone = client.unlink(*NAMES)
    assert (found.value, deleted.value, touched.value, gone.value) == (40, 5, 36, 36)
    assert values.value == [None, None, b"1", b"1"]


def test_maps_of_a_client_that_cuts_cut_too(client: RoutingClient) -> None:
    with client.map() as mapping:
        found = mapping.exists(*NAMES)
    assert found.value == 0
    with client.map(split_multi_key=False) as mapping, pytest.raises(UnroutableCommand):
        mapping.exists(*NAMES)


def test_each_host_gets_one_command(cluster: Cluster, client: RoutingClient) -> None:
    with cluster.all() as fanout:
        fanout.config_resetstat()
    client.mget(NAMES)
    stats = [cluster.get_local_client(host_id).info("commandstats") for host_id in range(4)]
    assert [stat["cmdstat_mget"]["calls"] for stat in stats] == [1, 1, 1, 1]


def test_nothing_to_get_is_nothing(client: RoutingClient) -> None:
    assert client.mget([]) == []
    with pytest.raises(redis.DataError, match="DEL takes keys"):
        client.delete()
    with pytest.raises(redis.DataError, match="MSET takes keys and values, not 3"):
        client.execute_command("MSET", "a", 1, "b")


def test_an_error_names_its_host(cluster: Cluster, client: RoutingClient) -> None:
    keys = one_each(cluster)
    cluster.get_local_client(2).config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.ResponseError, match=f"MSET '{keys[2]}' on host 2"):
            client.mset(dict.fromkeys(keys, 1))
    finally:
        cluster.get_local_client(2).config_set("maxmemory", 0)


@pytest.mark.parametrize("name", ["mget", "delete", "unlink", "exists", "touch"])
def test_it_is_off_by_default(cluster: Cluster, name: str) -> None:
    client = cluster.get_routing_client()
    with pytest.raises(UnroutableCommand, match=r"has 2 keys.*split_multi_key=True"):
        getattr(client, name)("a", "b")
    assert getattr(client, name)("a") in ([None], 0)


def test_mset_is_not_cut_by_default(cluster: Cluster) -> None:
    client = cluster.get_routing_client()
    with pytest.raises(UnroutableCommand, match="MSET has 2 keys"):
        client.mset({"a": 1, "b": 2})
    assert client.mset({"a": 1}) is True


@pytest.mark.parametrize("name", ["rename", "sinter", "smove", "pfcount", "sdiffstore", "copy"])
def test_other_commands_are_not_cut(client: RoutingClient, name: str) -> None:
    args = ("a", "b", "c") if name in ("smove",) else ("a", "b")
    with pytest.raises(UnroutableCommand, match=f"{name.upper()} has 2 keys"):
        getattr(client, name)(*args)


# ---- replies that are none to the command ---------------------------------------------------------


@pytest.mark.parametrize(
    "reply", [b":100000000000001\r\n", b"+OK, as it were.\r\n", b"*1\r\n$12\r\na long value\r\n"]
)
def test_a_reply_that_cannot_be_one_to_several_keys(
    servers: TestSetup, make_cluster: Callable[..., Cluster], reply: bytes
) -> None:
    def back(data: bytes) -> bytes:
        return reply if data.startswith(b"*2\r\n") else data

    with Proxy(str(servers.host(0)["unix_socket_path"]), back=back) as proxy:
        cluster = make_cluster({0: {"port": proxy.port}})
        client = cluster.get_routing_client(split_multi_key=True)
        client.mset({"a": 1, "b": 2})
        with pytest.raises(redis.InvalidResponse, match="A command of 2 keys was answered with"):
            client.mget("a", "b")
        created = create_cluster({"router": "partition", "hosts": [{"port": proxy.port}]})
        with pytest.raises(redis.InvalidResponse):
            created.execute_command("MGET", "a", "b")
        created.disconnect()
        with pytest.raises(redis.InvalidResponse), cluster.map() as mapping:
            promises = [mapping.get("a"), mapping.get("b")]
        with pytest.raises(redis.InvalidResponse), cluster.map() as mapping:
            promises.append(mapping.mget("a", "b"))
        assert [type(promise.reason) for promise in promises] == [redis.InvalidResponse] * 3


def test_a_reply_that_cannot_be_a_number_of_keys(
    servers: TestSetup, make_cluster: Callable[..., Cluster]
) -> None:
    def back(data: bytes) -> bytes:
        return b"+2\r\n" if data.startswith(b":2") else data

    with Proxy(str(servers.host(0)["unix_socket_path"]), back=back) as proxy:
        cluster = make_cluster({0: {"port": proxy.port}})
        client = cluster.get_routing_client(split_multi_key=True)
        client.mset({"a": 1, "b": 2})
        with pytest.raises(redis.InvalidResponse, match="DEL on host 0"):
            client.delete("a", "b")


# ---- what cannot be sent -------------------------------------------------------------------------

WRONG = [None, True, object(), [1], Decimal(1), HTTPStatus.OK, "\ud800"]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_value_that_cannot_be_sent_keeps_all_hosts_from_their_parts(
    cluster: Cluster, create: Create, wrong: Any
) -> None:
    values = {**{name: i for i, name in enumerate(NAMES)}, "wrong": wrong, "ä": "ä"}
    with pytest.raises(redis.DataError, match="MSET 'wrong'"):
        cluster.get_routing_client(split_multi_key=True).mset(values)
    for auto_batch in (True, False):
        client = cluster.get_routing_client(auto_batch=auto_batch).get_mapping_client()
        promise, other = client.mset(values), client.set("other", 1)
        with pytest.raises(redis.DataError, match="MSET 'wrong'"):
            client.join()
        assert isinstance(promise.reason, redis.DataError)
        assert other.value is True
    called = create("partition")
    with pytest.raises(redis.DataError, match="MSET 'wrong'"):
        called.mset(values)
    with pytest.raises(CommandError, match="MSET 'key:0': DataError: MSET 'wrong'"), called.map() as conn:
        conn.mset(values)
    assert cluster.get_routing_client().keys() == [b"other"]


def test_a_key_that_cannot_be_sent_keeps_all_hosts_from_their_parts(client: RoutingClient) -> None:
    client.mset(dict.fromkeys(NAMES, 1))
    for name in ("delete", "unlink"):
        with pytest.raises(
            redis.DataError, match=rf"{name[:3].upper()}.* <HTTPStatus.OK: 200>: Invalid input"
        ):
            getattr(client, name)(*NAMES, HTTPStatus.OK)
    assert client.dbsize() == 40


def test_text_that_is_not_in_the_encoding_keeps_all_hosts_from_their_parts(make_cluster: Make) -> None:
    client = make_cluster(pool_options={"encoding": "latin-1"}).get_routing_client(split_multi_key=True)
    with pytest.raises(redis.DataError, match="MSET 'wrong'"):
        client.mset({**dict.fromkeys(NAMES, "ä"), "wrong": "ł"})
    assert client.dbsize() == 0
    assert client.mset(dict.fromkeys(NAMES, "ä"))
    assert client.get(NAMES[0]) == b"\xe4"
