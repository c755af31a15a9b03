"""Commands of a map that fail: what is raised, what is in their results, and that all others have run."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import redis

from pindb.redis import Call, CommandError, HostConnectionError, HostTimeoutError, RoutedCluster, get_value
from pindb.testing.redis import TestSetup
from tests.redis.tools import Create, keys_of, one_each

ENGINES = ["plain", "redis-cluster"]


@pytest.fixture
def cluster(create: Create) -> RoutedCluster:
    """Four hosts with the keys spread over them, and a list on each."""
    cluster = create("partition")
    for name in lists(cluster):
        cluster.rpush(name, "x")
    return cluster


def lists(cluster: RoutedCluster) -> list[str]:
    return [keys_of(cluster.router, host_id, 1, "list")[0] for host_id in cluster]


# ---- error replies -------------------------------------------------------------------------------


def test_errors_are_raised_together_after_all_has_run(cluster: RoutedCluster) -> None:
    wrong = lists(cluster)
    with pytest.raises(CommandError) as caught, cluster.map() as conn:  # noqa: PT012
        before = [conn.incr(key) for key in one_each(cluster)]
        conn.incr(wrong[2])
        conn.hget(wrong[0], "field")
        after = [conn.incr(key) for key in one_each(cluster)]
    assert before == [1] * 4
    assert after == [2] * 4
    assert [call for call, _ in caught.value.errors] == [
        Call("INCRBY", (wrong[2], 1), {}),
        Call("HGET", (wrong[0], "field"), {}),
    ]
    for _, error in caught.value.errors:
        assert isinstance(error, redis.ResponseError)
        assert "WRONGTYPE" in str(error)
    assert isinstance(caught.value, redis.RedisError)


def test_the_message_has_the_first_error_and_the_number_of_others(cluster: RoutedCluster) -> None:
    wrong = lists(cluster)
    with pytest.raises(CommandError) as caught, cluster.map() as conn:
        conn.incr(wrong[3])
    assert str(caught.value).startswith(f"INCRBY '{wrong[3]}': ResponseError: ")
    assert "on host 3 (" in str(caught.value)
    assert "more" not in str(caught.value)
    with pytest.raises(CommandError) as caught, cluster.map() as conn:  # noqa: PT012
        for name in reversed(wrong[1:]):
            conn.incr(name)
    assert str(caught.value).startswith(f"INCRBY '{wrong[3]}': ")
    assert str(caught.value).endswith(" (and 2 more; see .errors)")


def test_the_message_shows_no_values(cluster: RoutedCluster) -> None:
    with pytest.raises(CommandError) as caught, cluster.map() as conn:
        conn.hset(lists(cluster)[0], "field", "geheim")
    assert "geheim" not in str(caught.value)


def test_errors_come_in_the_order_of_the_calls(cluster: RoutedCluster) -> None:
    wrong = lists(cluster)
    calls: list[Call] = []
    with pytest.raises(CommandError) as caught, cluster.map() as conn:  # noqa: PT012
        # Runs of one command, single ones, and several hosts; each host answers for itself.
        for turn, name in enumerate([*wrong, *reversed(wrong)]):
            conn.set(f"fine:{turn}", "x")
            conn.get(f"fine:{turn}")
            conn.getset(name, "y")
            calls.append(Call("GETSET", (name, "y"), {}))
            conn.set(f"refused:{turn}", object())
            calls.append(Call("SET", (f"refused:{turn}",), {}))
        conn.get(None)
        calls.append(Call("GET", (None,), {}))
        conn.incr(wrong[0])
        calls.append(Call("INCRBY", (wrong[0], 1), {}))
    found = [call for call, _ in caught.value.errors]
    assert [(call.name, call.args[0]) for call in found] == [(call.name, call.args[0]) for call in calls]
    kinds = [type(error) for _, error in caught.value.errors]
    assert kinds == [redis.ResponseError, redis.DataError] * 8 + [TypeError, redis.ResponseError]


def test_errors_may_stay_where_the_values_would_be(cluster: RoutedCluster) -> None:
    wrong = lists(cluster)
    with cluster.map(fail_silently=True) as conn:
        fine, failed = conn.incr("n"), conn.incr(wrong[1])
        keys = [conn.get(key) for key in one_each(cluster)]
        assert conn.get_errors() == []
    assert fine == 1
    assert keys == [None] * 4
    assert isinstance(failed, redis.ResponseError)
    assert "WRONGTYPE" in str(failed)
    assert conn.get_errors() == [(Call("INCRBY", (wrong[1], 1), {}), get_value(failed))]


def test_a_map_without_errors_has_none(cluster: RoutedCluster) -> None:
    with cluster.map(fail_silently=True) as conn:
        conn.incr("n")
    assert conn.get_errors() == []
    with cluster.map() as conn:
        conn.incr("n")
    assert conn.get_errors() == []


def test_the_errors_of_a_second_join_are_its_own(cluster: RoutedCluster) -> None:
    wrong = lists(cluster)[0]
    conn = cluster.map()
    failed = conn.incr(wrong)
    with pytest.raises(CommandError):
        conn.join()
    assert len(conn.get_errors()) == 1
    assert isinstance(failed, redis.ResponseError)
    fine = conn.incr("n")
    conn.join()
    assert fine == 1
    assert conn.get_errors() == []


def test_the_results_of_commands_that_failed_are_their_errors(cluster: RoutedCluster) -> None:
    with pytest.raises(CommandError) as caught, cluster.map() as conn:
        failed = conn.incr(lists(cluster)[0])
    assert get_value(failed) is caught.value.errors[0][1]
    with pytest.raises(redis.ResponseError):
        raise get_value(failed)


@pytest.mark.plain_servers("a node of a Redis Cluster takes only its own keys")
def test_an_error_on_one_of_several_hosts_is_the_result(create: Create) -> None:
    cluster = create()
    cluster[2].rpush("k", "x")
    with cluster.map(fail_silently=True) as conn:
        counted, sizes = conn.incr("k"), conn.dbsize()
    assert isinstance(counted, redis.ResponseError)
    assert sizes == [1] * 4
    assert [cluster[host_id].get("k") for host_id in (0, 1, 3)] == [b"1"] * 3
    with pytest.raises(redis.ResponseError, match="host 2"):
        cluster.incr("k")
    assert [cluster[host_id].get("k") for host_id in (0, 1, 3)] == [b"2"] * 3


def test_command_errors_can_be_pickled(cluster: RoutedCluster, servers: TestSetup) -> None:
    wrong = lists(cluster)
    dead = keys_of(cluster.router, 1, 1)[0]
    servers.kill(1)
    with pytest.raises(CommandError) as caught, cluster.map() as conn:  # noqa: PT012
        conn.incr(wrong[0])
        conn.incrby(name=dead, amount=2)
    loaded = pickle.loads(pickle.dumps(caught.value))
    assert type(loaded) is CommandError
    assert str(loaded) == str(caught.value)
    assert [call for call, _ in loaded.errors] == [
        Call("INCRBY", (wrong[0], 1), {}),
        Call("INCRBY", (dead, 2), {}),
    ]
    assert [type(error) for _, error in loaded.errors] == [redis.ResponseError, HostConnectionError]
    assert vars(loaded.errors[1][1])["sent"] is False


# ---- hosts that fail -----------------------------------------------------------------------------


@pytest.mark.plain_servers("about a host that is tried again at once")
@pytest.mark.parametrize("connected", [True, False])
def test_a_host_that_is_down_fails_its_own_commands(
    create: Create, servers: TestSetup, connected: bool
) -> None:
    cluster = create("partition")
    if connected:
        cluster.ping()
    keys = one_each(cluster)
    servers.kill(2)
    with pytest.raises(CommandError, match=r"host 2 \(") as caught, cluster.map() as conn:  # noqa: PT012
        counted = [conn.incr(key) for key in keys]
        values = [conn.get(key) for key in keys]
        together = conn.mget(keys)
    assert [call.name for call, _ in caught.value.errors] == ["INCRBY", "GET", "MGET"]
    assert {type(error) for _, error in caught.value.errors} == {HostConnectionError}
    assert [counted[host_id] for host_id in (0, 1, 3)] == [1] * 3
    assert [values[host_id] for host_id in (0, 1, 3)] == [b"1"] * 3
    for failed in (counted[2], values[2], together):
        assert isinstance(failed, HostConnectionError)
    servers.start(2)
    with cluster.map() as conn:
        counted = [conn.incr(key) for key in keys]
    assert counted == [2, 2, 1, 2]


def test_errors_of_hosts_may_stay_silent_too(cluster: RoutedCluster, servers: TestSetup) -> None:
    keys = one_each(cluster)
    servers.kill(0)
    with cluster.map(fail_silently=True) as conn:
        counted = [conn.incr(key) for key in keys]
        answers = conn.ping()
    assert isinstance(counted[0], HostConnectionError)
    assert counted[1:] == [1] * 3
    assert isinstance(answers, HostConnectionError)
    assert [call.name for call, _ in conn.get_errors()] == ["INCRBY", "PING"]


def test_a_host_that_does_not_answer_fails_its_own_commands(create: Create, servers: TestSetup) -> None:
    cluster = create("partition", defaults={"timeout": 0.2})
    keys = one_each(cluster)
    cluster.ping()
    servers.pause(3)
    with pytest.raises(CommandError, match="host 3") as caught, cluster.map() as conn:
        counted = [conn.incr(key) for key in keys]
    assert counted[:3] == [1] * 3
    assert [type(error) for _, error in caught.value.errors] == [HostTimeoutError]


@pytest.mark.plain_servers("needs hosts of its own")
def test_a_host_that_lets_nobody_in_is_named(create: Create, servers: TestSetup) -> None:
    login: dict[str, Any] = {"username": "nobody", "password": "geheim"}
    cluster = create("partition", {0: servers.host(0), 1: {**servers.host(1), **login}})
    with pytest.raises(CommandError, match="host 1") as caught, cluster.map() as conn:
        counted = [conn.incr(key) for key in one_each(cluster)]
    assert counted[0] == 1
    assert isinstance(counted[1], redis.AuthenticationError)
    assert "geheim" not in str(caught.value)
