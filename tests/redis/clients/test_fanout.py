"""Commands for hosts by name."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from pindb.redis import Cluster, ClusterConfigError, CommandCancelled, UnroutableCommand
from pindb.testing.redis import TestSetup
from tests.redis.tools import Make

ENGINES = ["plain", "redis-cluster"]


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_all_hosts(cluster: Cluster) -> None:
    for i in range(40):
        cluster.get_routing_client().set(f"key:{i}", i)
    with cluster.all() as client:
        sizes = client.dbsize()
        infos = client.info("server")
        pong = client.ping()
        assert sizes.is_pending
    assert list(sizes.value) == [0, 1, 2, 3]
    assert sum(sizes.value.values()) == 40
    assert {info["tcp_port"] for info in infos.value.values()} == {0}
    assert pong.value == dict.fromkeys(range(4), True)
    with cluster.all() as client:
        client.flushdb()
    assert cluster.get_routing_client().dbsize() == 0


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_hosts_by_id(cluster: Cluster) -> None:
    with cluster.fanout([3, 1]) as client:
        done = client.set("a", 1)
        values = client.get("a")
    assert done.value == {3: True, 1: True}
    assert list(values.value.items()) == [(3, b"1"), (1, b"1")]
    with cluster.fanout(hosts="all") as client:
        values = client.get("a")
    assert values.value == {0: None, 1: b"1", 2: None, 3: b"1"}


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
@pytest.mark.parametrize("hosts", [(0, 2), {0, 2}, iter([0, 2]), {0: "x", 2: "y"}, [0, 2, 0]])
def test_ids_from_any_iterable(cluster: Cluster, hosts: Any) -> None:
    with cluster.fanout(hosts) as client:
        values = client.incr("a")
    assert values.value == {0: 1, 2: 1}


def test_without_hosts_each_command_names_its_own(cluster: Cluster) -> None:
    with cluster.fanout() as client:
        pong = client.target([1, 3]).ping()
        value = client.target_key("a").get("a")
        with pytest.raises(UnroutableCommand, match=r"No hosts were named for PING\. .*fanout\('all'\)"):
            client.ping()
    assert pong.value == {1: True, 3: True}
    assert value.value is None


def test_no_hosts(cluster: Cluster) -> None:
    with cluster.fanout([]) as client:
        pong = client.ping()
    assert pong.value == {}


@pytest.mark.plain_servers("about numbers of hosts")
@pytest.mark.parametrize("hosts", [[7], [0, -1], ["0"], [None]])
def test_unknown_ids_are_named(cluster: Cluster, hosts: Any) -> None:
    with pytest.raises(ClusterConfigError, match=r"There is no host .*; there are 0, 1, 2, 3"):
        cluster.fanout(hosts)
    with cluster.all() as client, pytest.raises(ClusterConfigError, match="There is no host"):
        client.target(hosts)


@pytest.mark.parametrize("hosts", ["some", "0", 0])
def test_what_names_no_hosts_is_refused(cluster: Cluster, hosts: Any) -> None:
    with pytest.raises(ClusterConfigError, match=r"Write a list of host ids, or 'all'"):
        cluster.fanout(hosts)


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_target(cluster: Cluster) -> None:
    with cluster.all() as client:
        some = client.target([0, 2]).incr("a")
        everywhere = client.incr("a")
        one = client.target([1]).get("a")
        back = client.target("all").get("a")
    assert some.value == {0: 1, 2: 1}
    assert everywhere.value == {0: 2, 1: 1, 2: 2, 3: 1}
    assert one.value == {1: b"1"}
    assert back.value == {0: b"2", 1: b"1", 2: b"2", 3: b"1"}


def test_target_key_promises_the_reply_itself(cluster: Cluster) -> None:
    with cluster.fanout([]) as client:
        done = [client.target_key(f"key:{i}").set(f"key:{i}", i) for i in range(20)]
        values = [client.target_key(f"key:{i}").get(f"key:{i}") for i in range(20)]
    assert [promise.value for promise in done] == [True] * 20
    assert [promise.value for promise in values] == [b"%d" % i for i in range(20)]
    assert cluster.get_routing_client().get("key:7") == b"7"


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_commands_that_a_router_refuses(cluster: Cluster) -> None:
    with cluster.fanout([1, 2]) as client:
        client.mset({"a": 1, "b": 2})
        values = client.mget("a", "b", "c")
        renamed = client.rename("a", "c")
        evaluated = client.eval("return redis.call('get', KEYS[1])", 1, "c")
        sorted_values = client.sort("missing")
        keys = client.keys("*")
        config = client.config_get("databases")
    assert values.value == {1: [b"1", b"2", None], 2: [b"1", b"2", None]}
    assert renamed.value == {1: True, 2: True}
    assert evaluated.value == {1: b"1", 2: b"1"}
    assert sorted_values.value == {1: [], 2: []}
    assert {host_id: sorted(names) for host_id, names in keys.value.items()} == {
        1: [b"b", b"c"],
        2: [b"b", b"c"],
    }
    assert config.value[1] == {"databases": "8"}


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_commands_are_sent_as_they_are(cluster: Cluster) -> None:
    with cluster.all() as client:
        client.config_resetstat()
    with cluster.all() as client:
        for i in range(5):
            client.get(f"key:{i}")
    stats = cluster.get_local_client(0).info("commandstats")
    assert stats["cmdstat_get"]["calls"] == 5
    assert "cmdstat_mget" not in stats


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_an_error_on_one_host_is_raised_with_the_host(cluster: Cluster) -> None:
    cluster.get_local_client(2).rpush("a", 1)
    client = cluster.get_routing_client().get_fanout_client("all")
    bad = client.incr("a")
    good = client.incr("b")
    with pytest.raises(redis.ResponseError, match="INCRBY 'a' on host 2") as caught:
        client.join()
    assert bad.reason is caught.value
    assert good.value == {0: 1, 1: 1, 2: 1, 3: 1}
    with cluster.all() as client:
        client.incr("a").done(on_failure=lambda reason: None)


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_execute_returns_the_results_in_order(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_fanout_client([0, 1])
    client.set("a", 1)
    client.target([1]).get("a")
    assert client.execute() == [{0: True, 1: True}, {1: b"1"}]


def test_an_exception_in_the_block_cancels(cluster: Cluster) -> None:
    with pytest.raises(KeyError), cluster.all() as client:  # noqa: PT012
        promise = client.set("a", 1)
        raise KeyError
    assert isinstance(promise.reason, CommandCancelled)
    assert cluster.get_routing_client().dbsize() == 0


@pytest.mark.plain_servers("about many databases")
@pytest.mark.parametrize("max_concurrency", [1, 5, None])
def test_more_hosts_than_are_talked_to_at_once(
    servers: TestSetup, make_cluster: Make, max_concurrency: int | None
) -> None:
    with make_cluster(servers.hosts).all(max_concurrency=max_concurrency) as client:
        pong = client.ping()
    assert pong.value == dict.fromkeys(range(32), True)


@pytest.mark.parametrize(
    "words",
    [
        *(("SELECT", 1), ("MULTI",), ("EXEC",), ("WATCH", "a"), ("SUBSCRIBE", "c"), ("MONITOR",)),
        *(("CLIENT REPLY", "OFF"), ("CLIENT", "reply", "off"), ("client setname", "n"), ("HELLO", 3)),
        ("QUIT",),
    ],
)
def test_what_would_change_shared_connections_is_refused(cluster: Cluster, words: tuple[Any, ...]) -> None:
    with cluster.all() as client, pytest.raises(UnroutableCommand, match="changes the connection"):
        client.execute_command(*words)
    # Nothing was sent, or left behind.
    with cluster.all() as client:
        pong = client.ping()
    assert all(pong.value.values())


def test_no_error_shows_a_password(cluster: Cluster) -> None:
    with cluster.all() as client, pytest.raises(UnroutableCommand) as caught:
        client.auth("geheim")
    assert "geheim" not in str(caught.value)
