"""Commands by routing key, and Lua scripts among them."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.commands.core import Script

from pindb.redis import Cluster, HostTimeoutError, Promise, UnroutableCommand
from pindb.testing.redis import TestSetup
from tests.redis.tools import Make, calls_on, forget_calls, keys_on, one_each

ENGINES = ["plain", "redis-cluster"]

ECHO = b"return {KEYS, ARGV}"
ADD = b"return redis.call('INCRBY', KEYS[1], ARGV[1])"


def script(text: bytes) -> Script:
    # A script that belongs to no client.
    nobody: Any = None
    return Script(nobody, text)


def values(results: dict[Any, list[Promise]]) -> dict[Any, list[Any]]:
    return {key: [promise.value for promise in promises] for key, promises in results.items()}


def calls(cluster: Cluster, name: str) -> list[int]:
    """How often each server has run a command of scripts since `reset`."""
    stats = [cluster.get_local_client(host_id).info("commandstats") for host_id in cluster.hosts]
    short, _, sub = name.partition("|")
    return [
        sum(
            stat["calls"]
            for key, stat in some.items()
            if key in (f"cmdstat_{short}", f"cmdstat_{short}|{sub}")
        )
        for some in stats
    ]


def reset(cluster: Cluster) -> None:
    with cluster.all() as client:
        client.config_resetstat()


@pytest.mark.plain_servers("has keys in several hash slots")
def test_commands_by_routing_key(cluster: Cluster) -> None:
    results = cluster.execute_commands(
        {
            "foo": [("SET", "foo", 1), ("INCR", "foo"), ("GET", "foo")],
            "bar": [("GET", "bar"), ("RPUSH", "list of bar", 1, 2), ("LRANGE", "list of bar", 0, -1)],
            "nothing": [],
        }
    )
    assert values(results) == {"foo": [True, 2, b"2"], "bar": [None, 2, [b"1", b"2"]], "nothing": []}
    # The host is the routing key's, whatever the command's own key is.
    assert cluster.get_local_client_for_key("bar").exists("list of bar")
    assert cluster.get_routing_client().get("foo") == b"2"


def test_no_commands(cluster: Cluster) -> None:
    assert cluster.execute_commands({}) == {}


@pytest.mark.plain_servers("has keys in several hash slots")
def test_scripts_with_keys_and_arguments(cluster: Cluster) -> None:
    echo = script(ECHO)
    results = cluster.execute_commands(
        {
            "foo": [(echo, ("key:1", "key:2"), range(3))],
            "bar": [(echo, ["key:3"], ["a"]), (echo, ["key:4"]), (echo,)],
        }
    )
    assert values(results) == {
        "foo": [[[b"key:1", b"key:2"], [b"0", b"1", b"2"]]],
        "bar": [[[b"key:3"], [b"a"]], [[b"key:4"], []], [[], []]],
    }


def test_scripts_between_other_commands(cluster: Cluster) -> None:
    echo, add = script(ECHO), script(ADD)
    results = cluster.execute_commands(
        {
            "foo": [
                ("SET", "foo", 5),
                (add, ["foo"], [10]),
                ("GET", "foo"),
                (echo, [], [1]),
                (add, ["foo"], [1]),
            ],
            "bar": [(add, ["bar"], [1]), ("INCR", "bar"), (add, ["bar"], [1])],
        }
    )
    assert values(results) == {"foo": [True, 15, b"15", [[], [b"1"]], 16], "bar": [1, 2, 3]}


def test_a_script_is_loaded_once_for_each_host_and_run_by_its_sha(cluster: Cluster) -> None:
    add = script(ADD)
    one, two = keys_on(cluster, 1, 2)
    (other,) = keys_on(cluster, 3, 1)
    reset(cluster)
    commands = {key: [(add, [key], [1])] * 3 for key in (one, two, other)}
    assert values(cluster.execute_commands(commands)) == {key: [1, 2, 3] for key in commands}
    assert calls(cluster, "evalsha") == [0, 6, 0, 3]
    assert calls(cluster, "eval") == [0, 0, 0, 0]
    # Asked once whether it is there, and loaded once.
    assert calls(cluster, "script|") == [0, 0, 0, 0] or calls(cluster, "script") == [0, 2, 0, 2]
    assert [cluster.get_local_client(host_id).script_exists(add.sha)[0] for host_id in range(4)] == [
        False,
        True,
        False,
        True,
    ]
    loaded = [
        cluster.get_local_client(host_id).info("memory")["number_of_cached_scripts"] for host_id in (1, 3)
    ]
    assert loaded == [1, 1]


@pytest.mark.plain_servers("has keys in several hash slots")
def test_a_script_that_is_there_is_not_loaded_again(cluster: Cluster) -> None:
    add = script(ADD)
    (key,) = keys_on(cluster, 1, 1)
    with cluster.get_local_client(1).monitor() as monitor:  # type: ignore[no-untyped-call]
        for _ in range(2):
            cluster.execute_commands({key: [(add, [key], [1])]})
        cluster.get_local_client(1).set("end", 1)
        heard = list(iter(lambda: monitor.next_command()["command"], "SET end 1"))
    assert sum(command.upper().startswith("SCRIPT LOAD") for command in heard) == 1
    assert sum(command.upper().startswith("SCRIPT EXISTS") for command in heard) == 2
    assert sum(command.upper().startswith("EVALSHA") for command in heard) == 2


def test_a_script_that_the_server_lost_is_loaded_again(cluster: Cluster) -> None:
    add = script(ADD)
    commands = {f"key:{i}": [(add, [f"key:{i}"], [1])] for i in range(8)}
    for i in range(3):
        assert values(cluster.execute_commands(commands)) == {key: [i + 1] for key in commands}
        with cluster.all() as client:
            client.script_flush()


def test_a_script_of_text_belongs_to_a_client(cluster: Cluster) -> None:
    client: Any = cluster.get_routing_client()
    add = Script(client, ADD.decode())
    assert values(cluster.execute_commands({"a": [(add, ["a"], [2])]})) == {"a": [2]}
    registered = cluster.get_local_client(0).register_script(ADD.decode())
    assert values(cluster.execute_commands({"a": [(registered, ["a"], [2])]})) == {"a": [4]}


def test_replies_of_scripts_in_text(make_cluster: Make) -> None:
    cluster = make_cluster(pool_options={"decode_responses": True})
    assert values(cluster.execute_commands({"a": [(script(ECHO), ["ä"], ["ö"])]})) == {"a": [[["ä"], ["ö"]]]}


def test_the_first_error_is_raised_when_all_is_done(cluster: Cluster) -> None:
    keys = one_each(cluster)
    commands: dict[str, list[Any]] = {key: [("INCR", key)] for key in keys}
    commands[keys[1]].insert(0, ("RPUSH", keys[1], 1))
    with pytest.raises(redis.ResponseError, match=f"INCR '{keys[1]}' on host 1"):
        cluster.execute_commands(commands)
    client = cluster.get_routing_client()
    assert [client.get(key) for key in (keys[0], keys[2], keys[3])] == [b"1"] * 3


def test_a_script_that_fails_or_is_none(cluster: Cluster) -> None:
    with pytest.raises(redis.ResponseError, match="on host"):
        cluster.execute_commands({"a": [(script(b"return redis.call('NOSUCH')"),)]})
    with pytest.raises(redis.ResponseError, match="SCRIPT LOAD"):
        cluster.execute_commands({"a": [(script(b"this is no Lua"),)]})


def test_the_options_of_a_fanout(servers: TestSetup, cluster: Cluster) -> None:
    cluster.get_routing_client().ping()
    host_id = cluster.get_router().get_host_for_key("a")
    servers.pause(host_id)
    for command in (("GET", "a"), (script(ADD), ["a"], [1])):
        with pytest.raises(HostTimeoutError, match=f"host {host_id}"):
            cluster.execute_commands({"a": [command]}, timeout=0.1)
    servers.resume(host_id)
    done = cluster.execute_commands({"a": [("INCR", "a")]}, 5, max_concurrency=1, auto_batch=False)
    assert values(done) == {"a": [1]}


# ---- scripts by their key ------------------------------------------------------------------------

SET = "return redis.call('SET', KEYS[1], ARGV[1])"


def test_a_script_goes_to_the_host_of_its_key(servers: TestSetup, cluster: Cluster) -> None:
    client = cluster.get_routing_client()
    sha = cluster.get_local_client(0).script_load(SET)
    for host_id in range(4):
        cluster.get_local_client(host_id).script_load(SET)
        one, two = keys_on(cluster, host_id, 2)
        forget_calls(servers)
        assert client.eval(SET, 1, one, "by eval") == b"OK"
        assert client.evalsha(sha, 1, two, "by evalsha") == b"OK"
        assert calls_on(servers, host_id, "eval", "evalsha") == [1, 1]
        assert (client.get(one), client.get(two)) == (b"by eval", b"by evalsha")


def test_scripts_in_a_map(cluster: Cluster) -> None:
    keys = [key for host_id in range(4) for key in keys_on(cluster, host_id, 3)]
    with cluster.map() as client:
        stored = [client.eval(SET, 1, key, key) for key in keys]
        values = [client.get(key) for key in keys]
        counted = [client.eval("return redis.call('INCRBY', KEYS[1], 2)", "1", f"n:{key}") for key in keys]
    assert [promise.value for promise in stored] == [b"OK"] * 12
    assert [promise.value for promise in values] == [key.encode() for key in keys]
    assert [promise.value for promise in counted] == [2] * 12


def test_functions_go_to_the_host_of_their_key(servers: TestSetup, cluster: Cluster) -> None:
    if servers.version < (7,):
        pytest.skip("functions came with Redis 7")
    function = "function(keys, args) redis.call('SET', keys[1], args[1]) end"
    library = f"#!lua name=pindb\nredis.register_function('put', {function})"
    with cluster.all() as fanout:
        fanout.function_load(library, replace=True)
    client = cluster.get_routing_client()
    for host_id in range(4):
        (key,) = keys_on(cluster, host_id, 1)
        client.fcall("put", 1, key, "x")
        assert client.get(key) == b"x"
    with cluster.all() as fanout:
        fanout.function_delete("pindb")


@pytest.mark.parametrize("words", [(0,), (0, "argument"), (2, "a", "b"), ("x", "a"), ()])
def test_scripts_of_no_single_key_are_refused(cluster: Cluster, words: tuple[Any, ...]) -> None:
    with pytest.raises(UnroutableCommand):
        cluster.get_routing_client().execute_command("EVAL", "return 1", *words)
    with pytest.raises(UnroutableCommand):
        cluster.get_routing_client().get_mapping_client().execute_command("EVAL", "return 1", *words)


def test_scripts_with_several_keys_of_one_tag(make_cluster: Make) -> None:
    cluster = make_cluster(router_options={"hash_tags": True})
    client = cluster.get_routing_client()
    script = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('SET', KEYS[2], ARGV[1])"
    assert client.eval(script, 2, "{tag}:1", "{tag}:2", "x") == b"OK"
    assert (client.get("{tag}:1"), client.get("{tag}:2")) == (b"x", b"x")
