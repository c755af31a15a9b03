"""A cache on servers that answer, and say that they cannot serve: each of the ways to take that."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from pindb.cache import ShardedRedisCache
from pindb.redis import (
    Cluster,
    ConsistentHashingRouter,
    HostConnectionError,
    HostUnavailableError,
    PoolExhausted,
    create_cluster,
)
from pindb.redis.core.outages import FULL, REPLIES, find_outage
from pindb.testing.processes import wait_for
from pindb.testing.redis import TestSetup
from tests.cache.tools import losses, of_server, outcome
from tests.processes import ROOT
from tests.redis.tools import Clock, Proxy, keys_on

DEAD = 1
MODES = ("error", "miss", "rehash")


@pytest.fixture(scope="module")
def cache_servers() -> Iterator[TestSetup]:
    """Three servers that load an RDB file slowly, if they have one."""
    configuration = {
        "rdbcompression": "no",
        "key-load-delay": "4000",
        "loading-process-events-interval-bytes": "1024",
    }
    try:
        setup = TestSetup(servers=3, databases_each=1, configuration=configuration)
    except RuntimeError:
        # Before version 7 it answers after each 2 MiB only.
        setup = TestSetup(servers=3, databases_each=1)
    with setup:
        yield setup


@pytest.fixture
def make(cache_urls: list[str]) -> Callable[..., Any]:
    def make_cache(mode: str, **options: Any) -> Any:
        options = {"ON_DOWN": mode, "RETRY_TIMEOUT": 5, **options}
        return ShardedRedisCache(cache_urls, {"OPTIONS": options})

    return make_cache


def key_of(cache: Any, server: int, prefix: str = "key") -> str:
    return of_server(cache, server, prefix=prefix)[0]


# ---- servers that cannot serve -------------------------------------------------------------------


def says(servers: TestSetup, code: str) -> bool:
    """Whether the server answers a read so."""
    with servers.client(DEAD) as client:
        try:
            client.get("any")
        except redis.RedisError as error:
            return find_outage(error) == code
    return False


@contextlib.contextmanager
def loading(servers: TestSetup) -> Iterator[None]:
    """The server has been started again, and reads its file, for longer than any test takes."""
    with servers.client(DEAD) as client:
        # It looks at its clients after each kibibyte.
        client.mset({f"filler:{number}": "x" * 1100 for number in range(5000)})
        client.save()
        file = Path(client.config_get("dir")["dir"]) / "dump.rdb"
    servers.kill(DEAD)

    def start() -> None:
        with contextlib.suppress(RuntimeError):
            servers.start(DEAD)

    starting = threading.Thread(target=start)
    starting.start()
    try:
        wait_for(
            lambda: servers.is_running(DEAD) and outcome(says, servers, "LOADING") is True, "LOADING", 10
        )
        yield
    finally:
        servers.kill(DEAD)
        starting.join()
        file.unlink()
        servers.start(DEAD)


@contextlib.contextmanager
def busy(servers: TestSetup) -> Iterator[None]:
    """The server runs a script that does not end."""

    def run() -> None:
        with servers.client(DEAD) as client, contextlib.suppress(redis.ResponseError):
            client.eval("while true do end", 0)

    with servers.client(DEAD) as client:
        client.config_set("lua-time-limit", 20)
        script = threading.Thread(target=run)
        script.start()
        try:
            wait_for(lambda: says(servers, "BUSY"), "BUSY", 10)
            yield
        finally:
            client.script_kill()
            script.join()
            client.config_set("lua-time-limit", 5000)


@contextlib.contextmanager
def lost_master(servers: TestSetup) -> Iterator[None]:
    """The server is a replica that takes writes, of a master that is not there."""
    with servers.client(DEAD) as client:
        client.config_set("replica-serve-stale-data", "no")
        client.config_set("replica-read-only", "no")
        client.replicaof("127.0.0.1", 1)
        try:
            wait_for(lambda: says(servers, "MASTERDOWN"), "MASTERDOWN", 10)
            yield
        finally:
            client.replicaof("NO", "ONE")
            client.config_set("replica-read-only", "yes")
            client.config_set("replica-serve-stale-data", "yes")


DOWN = {"LOADING": loading, "BUSY": busy, "MASTERDOWN": lost_master}


@pytest.fixture(params=DOWN)
def outage(request: pytest.FixtureRequest, cache_servers: TestSetup) -> Any:
    """Makes one of the servers answer with nothing but the code that is its name."""
    if request.param == "LOADING" and cache_servers.version < (7,):
        pytest.skip("needs a server that answers often while it loads")
    make = DOWN[request.param]
    return type("Outage", (), {"code": request.param, "begins": staticmethod(lambda: make(cache_servers))})


# ---- as down -------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Any, str, str], Any]] = {
    "get": lambda c, key, other: c.get(key, "default"),
    "get_many": lambda c, key, other: c.get_many([key, other]),
    "get_many of one": lambda c, key, other: c.get_many([key]),
    "has_key": lambda c, key, other: c.has_key(key),
    "smembers": lambda c, key, other: c.smembers(key),
    "set": lambda c, key, other: c.set(key, "new"),
    "set_many": lambda c, key, other: c.set_many({key: "new", other: "other"}),
    "set_many with a time": lambda c, key, other: c.set_many({key: "new", other: "other"}, 60),
    "set_many of one": lambda c, key, other: c.set_many({key: "new"}),
    "delete": lambda c, key, other: c.delete(key),
    "delete_many": lambda c, key, other: c.delete_many([key, "none"]),
    "sadd": lambda c, key, other: c.sadd(f"{key}:set", "member"),
    "keys": lambda c, key, other: c.keys("no such*"),
}


@pytest.mark.parametrize("connected", [True, False])
def test_errors_say_what_the_server_says(make: Callable[..., Any], outage: Any, connected: bool) -> None:
    cache = make("error", RETRY_TIMEOUT=0.001)
    key, other = key_of(cache, DEAD), key_of(cache, 0)
    if connected:
        cache.set_many({key: "old", other: "other"})
    with outage.begins():
        for name, call in CALLS.items():
            time.sleep(0.002)
            if name.startswith("set_many"):
                assert call(cache, key, other) == [key], name
                continue
            if name in ("sadd", "delete_many"):
                continue
            with pytest.raises(HostUnavailableError, match=rf"host 1 .*{outage.code}") as caught:
                call(cache, key, other)
            assert isinstance(caught.value, redis.ConnectionError)
            assert caught.value.code == outage.code
            assert caught.value.sent is False


def test_misses(make: Callable[..., Any], outage: Any, clock: Clock) -> None:
    cache = make("miss")
    key, other = key_of(cache, DEAD), key_of(cache, 0)
    cache.set_many({key: "old", other: "other"})
    with outage.begins():
        found = {}
        for name, call in CALLS.items():
            # Each call asks the server itself.
            clock.now += 10
            found[name] = call(cache, key, other)
        assert found == {
            "get": "default",
            "get_many": {other: "other"},
            "get_many of one": {},
            "has_key": False,
            "smembers": set(),
            "set": False,
            "set_many": [key],
            "set_many with a time": [key],
            "set_many of one": [key],
            "delete": False,
            "delete_many": 0,
            "sadd": found["sadd"],
            "keys": [],
        }
        reads, writes = losses(cache)
        assert (reads, writes >= 6) == (5, True)
    clock.now += 10
    assert cache.set(key, "after") is True
    assert cache.get(key) == "after"


def test_the_next_server_on_the_ring(make: Callable[..., Any], outage: Any, clock: Clock) -> None:
    cache = make("rehash")
    key, other = key_of(cache, DEAD), key_of(cache, 0)
    cache.set_many({key: "old", other: "other"})
    with outage.begins():
        for single in (True, False):
            clock.now += 10
            if single:
                assert cache.get(key) is None
                clock.now += 10
                assert cache.set(key, "single") is True
                clock.now += 10
                assert cache.get(key) == "single"
            else:
                assert cache.get_many([key, other]) == {key: "single", other: "other"}
                clock.now += 10
                assert cache.set_many({key: "many", other: "other"}) == []
                clock.now += 10
                assert cache.set_many({key: "many"}, 60) == []
                clock.now += 10
                assert cache.get_many([key]) == {key: "many"}
        clock.now += 10
        assert cache.delete_many([key, other]) == 2
        assert list(cache.client.cluster.get_router().down_connections) == [DEAD]
    clock.now += 10
    assert cache.set(key, "after") is True
    assert list(cache.client.cluster.get_router().down_connections) == []
    assert losses(cache) == (0, 0)


@pytest.mark.parametrize("mode", ["error", "miss"])
def test_the_server_is_asked_now_and_then(
    make: Callable[..., Any], cache_servers: TestSetup, clock: Clock, mode: str
) -> None:
    cache = make(mode)
    key, other = key_of(cache, DEAD), key_of(cache, 0)
    cache.set_many({key: "old", other: "other"})
    with busy(cache_servers):
        outcome(cache.get, key)
        # Until its time comes nobody asks it, on no connection, and in no way.
        for call in CALLS.values():
            outcome(call, cache, key, other)
        if mode == "error":
            with pytest.raises(HostConnectionError, match=r"It answered BUSY; it is tried again in 5\.0 s"):
                cache.get(key)
    assert outcome(cache.get, key) == (HostConnectionError if mode == "error" else None)
    clock.now += 5
    assert cache.set(key, "after") is True
    assert cache.get_many([key, other]) == {key: "after", other: "other"}


def test_a_cluster_in_bits() -> None:
    with TestSetup(servers=1, databases_each=1, configuration={"cluster-enabled": "yes"}) as servers:
        url = f"unix://{servers.host(0)['unix_socket_path']}"
        missing = ShardedRedisCache([url], {"OPTIONS": {"ON_DOWN": "miss"}})
        assert missing.get("a") is None
        assert missing.set_many({"a": 1, "b": 2}) == ["a", "b"]
        raising = ShardedRedisCache([url], {"OPTIONS": {"RETRY_TIMEOUT": 0.001}})
        with pytest.raises(HostUnavailableError, match=r"host 0 .*CLUSTERDOWN"):
            raising.get("a")
        missing.client.cluster.disconnect_pools()


# ---- reads that are answered, and writes that are errors -------------------------------------------


@contextlib.contextmanager
def configured(servers: TestSetup, **settings: Any) -> Iterator[None]:
    with servers.client(DEAD) as client:
        names = {name.replace("_", "-"): value for name, value in settings.items()}
        before = {name: client.config_get(name)[name] for name in names}
        for name, value in names.items():
            client.config_set(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                client.config_set(name, value)


@contextlib.contextmanager
def replica(servers: TestSetup) -> Iterator[None]:
    with servers.client(DEAD) as client:
        client.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


READABLE: dict[str, tuple[str, Any]] = {
    "READONLY": ("read only replica", replica),
    "NOREPLICAS": ("NOREPLICAS", lambda servers: configured(servers, min_replicas_to_write=1)),
    "OOM": ("maxmemory", lambda servers: configured(servers, maxmemory=1)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("code", READABLE)
def test_writes_that_are_refused_are_errors(
    make: Callable[..., Any], cache_servers: TestSetup, code: str, mode: str
) -> None:
    cache = make(mode)
    key, other = key_of(cache, DEAD), key_of(cache, 0)
    cache.set_many({key: "old", other: "other"})
    words, begins = READABLE[code]
    with begins(cache_servers):
        # To drop the write would leave the old value in sight.
        assert cache.get(key) == "old"
        assert cache.get_many([key, other]) == {key: "old", other: "other"}
        calls: list[Callable[[], Any]] = [lambda: cache.set(key, "new")]
        calls.append(lambda: cache.sadd(key_of(cache, DEAD, "set"), 1))
        if code == "READONLY":
            calls += [lambda: cache.delete(key), lambda: cache.delete_many([key, key_of(cache, DEAD, "x")])]
        for call in calls:
            with pytest.raises(redis.ResponseError, match=words):
                call()
        assert cache.set_many({key: "new", other: "other"}) == [key]
        assert cache.get(key) == "old"
        assert not getattr(cache.client.cluster.get_router(), "down_connections", {})
    assert cache.set(key, "after") is True


# ---- too many clients ----------------------------------------------------------------------------


@contextlib.contextmanager
def full(servers: TestSetup) -> Iterator[None]:
    with servers.client(DEAD) as client:
        client.config_set("maxclients", 1)
        try:
            yield
        finally:
            client.config_set("maxclients", 10_000)


@pytest.mark.parametrize("mode", MODES)
def test_keys_of_a_server_with_too_many_clients_are_nowhere_else(
    make: Callable[..., Any], cache_servers: TestSetup, mode: str
) -> None:
    cache, connected = make(mode), make(mode, SOCKET_TIMEOUT=4)
    keys = [key_of(cache, DEAD), key_of(cache, DEAD, "b")]
    connected.set(keys[0], "x")
    calls: list[Callable[[], Any]] = [lambda: cache.get(keys[0]), lambda: cache.set(keys[0], "y")]
    calls += [lambda: cache.get_many(keys), lambda: cache.delete_many(keys)]
    with full(cache_servers):
        for call in calls * 2:
            if mode == "miss":
                assert call() in (None, False, {}, 0)
            else:
                with pytest.raises(PoolExhausted, match=r"host 1 .*maxclients") as caught:
                    call()
                assert isinstance(caught.value, redis.ConnectionError)
        assert cache.set_many(dict.fromkeys(keys, "y")) == keys
        assert not getattr(cache.client.cluster.get_router(), "down_connections", {})
        # Those that are in stay in.
        assert connected.get(keys[0]) == "x"
        assert connected.get_many(keys) == {keys[0]: "x"}
    # It is not left alone.
    assert cache.get(keys[0]) == "x"
    assert losses(cache) == ((6, 8) if mode == "miss" else (0, 0))


# ---- settings ------------------------------------------------------------------------------------


@contextlib.contextmanager
def with_password(servers: TestSetup) -> Iterator[None]:
    with servers.client(DEAD) as client:
        client.config_set("requirepass", "sesame")
        try:
            yield
        finally:
            client.config_set("requirepass", "")


@contextlib.contextmanager
def without_rights(servers: TestSetup) -> Iterator[None]:
    with servers.client(DEAD) as client:
        client.execute_command("ACL", "SETUSER", "default", "-get", "-mget", "-set", "-mset", "-del")
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+@all")


SETTINGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "NOAUTH": (with_password, {}),
    "WRONGPASS": (with_password, {"PASSWORD": "wrong"}),
    "NOPERM": (without_rights, {}),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("code", SETTINGS)
def test_wrong_users_and_passwords_are_errors(
    make: Callable[..., Any], cache_servers: TestSetup, code: str, mode: str
) -> None:
    begins, options = SETTINGS[code]
    cache = make(mode, **options)
    key = key_of(cache, DEAD)
    kinds = redis.AuthenticationError, redis.exceptions.NoPermissionError
    keys = [key, key_of(cache, DEAD, "b")]
    calls: list[Callable[[], Any]] = [lambda: cache.get(key), lambda: cache.set(key, 1)]
    calls += [lambda: cache.get_many(keys), lambda: cache.delete_many(keys)]
    with begins(cache_servers):
        for _ in range(2):
            for call in calls:
                with pytest.raises(kinds, match="host 1"):
                    call()
        assert cache.set_many(dict.fromkeys(keys, 1)) == keys
        assert not getattr(cache.client.cluster.get_router(), "down_connections", {})
    fine = make(mode)
    assert fine.set(key, 1) is True


# ---- clusters ------------------------------------------------------------------------------------


def test_routers_that_mark_hosts_down_mark_these(cache_servers: TestSetup, outage: Any) -> None:
    sharded = Cluster(
        cache_servers.hosts, router_cls=ConsistentHashingRouter, max_connection_retries=3, router_options={}
    )
    routed = create_cluster({"router": "consistent", "hosts": cache_servers.hosts})
    (key,) = keys_on(sharded, DEAD, 1)
    client, router = sharded.get_routing_client(split_multi_key=True), sharded.get_router()
    with outage.begins():
        assert client.set(key, "single") is True
        assert list(router.down_connections) == [DEAD]
        router.mark_connection_up(DEAD)
        with sharded.map() as batch:
            promises = [batch.get(key), batch.incr(f"{{{key}}}:count"), batch.strlen(key)]
        assert promises[0].value == b"single"
        router.mark_connection_up(DEAD)
        keys = [*keys_on(sharded, DEAD, 3, "b"), *keys_on(sharded, 0, 3, "b")]
        assert client.mset(dict.fromkeys(keys, "x")) is True
        assert list(router.down_connections) == [DEAD]
        assert client.mget(keys) == [b"x"] * 6
        (mine,) = keys_on(routed._cluster, DEAD, 1)
        assert routed.set(mine, "y") is True
        assert routed.get(mine) == b"y"
    for cluster in (sharded, routed._cluster):
        cluster.disconnect_pools()


def test_without_another_host_the_error_is_redis_py_s_too(cache_servers: TestSetup, outage: Any) -> None:
    cluster = cache_servers.make_cluster()
    keys = [*keys_on(cluster, DEAD, 3), *keys_on(cluster, 0, 2)]
    with outage.begins():
        with cache_servers.client(DEAD) as direct, pytest.raises(redis.RedisError) as told:
            direct.get("any")
        # Not all versions of redis-py have a class for each of them.
        theirs = HostUnavailableError if told.type is redis.ResponseError else told.type
        with pytest.raises(theirs, match=rf"host 1 .*{outage.code}"):
            cluster.get_routing_client().get(keys[0])
        batch = cluster.get_routing_client(auto_batch=False).get_mapping_client()
        promises = [batch.set(key, "x") for key in keys]
        batch.execute(raise_on_error=False)
        assert [promise.is_resolved for promise in promises] == [False] * 3 + [True] * 2
        for promise in promises[:3]:
            assert isinstance(promise.reason, HostUnavailableError)
            assert isinstance(promise.reason, theirs)
        # Nothing is left alone where nobody asked for that.
    assert cluster.get_routing_client().set(keys[0], "x") is True
    cluster.disconnect_pools()


def test_commands_that_were_refused_among_others_go_elsewhere(cache_servers: TestSetup) -> None:
    """The server begins to load, or a script to run, or ends to, in the middle of a batch."""
    refusing = b"-LOADING Redis is loading the dataset in memory\r\n"

    def back(data: bytes) -> bytes:
        # The replies to a GET, an INCR, a GET and two SETs.
        return data.replace(b":1\r\n$3\r\nnew\r\n+OK\r\n", refusing * 3)

    with Proxy(cache_servers.host(DEAD)["unix_socket_path"], back=back) as proxy:
        hosts = {0: cache_servers.host(0), 1: {"host": "127.0.0.1", "port": proxy.port}}
        cluster = Cluster(hosts, router_cls=ConsistentHashingRouter, max_connection_retries=3)
        a, b, c, d = keys_on(cluster, 1, 4)
        with cache_servers.client(DEAD) as plain:
            plain.mset({a: "old", c: "new"})
        batch = cluster.get_routing_client(auto_batch=False).get_mapping_client()
        promises = [batch.get(a), batch.incr(b), batch.get(c), batch.set(d, 1), batch.set(a, 2)]
        batch.join()
        assert [promise.value for promise in promises] == [b"old", 1, None, True, True]
        with cache_servers.client(0) as plain:
            assert sorted(plain.keys()) == sorted([b.encode(), d.encode()])
        cluster.disconnect_pools()


# ---- the table -----------------------------------------------------------------------------------


def make_table() -> Iterator[str]:
    """Yield the lines of the table of `REPLIES`, in Markdown."""
    yield "| reply | the server | reads | writes |"
    yield "|---|---|---|---|"
    words = {
        "down": "as on a server that is down",
        "missed": 'the same with `"miss"`, else raise the error',
        "answered": "are answered",
        "error": "raise the error",
    }
    for reply in REPLIES:
        codes = ", ".join(f"`{code}`" for code in reply.codes)
        yield f"| {codes} | {reply.server} | {words[reply.reads]} | {words[reply.writes]} |"


def test_the_table_is_that_of_the_documentation() -> None:
    assert "\n".join(make_table()) in (ROOT / "docs" / "how-to" / "cache.md").read_text()


def test_every_reply_of_the_table_is_tested() -> None:
    tested = {*DOWN, "CLUSTERDOWN", FULL, *READABLE, *SETTINGS}
    assert {code for reply in REPLIES for code in reply.codes} - tested == {"MISCONF", "TRYAGAIN"}
