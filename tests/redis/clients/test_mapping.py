"""Many commands at once: promises, merged commands, the order of effects, and what an exception leaves."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from pindb.redis import Cluster, CommandCancelled, Promise, UnroutableCommand
from pindb.testing.redis import TestSetup
from tests.redis.tools import Make, calls_on, forget_calls, keys_on

ENGINES = ["plain", "redis-cluster"]


def idle(cluster: Cluster, host_id: int) -> tuple[int, int]:
    """How many connections a host's pool has idle, and in use."""
    pool = cluster.get_pool_for_host(host_id)
    return len(pool._available_connections), len(pool._in_use_connections)


# ---- promises ------------------------------------------------------------------------------------


def test_promises_are_resolved_when_the_block_ends(cluster: Cluster) -> None:
    with cluster.map() as client:
        promises = [client.set(f"key:{i}", i) for i in range(50)]
        assert all(promise.is_pending for promise in promises)
    assert all(promise.value is True for promise in promises)
    with cluster.map() as client:
        values = {i: client.get(f"key:{i}") for i in range(50)}
    assert {i: promise.value for i, promise in values.items()} == {i: b"%d" % i for i in range(50)}


def test_commands_go_where_the_routing_client_looks(cluster: Cluster) -> None:
    with cluster.map() as client:
        for i in range(40):
            client.set(f"key:{i}", i)
    routing = cluster.get_routing_client()
    assert [routing.get(f"key:{i}") for i in range(40)] == [b"%d" % i for i in range(40)]


@pytest.mark.parametrize("auto_batch", [True, False])
def test_commands_of_all_kinds_in_one_block(cluster: Cluster, auto_batch: bool) -> None:
    with cluster.map(auto_batch=auto_batch) as client:
        promises = {
            "set": client.set("s", "1"),
            "incr": client.incr("s"),
            "get": client.get("s"),
            "missing": client.get("missing"),
            "hset": client.hset("h", mapping={"a": 1, "b": 2}),
            "hgetall": client.hgetall("h"),
            "zadd": client.zadd("z", {"a": 1, "b": 2.5}),
            "zrange": client.zrange("z", 0, -1, withscores=True),
            "sadd": client.sadd("m", "x", "y"),
            "smembers": client.smembers("m"),
            "rpush": client.rpush("l", 1, 2, 3),
            "lrange": client.lrange("l", 0, -1),
            "expire": client.expire("s", 100),
            "ttl": client.ttl("s"),
            "nx": client.set("s", "other", nx=True),
            "exists": client.exists("s"),
            "delete": client.delete("s"),
            "type": client.type("h"),
            "encoding": client.object("encoding", "h"),
            "usage": client.memory_usage("h"),
        }
    values = {name: promise.value for name, promise in promises.items()}
    assert values.pop("usage") > 0
    assert values.pop("encoding") in (b"ziplist", b"listpack")
    zrange = [tuple(pair) for pair in values.pop("zrange")]
    assert zrange == [(b"a", 1.0), (b"b", 2.5)]
    assert values == {
        "set": True,
        "incr": 2,
        "get": b"2",
        "missing": None,
        "hset": 2,
        "hgetall": {b"a": b"1", b"b": b"2"},
        "zadd": 2,
        "sadd": 2,
        "smembers": {b"x", b"y"},
        "rpush": 3,
        "lrange": [b"1", b"2", b"3"],
        "expire": True,
        "ttl": 100,
        "nx": None,
        "exists": 1,
        "delete": 1,
        "type": b"hash",
    }


def test_callbacks_are_called_at_the_end_of_the_block(cluster: Cluster) -> None:
    seen: list[Any] = []
    with cluster.map() as client:
        client.set("a", 1).done(seen.append)
        client.get("a").then(int).then(lambda value: value + 1).done(seen.append)
        client.get("b").done(seen.append)
        assert seen == []
    assert sorted(seen, key=repr) == [2, None, True]


def test_a_callback_may_call_more(cluster: Cluster) -> None:
    cluster.get_routing_client().set("first", "second")
    cluster.get_routing_client().set("second", "third")
    cluster.get_routing_client().set("third", "the end")
    with cluster.map() as client:
        end = client.get("first").then(client.get).then(client.get)
    assert end.value == b"the end"


