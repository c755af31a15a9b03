"""Names of commands that are no plain text: bytes, views of memory, members of enums."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pindb.redis import Cluster, PartitionRouter, UnroutableCommand
from pindb.redis.core.retries import reads_only
from tests.redis.tools import Create, Make, keys_on

Name = Callable[[str], Any]


class Upper(PartitionRouter):
    """Looks at commands itself, and refuses none."""

    def get_host_for_command(self, command: Any, args: Sequence[Any]) -> int:
        return 0


class ByMethod(PartitionRouter):
    """Looks at calls of methods."""

    def get_dbs(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
        return [0]


def member(name: str) -> Any:
    """A member of an enum, which is a `str` that `str()` has another text for."""
    commands: Any = enum.Enum("commands", {"NAME": name}, type=str)
    return commands.NAME


KINDS: list[Name] = [
    str,
    lambda name: name.lower(),
    str.encode,
    lambda name: name.lower().encode(),
    lambda name: bytearray(name.encode()),
    lambda name: memoryview(name.encode()),
    lambda name: memoryview(bytearray(name.encode())),
    member,
    lambda name: member(name.lower()),
]
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_what_would_change_shared_connections_is_refused(cluster: Cluster, kind: Name) -> None:
    routing = cluster.get_routing_client()
    with cluster.all() as fanout, cluster.map() as mapping:
        for client in (fanout, routing, mapping):
            for words in [(kind("SELECT"), 5), (kind("CLIENT"), kind("SETNAME"), "x")]:
                with pytest.raises(UnroutableCommand, match="changes the connection"):
                    client.execute_command(*words)


@kinds
def test_no_router_of_a_site_lets_it_through(make_cluster: Make, create: Create, kind: Name) -> None:
    words = (kind("SELECT"), 5)
    cluster = make_cluster(router_cls=Upper)
    with cluster.map() as mapping:
        for client in (cluster.get_routing_client(), mapping):
            with pytest.raises(UnroutableCommand, match="changes the connection"):
                client.execute_command(*words)
    for router in (Upper, ByMethod):
        called = create(router)
        with called.map() as conn:
            for target in (called, conn):
                with pytest.raises(UnroutableCommand, match="changes the connection"):
                    target.execute_command(*words)
    with pytest.raises(UnroutableCommand, match="changes the connection"):
        create(ByMethod).select(5)


@kinds
def test_commands_are_routed_by_their_key(cluster: Cluster, kind: Name) -> None:
    client = cluster.get_routing_client()
    for host_id in range(4):
        (key,) = keys_on(cluster, host_id, 1)
        client.execute_command(kind("SET"), key, "v")
        assert cluster.get_local_client(host_id).get(key) == b"v"
        with cluster.map() as mapping:
            value = mapping.execute_command(kind("GET"), key)
            size = mapping.execute_command(kind("MEMORY"), kind("USAGE"), key)
        assert value.value == b"v"
        assert size.value > 0
    with cluster.all() as fanout:
        sizes = fanout.execute_command(kind("DBSIZE"))
    assert sizes.value == dict.fromkeys(range(4), 1)


@kinds
def test_commands_with_several_keys_are_cut_by_host(cluster: Cluster, create: Create, kind: Name) -> None:
    client = cluster.get_routing_client(split_multi_key=True)
    keys = [f"key:{i}" for i in range(20)]
    client.mset(dict.fromkeys(keys, "v"))
    assert client.execute_command(kind("MGET"), *keys) == [b"v"] * 20
    with cluster.map(split_multi_key=True) as mapping:
        number = mapping.execute_command(kind("EXISTS"), *keys)
    assert number.value == 20
    called = create("partition")
    assert called.execute_command(kind("TOUCH"), *keys) == 20
    with called.map() as conn:
        deleted = conn.execute_command(kind("DEL"), *keys)
    assert deleted == 20


@kinds
def test_reads_may_be_sent_again(kind: Name) -> None:
    assert reads_only(kind("GET"))
    assert not reads_only(kind("SET"))
