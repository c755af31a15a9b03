"""What code that was written for rb calls, and gets here as there."""

from __future__ import annotations

from typing import Any

import pytest
from redis.commands.core import Script

from pindb.redis import Cluster, ClusterConfigError
from pindb.testing.redis import TestSetup
from tests.redis.tools import Make


def test_hosts_are_added_by_position() -> None:
    cluster = Cluster({0: {"db": 0}}, host_defaults={"password": "pass"})
    cluster.add_host(1, "10.0.2.1", 6380)
    cluster.add_host(2, "10.0.2.2", 6381, None, 3, "other")
    cluster.add_host(3, "10.0.2.3", db=4)
    cluster.add_host(4, {"db": 5})
    cluster.add_host(host_id=5, host="10.0.2.5")
    found = [(host.host, host.port, host.db, host.password) for host in cluster.hosts.values()]
    assert found == [
        ("localhost", 6379, 0, "pass"),
        ("10.0.2.1", 6380, 0, "pass"),
        ("10.0.2.2", 6381, 3, "other"),
        ("10.0.2.3", 6379, 4, "pass"),
        ("localhost", 6379, 5, "pass"),
        ("10.0.2.5", 6379, 0, "pass"),
    ]
    with pytest.raises(ClusterConfigError, match="the option host twice"):
        cluster.add_host(6, "10.0.2.6", host="10.0.2.7")
    with pytest.raises(ClusterConfigError, match="8 options without a name"):
        cluster.add_host(6, "10.0.2.6", 1, None, 0, None, False, None, "more")


def test_hosts_are_keys_of_dicts(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster({0: {"url": "redis://10.0.2.1/0?health_check_interval=5"}, 1: {"db": 1}})
    names = {host: host_id for host_id, host in cluster.hosts.items()}
    assert names[cluster.hosts[0]] == 0
    assert len({*cluster.hosts.values(), *cluster.hosts.values()}) == 2
    secure = Cluster({0: {"host": "10.0.2.1", "ssl": True, "ssl_options": {"cert_reqs": None}}})
    assert hash(secure.hosts[0])


def test_several_ids_of_one_database_count_once(servers: TestSetup, make_cluster: Make) -> None:
    """rb's own documentation has eight ids on four servers."""
    cluster = make_cluster({host_id: servers.host(host_id % 4) for host_id in range(8)})
    client = cluster.get_routing_client()
    names = {b"key:%d" % i for i in range(40)}
    with cluster.map() as batch:
        for name in names:
            batch.set(name, 1)
    assert client.dbsize() == 40
    assert sorted(client.keys()) == sorted(names)
    assert sorted(client.scan_iter()) == sorted(names)
    assert client.ping() is True
    assert client.flushdb() is True
    assert client.dbsize() == 0


def test_databases_of_one_server_count_each(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster({host_id: servers.host(0, host_id) for host_id in range(3)})
    client = cluster.get_routing_client()
    with cluster.all() as fanout:
        fanout.set("a", 1)
    assert (client.dbsize(), client.keys(), list(client.scan_iter())) == (3, [b"a"] * 3, [b"a"] * 3)


def test_mset_takes_what_dict_takes(cluster: Cluster) -> None:
    with cluster.map() as client:
        client.mset([("a", 1), ("b", 2)])
        client.mset(zip("cd", [3, 4], strict=True), e=5)
        values = client.mget("a", "b", "c", "d", "e")
    assert values.value == [b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("hosts", ["all", [0, 1], None])
def test_commands_of_routing_keys_may_come_with_hosts(cluster: Cluster, hosts: Any) -> None:
    done = cluster.execute_commands({"a": [("SET", "a", 1), ("GET", "a")]}, hosts=hosts, timeout=5)
    assert done["a"][1].value == b"1"
    assert cluster.get_routing_client().get("a") == b"1"


def test_hosts_of_commands_have_to_be_there(cluster: Cluster) -> None:
    with pytest.raises(ClusterConfigError, match="There is no host 9"):
        cluster.execute_commands({"a": [("GET", "a")]}, hosts=[9])


def test_a_fan_out_without_hosts_raises_what_rb_raises(cluster: Cluster) -> None:
    with cluster.fanout() as client, pytest.raises(RuntimeError, match="No hosts were named for GET"):
        client.get("a")


@pytest.mark.parametrize("text", ["return {KEYS, ARGV}", b"return {KEYS, ARGV}"])
def test_scripts_may_not_know_their_hash_yet(cluster: Cluster, text: Any) -> None:
    client: Any = cluster.get_routing_client()
    script: Any = Script(client, text)
    known, script.sha = script.sha, None
    done = cluster.execute_commands({"foo": [(script, ["key"], ["value"])]})
    assert done["foo"][0].value == [[b"key"], [b"value"]]
    assert script.sha == known
