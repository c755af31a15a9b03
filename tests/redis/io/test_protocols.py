"""RESP2 and RESP3, encodings, TLS, users, sockets, and redis-py without hiredis."""

from __future__ import annotations

import inspect
import math
import ssl
from typing import Any

import pytest
import redis

from pindb.redis import Cluster
from pindb.testing.redis import TestSetup, find_server, supports_tls
from tests.processes import output_of, run_command
from tests.redis.tools import Make, Proxy


def tour(cluster: Cluster) -> None:
    """A bit of everything on a cluster with decoded replies."""
    client = cluster.get_routing_client(split_multi_key=True)
    names = [f"schlüssel:{i}" for i in range(100)]
    for auto_batch in (True, False):
        with cluster.map(auto_batch=auto_batch) as mapping:
            done = [mapping.set(name, name) for name in names]
            values = [mapping.get(name) for name in names]
            missing = mapping.get("missing")
            mapping.hset("h", mapping={"a": "ä", "b": 2})
            hashed = mapping.hgetall("h")
            mapping.zadd("z", {"x": 1.5, "y": math.inf})
            scores = mapping.zrange("z", 0, -1, withscores=True)
            members = mapping.smembers("nothing")
            dumped = mapping.dump(names[0])
            many = mapping.mget(names)
        assert all(promise.value is True for promise in done)
        assert [promise.value for promise in values] == names
        assert missing.value is None
        assert hashed.value == {"a": "ä", "b": "2"}
        assert [tuple(pair) for pair in scores.value] == [("x", 1.5), ("y", math.inf)]
        assert members.value == set()
        assert isinstance(dumped.value, bytes)
        assert many.value == names
    with cluster.map() as mapping:
        mapping.set("large", "ü" * 300_000)
        large = mapping.get("large")
    assert large.value == "ü" * 300_000
    assert [client.get(name) for name in names[:5]] == names[:5]
    assert client.mget(names) == names
    assert client.delete(*names, "large", "h", "z") == 103
    with cluster.all() as fanout:
        sizes = fanout.dbsize()
        config = fanout.config_get("databases")
    assert set(sizes.value.values()) == {0}
    assert all(set(some) == {"databases"} for some in config.value.values())
    failing = client.get_mapping_client()
    failing.set("text", "x")
    error = failing.incr("text")
    value = failing.get("text")
    try:
        failing.join()
    except redis.ResponseError as raised:
        assert raised is error.reason  # noqa: PT017
        assert "host" in str(raised)  # noqa: PT017
    else:
        raise AssertionError("nothing was raised")
    assert value.value == "x"
    client.delete("text")


@pytest.mark.parametrize("protocol", [None, 2, 3])
def test_protocols(make_cluster: Make, protocol: int | None) -> None:
    options = {} if protocol is None else {"protocol": protocol}
    cluster = make_cluster(pool_options={"decode_responses": True, **options})
    tour(cluster)
    if protocol is not None:
        assert cluster.get_local_client(0).client_info().get("resp", str(protocol)) == str(protocol)


def test_values_of_resp3(make_cluster: Make) -> None:
    cluster = make_cluster(pool_options={"protocol": 3})
    with cluster.map() as client:
        client.zadd("z", {"a": 1.5})
        score = client.zscore("z", "a")
        client.sadd("s", "a")
        members = client.smembers("s")
        client.hset("h", "a", 1)
        hashed = client.hgetall("h")
    assert (score.value, members.value, hashed.value) == (1.5, {b"a"}, {b"a": b"1"})


def test_what_the_server_pushes_is_no_reply(make_cluster: Make) -> None:
    """Messages of client tracking come between the replies."""
    cluster = make_cluster(pool_options={"protocol": 3})
    client = cluster.get_local_client_for_key("a")
    client.set("a", 1)
    # Whoever takes the connection next has it on.
    client.execute_command("CLIENT TRACKING", "ON", "BCAST")  # type: ignore[no-untyped-call]
    with cluster.map() as mapping:
        results = [mapping.incr("a") for _ in range(5)]
        value = mapping.get("a")
        dumped = mapping.dump("missing")
    assert [promise.value for promise in results] == [2, 3, 4, 5, 6]
    assert value.value == b"6"
    assert dumped.value is None


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "cp1251"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_encodings(make_cluster: Make, encoding: str, protocol: int) -> None:
    key, text = ("ключ", "текст") if encoding == "cp1251" else ("größe", "grün")
    cluster = make_cluster(
        pool_options={"encoding": encoding, "decode_responses": True, "protocol": protocol}
    )
    client = cluster.get_routing_client()
    for auto_batch in (True, False):
        with cluster.map(auto_batch=auto_batch) as mapping:
            mapping.set(key, text)
            values = [mapping.get(key), mapping.get(key)]
        assert [promise.value for promise in values] == [text] * 2
        assert client.get(key) == text
        assert client.strlen(key) == len(text.encode(encoding))
        client.set(key, text * 2)
        with cluster.map(auto_batch=auto_batch) as mapping:
            value = mapping.get(key)
        assert value.value == text * 2
    assert cluster.get_local_client_for_key(key).keys() == [key]


