"""What a single command that fails says: which command it was, and on which host."""

from __future__ import annotations

import pytest
import redis

from pindb.redis import Cluster, ClusterConfigError, HostConnectionError, HostTimeoutError
from pindb.testing.redis import TestSetup
from tests.redis.tools import Proxy

ENGINES = ["plain", "redis-cluster"]


@pytest.mark.plain_servers("about the paths of sockets")
def test_an_error_reply_names_command_key_and_host(servers: TestSetup) -> None:
    client = servers.make_cluster().get_routing_client()
    client.lpush("list", "x")
    host = r"on host \d+ \(.*\.sock/\d\): WRONGTYPE"
    with pytest.raises(redis.ResponseError, match=f"INCRBY 'list' {host}"):
        client.incr("list")
    with pytest.raises(redis.ResponseError, match=f"GET 'list' {host}"):
        client.get("list")


def test_a_host_that_is_down_is_named(servers: TestSetup) -> None:
    cluster = servers.make_cluster()
    client = cluster.get_routing_client()
    host_id = cluster.get_router().get_host_for_key("key")
    servers.kill(host_id // servers.databases_each)
    for call in (client.get, client.ttl):
        with pytest.raises(HostConnectionError, match=rf"host {host_id} \(.*refused"):
            call("key")


def test_a_host_that_does_not_answer_is_named(servers: TestSetup) -> None:
    cluster = servers.make_cluster(pool_options={"socket_timeout": 0.1})
    client = cluster.get_routing_client()
    client.get("key")
    host_id = cluster.get_router().get_host_for_key("key")
    servers.pause(host_id // servers.databases_each)
    with pytest.raises(HostTimeoutError, match=rf"host {host_id} \("):
        client.get("key")


@pytest.mark.plain_servers("needs a proxy before one host")
@pytest.mark.parametrize("garbage", [b"?\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_host_that_talks_garbage_is_named(servers: TestSetup, garbage: bytes) -> None:
    def back(data: bytes) -> bytes:
        return garbage if data == b"$5\r\nvalue\r\n" else data

    with Proxy(servers.host(0)["unix_socket_path"], back=back) as proxy:
        cluster = Cluster({0: {"port": proxy.port, "host": "127.0.0.1"}})
        client = cluster.get_routing_client()
        client.set("key", "value")
        for call in (client.get, client.getdel):
            with pytest.raises(HostConnectionError, match=rf"^host 0 \(127.0.0.1:{proxy.port}/0\): Protocol"):
                call("key")
        assert client.get("key") is None


def test_redis_py_s_cache_in_the_client_is_refused(servers: TestSetup) -> None:
    cluster = servers.make_cluster(pool_options={"protocol": 3, "cache_config": object()})
    with pytest.raises(ClusterConfigError, match="cache_config is redis-py's cache"):
        cluster.get_local_client(0)


@pytest.mark.parametrize("wrong", [0, -1])
def test_no_hosts_at_once_are_too_few(servers: TestSetup, wrong: int) -> None:
    with pytest.raises(ClusterConfigError, match=f"max_concurrency is {wrong}"):
        servers.make_cluster().map(max_concurrency=wrong)


def test_an_argument_that_cannot_be_sent_is_redis_py_s_own_error(servers: TestSetup) -> None:
    client = servers.make_cluster().get_routing_client()
    with pytest.raises(redis.DataError):
        client.set("key", object())
    client.close()
    assert client.get("key") is None
