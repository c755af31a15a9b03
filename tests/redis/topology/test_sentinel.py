"""Hosts behind Sentinel: how they are named, and what happens while their masters change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from pindb.redis import (
    Cluster,
    ClusterConfigError,
    HostConnectionError,
    HostUnavailableError,
    create_cluster,
)
from pindb.redis.topology.hosts import Host
from pindb.testing.redis import SentinelSetup
from tests.processes import end_of, start_child
from tests.testing.servers import needs_tls
from tests.threads import again_and_again, in_threads

Make = Callable[..., Cluster]


@pytest.fixture(scope="module")
def shared() -> Iterator[SentinelSetup]:
    with SentinelSetup(replicas=2, password="of-data", sentinel_password="of-sentinels") as setup:
        yield setup


@pytest.fixture
def watched(shared: SentinelSetup) -> Iterator[SentinelSetup]:
    """A master with two replicas, whose roles may have changed, and three sentinels."""
    yield shared
    for server in (0, 1, 2, "sentinel-0", "sentinel-1", "sentinel-2"):
        shared.resume(server)
        if not shared.is_running(server):
            shared.start(server)
    shared.wait_until_ok()
    shared.flush()


def host_of(setup: SentinelSetup, **options: Any) -> dict[str, Any]:
    """The options of a host: the service of the setup."""
    login = {"password": "of-data", "sentinel_password": "of-sentinels"}
    return {"sentinel": setup.sentinels, "service_name": "shard0", **login, **options}


def url_of(setup: SentinelSetup, scheme: str = "redis+sentinel") -> str:
    """The URL of the service of the setup."""
    sentinels = ",".join(f"{host}:{port}" for host, port in setup.sentinels)
    return f"{scheme}://:of-data@{sentinels}/shard0/0?sentinel_password=of-sentinels"


@pytest.fixture
def cluster(watched: SentinelSetup, make_cluster: Make) -> Cluster:
    """A cluster of the one service."""
    return make_cluster({0: host_of(watched)}, pool_options={"socket_timeout": 1})


def value_on(setup: SentinelSetup, server: int, key: str) -> Any:
    with setup.client(server, decode_responses=True) as client:
        return client.get(key)


# ---- clients -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decode_responses": True},
        {"protocol": 3},
        {"protocol": 3, "decode_responses": True},
        {"max_connections": 2},
    ],
)
def test_every_client_uses_the_master(
    watched: SentinelSetup, make_cluster: Make, options: dict[str, Any]
) -> None:
    cluster = make_cluster({0: host_of(watched)}, pool_options=options)
    client = cluster.get_routing_client()
    assert client.set("a", 1)
    with cluster.map() as mapping:
        values = [mapping.get("a"), mapping.incr("b"), mapping.mget(["a", "b"])]
    assert [int(value) for value in (values[0].value, values[1].value, *values[2].value)] == [1, 1, 1, 1]
    with cluster.all() as fanout:
        role = fanout.execute_command("ROLE")
    assert role.value[0][0] in (b"master", "master")
    local: Any = cluster.get_local_client(0)
    assert local.register_script("return redis.call('INCR', KEYS[1])")(["b"]) == 2
    assert local.pipeline().incr("b").get("a").execute()[0] == 3
    with client.lock("lock", timeout=5):
        assert client.exists("lock")
    assert value_on(watched, watched.master(), "b") == "3"


def test_subscriptions_are_those_of_the_master(watched: SentinelSetup, cluster: Cluster) -> None:
    local: Any = cluster.get_local_client(0)
    with local.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("news")
        assert pubsub.get_message(timeout=5) is None
        with watched.client(watched.master()) as client:
            client.publish("news", "one")
        assert pubsub.get_message(timeout=5)["data"] == b"one"


def test_create_cluster_takes_urls_and_options(watched: SentinelSetup) -> None:
    sentinels = [f"{host}:{port}" for host, port in watched.sentinels]
    hosts: list[Any]
    for hosts in ([url_of(watched)], [host_of(watched)], [host_of(watched, sentinel=sentinels)]):
        cluster = create_cluster({"engine": "pindb.redis.backends.redis.Redis", "hosts": hosts})
        cluster.set("a", "b")
        with cluster.map() as conn:
            value = conn.get("a")
        assert value == b"b"
        cluster.disconnect()


def test_a_database_of_the_service(watched: SentinelSetup, make_cluster: Make) -> None:
    cluster = make_cluster({0: host_of(watched), 1: host_of(watched, db=3)})
    cluster.get_local_client(1).set("a", 1)
    assert cluster.get_local_client(0).get("a") is None
    assert cluster.get_routing_client().dbsize() == 1


def test_a_function_for_logging_in_is_called(watched: SentinelSetup, make_cluster: Make) -> None:
    called: list[Any] = []

    def log_in(connection: Any) -> None:
        called.append(connection)
        connection.on_connect()

    cluster = make_cluster({0: host_of(watched)}, pool_options={"redis_connect_func": log_in})
    assert cluster.get_routing_client().set("a", 1)
    assert len(called) == 1


def test_a_forked_process_finds_the_master_too(watched: SentinelSetup, cluster: Cluster) -> None:
    client = cluster.get_routing_client()
    client.set("a", 1)
    holding = threading.Event()
    released = threading.Event()

    def hold() -> None:
        finder = cluster.hosts[0].finder
        assert finder is not None
        with finder._lock.get():
            holding.set()
            released.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(10)

    def use() -> None:
        assert client.get("a") == b"1"
        with cluster.map() as mapping:
            mapping.incr("a")

    child = start_child(use)
    released.set()
    thread.join()
    assert end_of(child) == 0
    assert client.get("a") == b"2"


@needs_tls
def test_tls() -> None:
    with SentinelSetup(replicas=0, sentinels=1, tls=True) as setup:
        options = {key: value for key, value in setup.host(0).items() if key.startswith("ssl")}
        host = {"sentinel": setup.sentinels, "service_name": "shard0", **options}
        certificates = options["ssl_options"]
        ((server, port),) = setup.sentinels
        url = f"rediss+sentinel://{server}:{port}/shard0"
        for cluster in (Cluster({0: host}), Cluster({0: {"url": url, "ssl_options": certificates}})):
            assert cluster.get_routing_client().set("a", 1)
            with cluster.map() as mapping:
                mapping.get("a")
            cluster.disconnect_pools()


# ---- names ---------------------------------------------------------------------------------------


def test_a_host_is_called_by_its_service(watched: SentinelSetup, cluster: Cluster) -> None:
    host = cluster.hosts[0]
    assert (host.address, host.identifier) == ("shard0/0", "shard0/0")
    assert str(host) == "host 0 (shard0/0)"
    cluster.get_routing_client().ping()
    port = watched.host(watched.master())["port"]
    assert str(host) == f"host 0 (shard0/0 at 127.0.0.1:{port})"
    with pytest.raises(redis.ResponseError, match=rf"INCR 'a' on host 0 \(shard0/0 at 127\.0\.0\.1:{port}\)"):
        cluster.get_routing_client().execute_command("INCR", "a", "b")


def test_placements_do_not_depend_on_the_sentinels() -> None:
    def make(sentinels: list[str]) -> Any:
        hosts = {i: {"sentinel": sentinels, "service_name": f"shard{i}"} for i in range(3)}
        return create_cluster({"hosts": hosts, "router": "consistent"}).router

    keys = [f"key:{i}" for i in range(100)]
    places = make(["one"]).get_hosts_for_keys(keys)
    assert make(["two", "three:1"]).get_hosts_for_keys(keys) == places


def test_services_of_other_sentinels_are_other_databases() -> None:
    cluster = Cluster({i: {"sentinel": [f"s{i}"], "service_name": "main"} for i in range(2)})
    assert cluster.one_for_each_database() == [0, 1]
    same = Cluster({i: {"sentinel": ["s"], "service_name": "main"} for i in range(2)})
    assert same.one_for_each_database() == [0]


def test_sentinels_may_be_a_default() -> None:
    defaults = {"sentinel": ["a", "b:1"], "sentinel_password": "p"}
    hosts: dict[int, Any] = {0: {"service_name": "one"}, 1: {"host": "plain"}, 2: {"url": "redis://x"}}
    cluster = Cluster(hosts, host_defaults=defaults)
    assert [host.sentinel_password for host in cluster.hosts.values()] == ["p", None, None]
    assert [host.address for host in cluster.hosts.values()] == ["one/0", "plain:6379/0", "x:6379/0"]
    assert cluster.hosts[0].sentinel == (("a", 26379), ("b", 1))
    over_a_host: dict[int, Any] = {0: {"service_name": "s", "sentinel": ["a"]}}
    assert Cluster(over_a_host, {"host": "h"}).hosts[0].address == "s/0"


names = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1)
servers = st.tuples(
    st.one_of(st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True), st.ip_addresses(v=6).map(str)),
    st.one_of(st.none(), st.integers(1, 65535)),
)


@given(
    sentinels=st.lists(servers, min_size=1, max_size=4, unique_by=lambda server: server[0]),
    service=names,
    db=st.one_of(st.none(), st.integers(0, 2**31 - 1)),
    username=st.one_of(st.none(), names),
    password=st.one_of(st.none(), names),
    sentinel_password=st.one_of(st.none(), names),
    tls=st.booleans(),
)
def test_urls(
    sentinels: list[tuple[str, int | None]],
    service: str,
    db: int | None,
    username: str | None,
    password: str | None,
    sentinel_password: str | None,
    tls: bool,
) -> None:
    login = f"{quote(username or '', '')}:{quote(password, '')}@" if password else ""
    written = ",".join(
        (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
        for host, port in sentinels
    )
    query = f"?sentinel_password={quote(sentinel_password, '')}" if sentinel_password else ""
    path = quote(service, "") + ("" if db is None else f"/{db}")
    url = f"redis{'s' if tls else ''}+sentinel://{login}{written}/{path}{query}"
    host = Host.from_config(0, {"url": url})
    assert host.sentinel == tuple((name, port or 26379) for name, port in sentinels)
    assert (host.service_name, host.db, host.ssl) == (service, db or 0, tls)
    assert host.password == password
    assert (host.username or None) == (username if password else None)
    assert host.sentinel_password == sentinel_password


def test_a_url_may_have_other_options() -> None:
    url = "redis+sentinel://a/s/2?sentinel_username=u&sentinel_password=p&socket_timeout=2.5&password=q"
    host = Host.from_config(0, {"url": url})
    assert (host.sentinel_username, host.sentinel_password, host.password) == ("u", "p", "q")
    assert host.options == {"socket_timeout": 2.5}


@pytest.mark.parametrize(
    "url",
    [
        *(
            "redis+sentinel://",
            "redis+sentinel://geheim",
            "redis+sentinel://a,geheim/",
            "redis+sentinel:///s",
        ),
        *("redis+sentinel://a/s/geheim", "redis+sentinel://a/s/1/geheim", "redis+sentinel://a:geheim/s"),
        *("redis+sentinel://a:0/s", "redis+sentinel://a,,b/s", "redis+sentinel://a/s/0,"),
        # Passwords with characters that have a meaning in URLs.
        *("redis+sentinel://me:p/geheim@a/s", "redis+sentinel://me:p#geheim@a/s"),
        *("redis+sentinel://me:p?geheim@a/s", "redis+sentinel://me:12/geheim@a,b/s"),
    ],
)
def test_a_wrong_url_is_not_shown(url: str) -> None:
    with pytest.raises(ClusterConfigError, match=r"Host 3 has an invalid URL .*redis\+sentinel://") as caught:
        Cluster({3: {"url": url}})
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sentinel": ["a"]}, "Host 0 has the option sentinel, but no service_name"),
        ({"service_name": "s"}, "Host 0 has the option service_name, but no sentinel"),
        ({"sentinel_password": "s"}, "Host 0 has the option sentinel_password, but no sentinel"),
        ({"sentinel": [], "service_name": "s"}, "Host 0 has an invalid sentinel: list"),
        ({"sentinel": "a,b", "service_name": "s"}, "Host 0 has an invalid sentinel: str"),
        ({"sentinel": [("a", 0)], "service_name": "s"}, "invalid item in sentinel"),
        ({"sentinel": [("a", True)], "service_name": "s"}, "invalid item in sentinel"),
        ({"sentinel": ["a:b"], "service_name": "s"}, "invalid item in sentinel"),
        ({"sentinel": ["unix:///a"], "service_name": "s"}, "invalid item in sentinel"),
        ({"sentinel": ["redis://me:geheim@a"], "service_name": "s"}, "invalid item in sentinel"),
        ({"sentinel": ["a"], "service_name": 5}, "Host 0 has the service_name 5. Write a string"),
        ({"sentinel": ["a"], "service_name": "s", "sentinel_password": 5}, "invalid sentinel_password"),
        ({"sentinel": ["a"], "service_name": "s", "port": 6379}, "Host 0 has sentinel and an address"),
        ({"sentinel": ["a"], "service_name": "s", "url": "redis://a"}, "Host 0 has a url and sentinel"),
        ({"service_name": "s", "url": "redis+sentinel://a/s"}, "Host 0 has a url and sentinel"),
        ({"url": "redis+sentinel://a/s", "host": "a"}, "Host 0 has a url and an address"),
    ],
)
def test_wrong_options_are_named(options: Any, message: str) -> None:
    with pytest.raises(ClusterConfigError, match=message) as caught:
        Cluster({0: options})
    assert "geheim" not in str(caught.value)


def test_a_class_of_connections_is_refused() -> None:
    cluster = Cluster(
        {0: {"sentinel": ["a"], "service_name": "s"}}, pool_options={"connection_class": redis.Connection}
    )
    with pytest.raises(ClusterConfigError, match="have a connection_class, but the host is behind Sentinel"):
        cluster.get_pool_for_host(0)


def test_no_repr_shows_a_password() -> None:
    host = {"sentinel": ["a"], "service_name": "s", "password": "geheim", "sentinel_password": "geheim"}
    hosts: dict[int, Any] = {0: host, 1: {"url": "redis+sentinel://:geheim@a/s?sentinel_password=geheim"}}
    cluster = Cluster(hosts)
    for host_id in (0, 1):
        pool = cluster.get_pool_for_host(host_id)
        shown = [cluster.hosts[host_id], cluster.hosts[host_id].finder, cluster]
        assert "geheim" not in "".join([*map(repr, shown), *map(str, shown)])
        assert pool.connection_kwargs["password"] == "geheim"


# ---- failover ------------------------------------------------------------------------------------


@contextmanager
def loaded(cluster: Cluster) -> Iterator[list[Exception]]:
    """A block while which one thread sends single commands and one sends maps; the errors that they got."""
    errors: list[Exception] = []
    is_over = threading.Event()

    def single() -> None:
        cluster.get_routing_client().incr("single")

    def mapped() -> None:
        with cluster.map() as mapping:
            for i in range(5):
                mapping.set(f"key:{i}", i)
                mapping.get(f"key:{i}")
            mapping.incr("mapped")

    def work(do: Callable[[], object]) -> None:
        while not is_over.is_set():
            try:
                do()
            except Exception as error:
                errors.append(error)
            time.sleep(0.002)

    threads = [threading.Thread(target=work, args=(do,)) for do in (single, mapped)]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def test_a_planned_failover_makes_no_errors(watched: SentinelSetup, cluster: Cluster) -> None:
    with loaded(cluster) as errors:
        time.sleep(0.1)
        after = watched.fail_over()
        time.sleep(0.2)
    assert errors == []
    assert cluster.get_routing_client().set("a", "after")
    assert value_on(watched, after, "a") == "after"


@pytest.mark.parametrize("retry_timeout", [None, 30])
def test_a_killed_master_is_replaced(
    watched: SentinelSetup, make_cluster: Make, retry_timeout: float | None
) -> None:
    cluster = make_cluster({0: host_of(watched)}, retry_timeout=retry_timeout)
    before = watched.master()
    with loaded(cluster) as errors:
        time.sleep(0.1)
        watched.kill(before)
        after = watched.wait_for_new_master(before)
        time.sleep(1)
        number = len(errors)
        time.sleep(0.2)
    assert errors[number:] == []
    assert all(isinstance(error, HostConnectionError) for error in errors)
    client = cluster.get_routing_client()
    client.set("a", "after")
    assert value_on(watched, after, "a") == "after"


def test_a_master_that_comes_back_gets_no_writes(watched: SentinelSetup, cluster: Cluster) -> None:
    client = cluster.get_routing_client()
    in_threads(4, lambda number: client.set(f"key:{number}", "before"))
    before = watched.master()
    watched.pause(before)
    after = watched.wait_for_new_master(before)
    watched.resume(before)
    # It believes for a while that it is the master.
    in_threads(4, lambda number: client.set(f"key:{number}", "after"))
    with cluster.map() as mapping:
        for number in range(4, 8):
            mapping.set(f"key:{number}", "after")
    assert [value_on(watched, after, f"key:{number}") for number in range(8)] == ["after"] * 8
    watched.wait_until_ok()
    assert [client.get(f"key:{number}") for number in range(8)] == [b"after"] * 8


@contextmanager
def demoted(setup: SentinelSetup, server: int) -> Iterator[Callable[[], None]]:
    """A block while which a master is a replica of nobody, and no sentinel knows. Call what it gives: it is
    the master again after a tenth of a second."""
    threads = []
    login = {"password": "of-data"}
    with setup.client(server, **login) as client:
        client.replicaof("127.0.0.1", 1)

        def promote() -> None:
            time.sleep(0.1)
            client.replicaof("NO", "ONE")

        def begin() -> None:
            threads.append(threading.Thread(target=promote))
            threads[0].start()

        try:
            yield begin
        finally:
            for thread in threads:
                thread.join()
            client.replicaof("NO", "ONE")


def test_commands_that_a_replica_refuses_wait_for_the_master(
    watched: SentinelSetup, cluster: Cluster
) -> None:
    client = cluster.get_routing_client()
    client.set("n", 1)
    with demoted(watched, watched.master()) as promote:
        promote()
        assert client.incr("n") == 2
    with demoted(watched, watched.master()) as promote:
        promote()
        assert cluster.get_local_client(0).eval("return redis.call('INCR', KEYS[1])", 1, "n") == 3
    with demoted(watched, watched.master()) as promote:
        promote()
        with cluster.all() as fanout:
            replies = fanout.incr("n")
        assert replies.value == {0: 4}


def test_the_order_of_a_map_holds(watched: SentinelSetup, cluster: Cluster) -> None:
    cluster.get_local_client(0).mset({"a": "old", "b": "old"})
    with demoted(watched, watched.master()) as promote:
        promote()
        with cluster.map() as mapping:
            promises = [
                mapping.get("a"),
                mapping.set("a", "new"),
                mapping.get("a"),
                mapping.append("a", "er"),
                mapping.get("a"),
                mapping.mget(["a", "b"]),
            ]
    values = [promise.value for promise in promises]
    assert values == [b"old", True, b"new", 5, b"newer", [b"newer", b"old"]]


@pytest.mark.parametrize("retry_timeout", [None, 30])
def test_a_command_does_not_wait_for_long(
    watched: SentinelSetup, make_cluster: Make, retry_timeout: float | None
) -> None:
    cluster = make_cluster({0: host_of(watched)}, retry_timeout=retry_timeout)
    client = cluster.get_routing_client()
    client.set("a", 1)
    for sentinel in ("sentinel-0", "sentinel-1"):
        watched.pause(sentinel)
    with demoted(watched, watched.master()):
        begun = time.monotonic()
        with pytest.raises(
            HostUnavailableError, match=r"host 0 \(shard0/0 at .*\): READONLY .*has the role slave"
        ) as caught:
            client.set("a", 2)
        assert 0.9 < time.monotonic() - begun < 2
        assert caught.value.code == "READONLY"
        begun = time.monotonic()
        with suppress(redis.RedisError), cluster.map(timeout=0.3) as mapping:
            mapping.set("a", 3)
        assert time.monotonic() - begun < 0.6


def test_a_pipeline_of_redis_py_is_not_sent_twice(watched: SentinelSetup, cluster: Cluster) -> None:
    local: Any = cluster.get_local_client(0)
    local.set("a", 1)
    with demoted(watched, watched.master()) as promote:
        promote()
        with pytest.raises(redis.ConnectionError, match=r"READONLY .* is no master of the service 'shard0'"):
            local.pipeline(transaction=False).incr("a").execute()
    assert local.incr("a") == 2


# ---- sentinels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["kill", "pause"])
def test_sentinels_that_do_not_answer_are_passed_over(
    watched: SentinelSetup, make_cluster: Make, change: str
) -> None:
    getattr(watched, change)("sentinel-1")
    getattr(watched, change)("sentinel-2")
    for _ in range(3):
        cluster = make_cluster({0: host_of(watched)})
        begun = time.monotonic()
        assert cluster.get_routing_client().set("a", 1)
        assert time.monotonic() - begun < 1.5


def test_without_sentinels_only_new_connections_fail(
    watched: SentinelSetup, cluster: Cluster, make_cluster: Make
) -> None:
    client = cluster.get_routing_client()
    client.set("a", 1)
    for sentinel in ("sentinel-0", "sentinel-1", "sentinel-2"):
        watched.kill(sentinel)
    for _ in range(5):
        time.sleep(0.2)
        assert client.incr("a")
        with cluster.map() as mapping:
            mapping.get("a")
    new = make_cluster({0: host_of(watched)}, retry_timeout=30).get_routing_client()
    with pytest.raises(
        HostConnectionError, match=r"No sentinel has named the master of the service 'shard0' \(127\.0\.0\.1:"
    ) as caught:
        new.get("a")
    assert not caught.value.sent
    with pytest.raises(HostConnectionError, match=r"No sentinel has named its master; it is tried again in"):
        new.get("a")
    watched.start("sentinel-0")
    assert make_cluster({0: host_of(watched)}).get_routing_client().get("a") == b"6"


def test_hanging_sentinels_cost_little(watched: SentinelSetup, cluster: Cluster, make_cluster: Make) -> None:
    client = cluster.get_routing_client()
    client.set("a", 1)
    for sentinel in ("sentinel-0", "sentinel-1", "sentinel-2"):
        watched.pause(sentinel)
    longest = 0.0
    begun = time.monotonic()
    while time.monotonic() - begun < 1.2:
        at = time.monotonic()
        client.incr("a")
        longest = max(longest, time.monotonic() - at)
    assert longest < 0.4
    begun = time.monotonic()
    new = make_cluster({0: host_of(watched)})
    with pytest.raises(HostConnectionError, match="No sentinel has named"):
        new.get_routing_client().get("a")
    assert time.monotonic() - begun < 3
    begun = time.monotonic()
    with suppress(redis.RedisError), new.map(timeout=0.3) as mapping:
        mapping.get("a")
    assert time.monotonic() - begun < 0.6


def test_new_connections_that_wait_for_sentinels_hold_up_no_others(
    watched: SentinelSetup, cluster: Cluster
) -> None:
    client = cluster.get_routing_client()
    client.set("a", 1)
    for sentinel in ("sentinel-0", "sentinel-1", "sentinel-2"):
        watched.pause(sentinel)
    pool = cluster.get_pool_for_host(0)

    def connect_in_vain() -> None:
        with pytest.raises(redis.ConnectionError, match="No sentinel has named"):
            pool.make_connection().connect()

    with again_and_again(connect_in_vain):
        longest = 0.0
        begun = time.monotonic()
        while time.monotonic() - begun < 3:
            at = time.monotonic()
            client.incr("a")
            longest = max(longest, time.monotonic() - at)
            time.sleep(0.01)
    assert longest < 0.4


def test_a_sentinel_with_an_older_configuration_is_not_believed(make_cluster: Make) -> None:
    with SentinelSetup(replicas=1) as setup:
        host = {"sentinel": setup.sentinels, "service_name": "shard0"}
        after = setup.fail_over()
        cluster = make_cluster({0: host})
        client = cluster.get_routing_client()
        client.set("a", 1)
        for sentinel in ("sentinel-1", "sentinel-2"):
            setup.kill(sentinel)
        with setup.client("sentinel-0") as control:
            # Anew, with the first master, as a sentinel knows it that was cut off since then.
            control.execute_command("SENTINEL", "REMOVE", "shard0")
            port = setup.host(1 - after)["port"]
            control.execute_command("SENTINEL", "MONITOR", "shard0", "127.0.0.1", port, 2)
        cluster.disconnect_pools()
        with pytest.raises(HostConnectionError, match="was the master of an older configuration"):
            client.set("a", 2)
        # Who uses the connections that there are stays with the master.
        assert value_on(setup, after, "a") == "1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"service_name": "other"}, r"service 'other' \(127\.0\.0\.1:\d+: it does not know this service; "),
        ({"sentinel_password": "wrong"}, r"service 'shard0' \(127\.0\.0\.1:\d+: .*password"),
        ({"sentinel_password": None}, r"service 'shard0' \(127\.0\.0\.1:\d+: Authentication required"),
    ],
)
def test_what_is_wrong_is_named(
    watched: SentinelSetup, make_cluster: Make, options: dict[str, Any], message: str
) -> None:
    cluster = make_cluster({0: host_of(watched, **options)})
    with pytest.raises(HostConnectionError, match=message):
        cluster.get_routing_client().get("a")
    with pytest.raises(HostConnectionError, match=message), cluster.map() as mapping:
        mapping.get("a")


def test_a_wrong_password_of_the_data_is_named(watched: SentinelSetup, make_cluster: Make) -> None:
    cluster = make_cluster({0: host_of(watched, password="of-sentinels")})
    with pytest.raises(redis.AuthenticationError, match=r"host 0 \(shard0/0 at "):
        cluster.get_routing_client().get("a")
