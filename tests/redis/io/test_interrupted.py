"""Exceptions from outside (KeyboardInterrupt, a task's soft time limit), in the middle of a batch."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from pindb.redis import Cluster, CommandCancelled, Promise
from pindb.testing.redis import TestSetup
from tests.redis.tools import Make, everywhere, held, keys_on


class SoftLimit(Exception):
    """What a task's soft time limit raises."""


KINDS = [KeyboardInterrupt, SoftLimit]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_thread", [True, False])
def test_an_interruption_while_connecting(
    make_cluster: Make, servers: TestSetup, kind: type[BaseException], in_thread: bool
) -> None:
    armed = [True]

    def connect(connection: Any) -> None:
        connection.on_connect()
        if armed and (not in_thread or connection.path == servers.host(1)["unix_socket_path"]):
            # Half of the handshake is done, the rest is not.
            connection.send_command("SELECT", 1)
            armed.clear()
            raise kind

    hosts = {0: servers.host(0), 1: servers.host(1)} if in_thread else {0: servers.host(0)}
    cluster = make_cluster(hosts, pool_options={"redis_connect_func": connect})
    client, promises = everywhere(cluster)
    with pytest.raises(kind):
        client.join()
    assert not any(promise.is_pending for promise in promises)
    assert isinstance(promises[-1].reason, CommandCancelled)
    assert held(cluster) == [0] * len(hosts)
    # What is stored is in the database of the host, and is the reply of its own command.
    client, promises = everywhere(cluster)
    client.join()
    assert promises[-1].value == 1
    with servers.client(len(hosts) - 1) as direct:
        assert direct.dbsize() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption_of_a_single_command(
    make_cluster: Make, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    """It strikes when the command has been sent, and before its reply is read."""
    cluster = make_cluster()
    client = cluster.get_routing_client()
    one, two = keys_on(cluster, 1, 2)
    client.set(one, "one")
    client.set(two, "two")
    connection = cluster.get_pool_for_host(1)._available_connections[0]
    send = connection.send_command

    def send_and_be_struck(*args: Any, **kwargs: Any) -> None:
        send(*args, **kwargs)
        raise kind

    monkeypatch.setattr(connection, "send_command", send_and_be_struck)
    with pytest.raises(kind):
        client.get(one)
    monkeypatch.undo()
    assert client.get(two) == b"two"
    with cluster.map() as mapping:
        promise = mapping.get(one)
    assert promise.value == b"one"
    assert held(cluster) == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption_while_replies_come(cluster: Cluster, kind: type[BaseException]) -> None:
    client, promises = everywhere(cluster)

    def struck(value: Any) -> None:
        raise kind

    promises[1].done(struck)
    with pytest.raises(kind):
        client.join()
    assert not any(promise.is_pending for promise in promises)
    assert held(cluster) == [0, 0, 0, 0]
    client, promises = everywhere(cluster)
    client.join()
    assert [promise.value for promise in promises] == [2, 2, 2, 2]


def test_an_interruption_in_a_block_settles_all_promises(cluster: Cluster) -> None:
    promises = []
    with pytest.raises(KeyboardInterrupt), cluster.map() as client:  # noqa: PT012
        promises += [client.get("a"), client.incr("b"), client.get("c")]
        # A call that was struck before it could return its promise.
        client._add_key("lost")
        raise KeyboardInterrupt
    assert [type(promise.reason) for promise in promises] == [CommandCancelled] * 3


def test_a_call_that_was_struck_leaves_the_others(cluster: Cluster) -> None:
    with cluster.map() as client:
        promises = [client.set(f"key:{i}", i) for i in range(20)]
        client._add_key("lost")
        client._add_value("lost")
    assert [promise.value for promise in promises] == [True] * 20
    assert cluster.get_routing_client().get("lost") is None


def test_what_callbacks_called_does_not_come_again_after_an_interruption(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    later: list[Promise] = []

    def call_more(value: Any) -> None:
        later.append(client.incr("more"))
        raise SoftLimit

    client.get("a").done(call_more)
    with pytest.raises(SoftLimit):
        client.join()
    assert isinstance(later[0].reason, CommandCancelled)
    client.join()
    assert cluster.get_routing_client().get("more") is None


def test_errors_of_the_server_close_no_connection(cluster: Cluster) -> None:
    client = cluster.get_routing_client()
    (key,) = keys_on(cluster, 0, 1)
    client.set(key, "text")
    (connection,) = cluster.get_pool_for_host(0)._available_connections
    with pytest.raises(redis.ResponseError):
        client.incr(key)
    assert connection._sock is not None


def test_promises_of_a_client_that_is_gone_are_rejected(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    promises = [client.get("a"), client.incr("b"), client.get("c")]
    del client
    fanout = cluster.fanout()
    aimed = fanout.target([1])
    pings = [fanout.target([0]).ping(), aimed.ping()]
    del fanout
    assert all(promise.is_pending for promise in pings)
    aimed.join()
    assert [type(promise.reason) for promise in promises] == [CommandCancelled] * 3
    assert [promise.value for promise in pings] == [{0: True}, {1: True}]