def test_errors_of_commands_that_callbacks_call_are_raised_too(cluster: Cluster) -> None:
    cluster.get_routing_client().set("text", "x")
    with pytest.raises(redis.ResponseError, match="INCRBY 'text' on host"), cluster.map() as client:
        client.get("text").done(lambda value: client.incr("text"))


def test_a_callback_that_raises_keeps_nobody_from_their_replies(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    first = client.get("a")
    first.done(lambda value: 1 / 0)
    others: list[Promise] = []
    for i in range(20):
        others += (client.get(f"key:{i}"), client.incr(f"count:{i}"))
    with pytest.raises(ZeroDivisionError):
        client.join()
    assert first.is_resolved
    assert all(promise.is_resolved for promise in others)
    assert [idle(cluster, host_id) for host_id in range(4)] == [(1, 0)] * 4
    # It is over: nothing of it comes again.
    client.join()


def test_a_client_can_be_joined_again_and_again(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    client.join()
    for i in range(3):
        promise = client.incr("count")
        assert promise.is_pending
        client.join()
        assert promise.value == i + 1


def test_a_block_without_commands_connects_to_nothing(make_cluster: Make) -> None:
    with make_cluster({0: {"unix_socket_path": "/no/such/socket"}}).map():
        pass


def test_the_length_is_what_waits(cluster: Cluster) -> None:
    with cluster.map() as client:
        assert len(client) == 0
        assert client
        client.get("a")
        client.incr("b")
        client.mget(["a", "b"])
        assert len(client) == 3
    assert len(client) == 0


# ---- several keys --------------------------------------------------------------------------------


def test_mget_and_mset_over_all_hosts(cluster: Cluster) -> None:
    names = [f"key:{i}" for i in range(30)]
    with cluster.map() as client:
        done = client.mset({name: name.upper() for name in names})
        more = client.mset({"other": 1}, kwarg=2)
        values = client.mget(names)
        few = client.mget("kwarg", "missing", "other", "kwarg")
    assert done.value is True
    assert more.value is True
    assert values.value == [name.upper().encode() for name in names]
    assert few.value == [b"2", None, b"1", b"2"]


def test_mget_and_mset_of_nothing(cluster: Cluster) -> None:
    with cluster.map() as client:
        values, done = client.mget([]), client.mset({})
    assert values.value == []
    assert done.value is True


def test_mget_sees_what_was_set_before_it_and_not_after(cluster: Cluster) -> None:
    with cluster.map() as client:
        client.set("a", 1)
        before = client.mget(["a", "b"])
        client.set("b", 2)
        client.set("a", 3)
        after = client.mget(["a", "b"])
    assert before.value == [b"1", None]
    assert after.value == [b"3", b"2"]


@pytest.mark.parametrize("name", ["delete", "unlink", "exists", "touch"])
def test_other_commands_with_several_keys_are_refused(cluster: Cluster, name: str) -> None:
    with cluster.map() as client, pytest.raises(UnroutableCommand, match="split_multi_key=True"):
        getattr(client, name)("a", "b")


# ---- merging -------------------------------------------------------------------------------------


@pytest.mark.plain_servers("about merged commands")
@pytest.mark.parametrize(
    ("number", "auto_batch", "expected"),
    [
        pytest.param(50, True, [1, 1, 0, 0], id="merged"),
        pytest.param(50, False, [0, 0, 50, 50], id="not without auto_batch"),
        # No server stands still for long.
        pytest.param(2500, True, [3, 3, 0, 0], id="long runs are cut"),
    ],
)
def test_runs_of_get_become_mget_and_of_set_mset(
    servers: TestSetup, cluster: Cluster, number: int, auto_batch: bool, expected: list[int]
) -> None:
    keys = keys_on(cluster, 2, number)
    forget_calls(servers)
    with cluster.map(auto_batch=auto_batch) as client:
        for key in keys:
            client.set(key, key)
        promises = [client.get(key) for key in keys]
    assert [promise.value for promise in promises] == [key.encode() for key in keys]
    assert calls_on(servers, 2, "mset", "mget", "set", "get") == expected


@pytest.mark.plain_servers("about merged commands")
def test_a_routing_client_says_whether_its_maps_merge(servers: TestSetup, cluster: Cluster) -> None:
    keys = keys_on(cluster, 0, 3)
    forget_calls(servers)
    routing = cluster.get_routing_client(auto_batch=False)
    with routing.map() as client:
        for key in keys:
            client.get(key)
    assert calls_on(servers, 0, "mget", "get") == [0, 3]
    with routing.map(auto_batch=True) as client:
        for key in keys:
            client.get(key)
    assert calls_on(servers, 0, "mget", "get") == [1, 3]


def test_a_single_get_or_set_is_sent_as_it_is(servers: TestSetup, cluster: Cluster) -> None:
    (key,) = keys_on(cluster, 1, 1)
    forget_calls(servers)
    with cluster.map() as client:
        client.set(key, 1)
        client.get(key)
    assert calls_on(servers, 1, "mset", "mget", "set", "get") == [0, 0, 1, 1]


@pytest.mark.plain_servers("about merged commands")
def test_other_commands_on_the_host_end_a_run(servers: TestSetup, cluster: Cluster) -> None:
    a, b, c, d = keys_on(cluster, 1, 4)
    (elsewhere,) = keys_on(cluster, 2, 1)
    forget_calls(servers)
    with cluster.map() as client:
        client.get(a)
        client.get(b)
        # On another host, this ends nothing.
        client.incr(elsewhere)
        client.get(c)
        client.incr(a)
        client.get(a)
        client.get(d)
    assert calls_on(servers, 1, "mget", "get", "incrby") == [2, 0, 1]


def test_set_with_options_is_not_merged(servers: TestSetup, cluster: Cluster) -> None:
    a, b, c = keys_on(cluster, 1, 3)
    forget_calls(servers)
    with cluster.map() as client:
        client.set(a, 1, ex=100)
        client.set(b, 1, nx=True)
        client.set(c, 1, 100)
    assert calls_on(servers, 1, "mset", "set") == [0, 3]
    assert [cluster.get_local_client(1).ttl(key) for key in (a, b, c)] == [100, -1, 100]


@pytest.mark.plain_servers("about merged commands")
def test_monitor_shows_the_merged_commands(cluster: Cluster) -> None:
    a, b = keys_on(cluster, 0, 2)
    with cluster.get_local_client(0).monitor() as monitor:  # type: ignore[no-untyped-call]
        with cluster.map() as client:
            client.set(a, 1)
            client.set(b, 2)
            client.get(b)
            client.get(a)
            client.incr(a)
        heard = iter(lambda: monitor.next_command()["command"], f"INCRBY {a} 1")
        commands = [command for command in heard if command.startswith("M")]
    assert commands == [f"MSET {a} 1 {b} 2", f"MGET {b} {a}"]


def test_the_same_key_twice_in_a_run(cluster: Cluster) -> None:
    with cluster.map() as client:
        client.set("a", 1)
        client.set("a", 2)
        promises = [client.get("a"), client.get("a")]
    assert [promise.value for promise in promises] == [b"2", b"2"]


@pytest.mark.plain_servers("about merged commands")
def test_a_key_of_another_type_in_a_run(cluster: Cluster) -> None:
    keys = keys_on(cluster, 0, 3)
    cluster.get_routing_client().rpush(keys[1], "x")
    with cluster.map() as client:
        merged = [client.get(key) for key in keys]
    assert [promise.value for promise in merged] == [None, None, None]
    client = cluster.get_routing_client(auto_batch=False).get_mapping_client()
    single = [client.get(key) for key in keys]
    with pytest.raises(redis.ResponseError, match=f"GET '{keys[1]}' on host 0 .*WRONGTYPE"):
        client.join()
    assert [promise.is_resolved for promise in single] == [True, False, True]


# ---- the order of effects ------------------------------------------------------------------------

KEYS = st.integers(0, 5).map(lambda number: f"key:{number}")
VALUES = st.integers(0, 99)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("set"), KEYS, VALUES),
        st.tuples(st.just("set"), KEYS, VALUES),
        st.tuples(st.just("incr"), KEYS),
        st.tuples(st.just("append"), KEYS, VALUES),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("mget"), st.lists(KEYS, min_size=1, max_size=4)),
        st.tuples(st.just("mset"), st.dictionaries(KEYS, VALUES, min_size=1, max_size=4)),
    ),
    max_size=40,
)