def test_what_the_encoding_lacks_rejects_its_own_promise(make_cluster: Make) -> None:
    cluster = make_cluster(pool_options={"encoding": "latin-1"})
    client = cluster.get_routing_client().get_mapping_client()
    promises = [client.set("a", "ä"), client.set("b", "€"), client.set("c", "ü")]
    with pytest.raises(redis.RedisError, match="SET 'b'"):
        client.join()
    assert [promise.is_resolved for promise in promises] == [True, False, True]


def test_errors_of_the_encoding_are_as_asked(make_cluster: Make) -> None:
    cluster = make_cluster(pool_options={"decode_responses": True, "encoding_errors": "replace"})
    cluster.get_routing_client().set("a", b"x\xff")
    with cluster.map() as client:
        values = [client.get("a"), client.get("a")]
    assert [promise.value for promise in values] == ["x\ufffd"] * 2


# ---- how servers are reached ---------------------------------------------------------------------

needs_tls = pytest.mark.skipif(not supports_tls(find_server()), reason="this redis-server has no TLS")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tcp": True},
        {"password": "geheim"},
        {"username": "me", "password": "geheim"},
        {"tcp": True, "username": "me", "password": "geheim"},
        pytest.param({"tls": True}, marks=needs_tls),
        pytest.param({"tls": True, "username": "me", "password": "geheim"}, marks=needs_tls),
    ],
    ids=lambda options: "-".join(options) or "unix",
)
@pytest.mark.parametrize("protocol", [2, 3])
def test_addresses_and_users(options: dict[str, Any], protocol: int) -> None:
    with TestSetup(servers=2, databases_each=2, **options) as setup:
        cluster = setup.make_cluster(pool_options={"decode_responses": True, "protocol": protocol})
        tour(cluster)
        if "username" in options:
            assert cluster.get_local_client(0).acl_whoami() == "me"
        cluster.disconnect_pools()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("certificates")
    files = {"certfile": str(folder / "crt"), "keyfile": str(folder / "key")}
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        done = run_command(*command, "-out", files["certfile"], "-keyout", files["keyfile"])
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate")
    assert done.returncode == 0, done.stderr
    return files


@pytest.mark.parametrize("protocol", [2, 3])
def test_tls(servers: TestSetup, make_cluster: Make, certificates: dict[str, str], protocol: int) -> None:
    """Also where the server itself has no TLS: what counts is this end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(**certificates)
    ca = certificates["certfile"]
    with (
        Proxy(servers.host(0)["unix_socket_path"], tls=context) as one,
        Proxy(servers.host(1)["unix_socket_path"], tls=context) as two,
    ):
        hosts: dict[int, dict[str, Any]] = {
            0: {"host": "127.0.0.1", "port": one.port, "ssl": True, "ssl_options": {"ca_certs": ca}},
            1: {"url": f"rediss://127.0.0.1:{two.port}/0?ssl_ca_certs={ca}"},
        }
        cluster = make_cluster(hosts, pool_options={"decode_responses": True, "protocol": protocol})
        tour(cluster)
        with cluster.map() as client:
            client.set("a", "x" * (4 << 20))
            values = [client.get("a") for _ in range(5)]
        assert {len(promise.value) for promise in values} == {4 << 20}
        untrusting = make_cluster({0: {"host": "127.0.0.1", "port": one.port, "ssl": True}})
        with pytest.raises(redis.ConnectionError, match=r"host 0 .*certificate"), untrusting.map() as client:
            client.get("a")


# ---- without hiredis -----------------------------------------------------------------------------


def test_everything_works_without_hiredis(servers: TestSetup) -> None:
    """In a process of its own: redis-py looks for hiredis when it is imported."""
    program = f"""
import sys
sys.modules["hiredis"] = None
import inspect, math, redis
from pindb.redis import Cluster
from pindb.redis.core import packing
assert packing.hiredis is None
{inspect.getsource(tour)}
for protocol in (2, 3):
    cluster = Cluster({servers.hosts!r}, pool_options={{"decode_responses": True, "protocol": protocol}})
    tour(cluster)
    cluster = Cluster({servers.hosts!r}, pool_options={{"protocol": protocol}})
    with cluster.map(auto_batch=False) as client:
        promises = [client.set(f"key:{{i}}", b"x" * i) for i in range(5000)]
        values = [client.get(f"key:{{i}}") for i in range(5000)]
        large = client.set("large", b"y" * (8 << 20)), client.get("large")
    assert all(promise.value is True for promise in promises)
    assert [promise.value for promise in values] == [b"x" * i for i in range(5000)]
    assert large[1].value == b"y" * (8 << 20)
    assert cluster.get_routing_client().flushdb()
    text = Cluster({servers.hosts!r}, pool_options={{"decode_responses": True, "protocol": protocol}})
    cluster.get_routing_client().set("bad", b"\\xff")
    for auto_batch in (True, False):
        client = text.get_routing_client(auto_batch=auto_batch).get_mapping_client()
        first, bad, last = client.set("good", "x"), client.get("bad"), client.get("good")
        try:
            client.join()
        except redis.RedisError as error:
            assert "decode" in str(error), error
        assert bad.is_rejected and last.value == "x", (bad, last)
    assert cluster.get_routing_client().flushdb()
print("done")
"""
    assert output_of("-c", program, timeout=60) == "done\n"
