"""Many keys in one call of a map: `get_many`, `set_many` and `delete_many`."""

from __future__ import annotations

from typing import Any

import pytest

from pindb.redis import Cluster
from pindb.testing.redis import TestSetup
from tests.redis.tools import calls_on, forget_calls, keys_on, values_of

ENGINES = ["plain", "redis-cluster"]


@pytest.fixture
def spread(cluster: Cluster) -> list[str]:
    """Keys of all hosts, in turn."""
    keys = [keys_on(cluster, host_id, 10) for host_id in range(4)]
    return [key for some in zip(*keys, strict=True) for key in some]


@pytest.mark.plain_servers("about merged commands")
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