def expected(operations: list[tuple[Any, ...]]) -> list[Any]:
    """What the commands answer one by one."""
    data: dict[str, bytes] = {}
    results: list[Any] = []
    for name, *args in operations:
        match name:
            case "get":
                results.append(data.get(args[0]))
            case "set":
                data[args[0]] = b"%d" % args[1]
                results.append(True)
            case "incr":
                data[args[0]] = b"%d" % (int(data.get(args[0], 0)) + 1)
                results.append(int(data[args[0]]))
            case "append":
                data[args[0]] = data.get(args[0], b"") + b"%d" % args[1]
                # Longer numbers than a server counts with would be errors.
                results.append(len(data[args[0]]))
            case "delete":
                results.append(int(data.pop(args[0], None) is not None))
            case "mget":
                results.append([data.get(key) for key in args[0]])
            case "mset":
                data |= {key: b"%d" % value for key, value in args[0].items()}
                results.append(True)
    return results


@pytest.mark.parametrize("auto_batch", [True, False])
def test_results_are_those_of_one_command_after_the_other(make_cluster: Make, auto_batch: bool) -> None:
    cluster = make_cluster()

    @settings(max_examples=60)
    @given(OPERATIONS, st.integers(1, 4))
    def check(operations: list[tuple[Any, ...]], max_concurrency: int) -> None:
        with cluster.all() as client:
            client.flushdb()
        appended = [operation for operation in operations if operation[0] == "append"]
        operations = [op for op in operations if op[0] != "append" or appended.index(op) < 8]
        with cluster.map(auto_batch=auto_batch, max_concurrency=max_concurrency) as client:
            promises = [getattr(client, name)(*args) for name, *args in operations]
        assert [promise.value for promise in promises] == expected(operations)

    check()


# ---- pipeline ------------------------------------------------------------------------------------


def test_a_pipeline_returns_results_in_order(cluster: Cluster) -> None:
    with cluster.get_routing_client().pipeline() as pipe:
        for i in range(10):
            pipe.set(f"key:{i}", i)
        pipe.incr("key:3")
        pipe.mget(["key:3", "key:4"])
        for i in range(10):
            pipe.get(f"key:{i}")
        results = pipe.execute()
        assert results == [True] * 10 + [4, [b"4", b"4"]] + [b"%d" % (i + (i == 3)) for i in range(10)]
        assert pipe.execute() == []
        pipe.get("key:0")
        assert pipe.execute() == [b"0"]


def test_a_pipeline_raises_the_first_error_or_returns_errors(cluster: Cluster) -> None:
    pipe = cluster.get_routing_client().pipeline()

    def call() -> None:
        pipe.set("text", "x")
        pipe.incr("text")
        pipe.get("text")

    call()
    with pytest.raises(redis.ResponseError, match=r"INCRBY 'text' on host .*not an integer"):
        pipe.execute()
    call()
    done, error, value = pipe.execute(raise_on_error=False)
    assert (done, value) == (True, b"x")
    assert isinstance(error, redis.ResponseError)
    assert pipe.execute() == []


def test_a_pipeline_is_no_transaction(cluster: Cluster) -> None:
    with pytest.raises(UnroutableCommand, match="get_local_client_for_key"):
        cluster.get_routing_client().pipeline(transaction=True)


def test_execute_returns_what_waited_also_where_callbacks_call_more(cluster: Cluster) -> None:
    pipe = cluster.get_routing_client().pipeline()
    more: list[Promise] = []
    pipe.incr("a").done(lambda value: more.append(pipe.incr("b")))
    assert pipe.execute() == [1]
    assert more[0].value == 1


# ---- hosts ---------------------------------------------------------------------------------------


@pytest.mark.plain_servers("about many databases")
@pytest.mark.parametrize("max_concurrency", [1, 3, 32, 64, None])
def test_more_hosts_than_are_talked_to_at_once(
    servers: TestSetup, make_cluster: Make, max_concurrency: int | None
) -> None:
    cluster = make_cluster(servers.hosts)
    assert len(cluster.hosts) == 32
    with cluster.map(max_concurrency=max_concurrency) as client:
        for i in range(300):
            client.set(f"key:{i}", i)
        promises = [client.get(f"key:{i}") for i in range(300)]
    assert [promise.value for promise in promises] == [b"%d" % i for i in range(300)]


# ---- errors --------------------------------------------------------------------------------------


def test_an_error_rejects_its_own_promise_and_is_raised(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    good = [client.set(f"key:{i}", i) for i in range(20)]
    client.rpush("list", 1)
    bad = client.incr("list")
    better = [client.get(f"key:{i}") for i in range(20)]
    with pytest.raises(redis.ResponseError, match=r"INCRBY 'list' on host \d \(.*\): WRONGTYPE") as caught:
        client.join()
    assert caught.value is bad.reason
    assert all(promise.value is True for promise in good)
    assert [promise.value for promise in better] == [b"%d" % i for i in range(20)]


def test_the_first_unhandled_error_in_the_order_of_calls_is_raised(cluster: Cluster) -> None:
    for host_id in range(4):
        (key,) = keys_on(cluster, host_id, 1)
        cluster.get_routing_client().rpush(key, 1)
    seen: list[Any] = []
    client = cluster.get_routing_client().get_mapping_client()
    keys = [keys_on(cluster, host_id, 1)[0] for host_id in (3, 1, 0, 2)]
    client.incr(keys[0]).done(on_failure=seen.append)
    second = client.incr(keys[1])
    client.incr(keys[2])
    client.incr(keys[3])
    with pytest.raises(redis.ResponseError) as caught:
        client.join()
    assert caught.value is second.reason
    assert len(seen) == 1


def test_handled_errors_are_not_raised(cluster: Cluster) -> None:
    cluster.get_routing_client().rpush("list", 1)
    seen: list[Any] = []
    with cluster.map() as client:
        client.incr("list").done(on_failure=seen.append)
        saved = client.incr("list").then(failure=lambda reason: "saved")
        chained = client.incr("list").then(lambda value: value).then(failure=lambda reason: "later")
        together = Promise.all([client.incr("list"), client.get("x")]).then(failure=lambda reason: "all")
    assert len(seen) == 1
    assert (saved.value, chained.value, together.value) == ("saved", "later", "all")


def test_an_exception_in_the_block_cancels_everything(cluster: Cluster) -> None:
    promises: list[Promise] = []
    with pytest.raises(KeyError), cluster.map() as client:  # noqa: PT012
        promises += (client.set("a", 1), client.incr("b"), client.mget(["a", "b"]), client.get("a"))
        raise KeyError
    assert all(isinstance(promise.reason, CommandCancelled) for promise in promises)
    assert cluster.get_routing_client().dbsize() == 0
    # No connection was taken, so that there is none to leak.
    assert all(in_use == 0 for _, in_use in (idle(cluster, host_id) for host_id in range(4)))


def test_cancel_drops_what_waits_and_the_client_goes_on(cluster: Cluster) -> None:
    with cluster.map() as client:
        cancelled = [client.get("a"), client.incr("b")]
        client.cancel()
        assert all(isinstance(promise.reason, CommandCancelled) for promise in cancelled)
        after = client.incr("b")
    assert after.value == 1


def test_connections_go_back_to_their_pools(cluster: Cluster) -> None:
    cluster.get_routing_client().rpush("list", 1)
    for _ in range(3):
        with cluster.map() as client:
            for i in range(40):
                client.get(f"key:{i}")
        with pytest.raises(redis.ResponseError), cluster.map() as client:  # noqa: PT012
            for i in range(40):
                client.get(f"key:{i}")
            client.incr("list")
        with pytest.raises(KeyError), cluster.map() as client:  # noqa: PT012
            client.get("a")
            raise KeyError
    assert [idle(cluster, host_id) for host_id in range(4)] == [(1, 0)] * 4
    for host_id in range(4):
        # The one that asks is the one that was used all the time.
        assert len(cluster.get_local_client(host_id).client_list()) == 1


@pytest.mark.plain_servers("looks at all keys on one host together")
@pytest.mark.parametrize("value", [None, object(), [], {"a": 1}, True, "\ud800", HTTPStatus.OK])
@pytest.mark.parametrize("auto_batch", [True, False])
def test_a_value_that_cannot_be_encoded_rejects_its_own_promise(
    cluster: Cluster, auto_batch: bool, value: object
) -> None:
    client = cluster.get_routing_client(auto_batch=auto_batch).get_mapping_client()
    keys = keys_on(cluster, 1, 5)
    promises = [client.set(key, value if i == 2 else i) for i, key in enumerate(keys)]
    appended = client.append(keys[0], value)
    with pytest.raises(redis.DataError, match=f"SET '{keys[2]}' on host 1"):
        client.join()
    assert [promise.is_resolved for promise in promises] == [True, True, False, True, True]
    assert isinstance(appended.reason, redis.DataError)
    assert cluster.get_local_client(1).mget(keys) == [b"0", b"1", None, b"3", b"4"]
    assert idle(cluster, 1)[1] == 0


@pytest.mark.parametrize("key", [None, object(), [], "\ud800"])
def test_a_key_that_cannot_be_routed_rejects_its_own_promise(cluster: Cluster, key: object) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    promises = [client.set("a", 1), client.set(key, 1), client.set("b", 2)]
    with pytest.raises((TypeError, UnicodeError)) as caught:
        client.join()
    assert promises[1].reason is caught.value
    assert [promise.is_resolved for promise in promises] == [True, False, True]


@pytest.mark.plain_servers("looks at all keys on one host together")
def test_what_is_not_in_the_encoding_rejects_its_own_promise(cluster: Cluster, make_cluster: Make) -> None:
    text = make_cluster(pool_options={"decode_responses": True})
    keys = keys_on(cluster, 1, 5)
    cluster.get_local_client(1).mset({key: b"\xff" if i == 2 else key for i, key in enumerate(keys)})
    for auto_batch in (True, False):
        client = text.get_routing_client(auto_batch=auto_batch).get_mapping_client()
        promises = [client.get(key) for key in keys]
        others = [client.strlen(key) for key in keys]
        with pytest.raises(redis.RedisError, match=f"GET '{keys[2]}' on host 1 .*decode"):
            client.join()
        values = [promise.value for promise in promises]
        assert values == [key if i != 2 else None for i, key in enumerate(keys)]
        assert [promise.value for promise in others][2] == 1
    assert idle(text, 1) == (1, 0)


# ---- large ---------------------------------------------------------------------------------------


def test_dump_and_restore_are_never_decoded(make_cluster: Make) -> None:
    cluster = make_cluster(pool_options={"decode_responses": True})
    with cluster.map() as client:
        client.set("a", "ä")
        before = client.get("a")
        dumped = client.dump("a")
        after = client.get("a")
    assert before.value == after.value == "ä"
    assert isinstance(dumped.value, bytes)
    with cluster.map() as client:
        client.restore("b", 0, dumped.value)
        restored = client.get("b")
    assert restored.value == "ä"


@pytest.mark.parametrize("auto_batch", [True, False])
def test_a_hundred_thousand_commands(cluster: Cluster, auto_batch: bool) -> None:
    with cluster.map(auto_batch=auto_batch) as client:
        done = [client.set(f"key:{i}", i) for i in range(50_000)]
        values = [client.get(f"key:{i}") for i in range(50_000)]
    assert all(promise.value is True for promise in done)
    assert [promise.value for promise in values] == [b"%d" % i for i in range(50_000)]


def test_values_larger_than_the_buffers_of_sockets(cluster: Cluster) -> None:
    large = b"x" * (64 << 20)
    with cluster.map() as client:
        client.set("a", large)
        # The server answers while it still has to be written to.
        before = client.get("a")
        client.set("b", large)
        after = client.get("b")
    assert before.value == large
    assert after.value == large


def test_many_large_replies_while_much_is_written(cluster: Cluster) -> None:
    value = "y" * 100_000
    with cluster.map(auto_batch=False) as client:
        promises = []
        for i in range(300):
            client.set(f"key:{i % 10}", value)
            promises.append(client.get(f"key:{i % 10}"))
    assert all(len(promise.value) == 100_000 for promise in promises)


# ---- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scan_iter", "hscan_iter", "sscan_iter", "zscan_iter", "lock", "pipeline"])
def test_what_needs_its_reply_at_once_is_refused(cluster: Cluster, name: str) -> None:
    with cluster.map() as client, pytest.raises(UnroutableCommand, match=name):
        getattr(client, name)("key")


def test_a_promise_is_not_taken_for_an_answer(cluster: Cluster) -> None:
    with cluster.map() as client:
        with pytest.raises(UnroutableCommand, match="exists"):
            assert "key" in client
        with pytest.raises(UnroutableCommand, match="get"):
            client["key"]
        client["other"] = 1
        del client["more"]
    assert cluster.get_routing_client().get("other") == b"1"
