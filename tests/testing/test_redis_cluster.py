"""RedisClusterSetup: Redis Clusters for tests, and what can be done to them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.cluster import ClusterNode

from pindb.hashing import slot
from pindb.testing.processes import wait_for
from pindb.testing.redis import RedisClusterSetup
from tests.processes import run_to_its_end
from tests.testing.servers import OTHER_PROGRAMS, listens, needs_tls
from tests.threads import again_and_again, in_threads


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisClusterSetup]:
    with RedisClusterSetup() as setup:
        yield setup


@pytest.fixture
def cluster(shared: RedisClusterSetup) -> Iterator[RedisClusterSetup]:
    """Three masters with a replica each, whose roles may have changed; without keys."""
    yield shared
    for server in shared.nodes:
        shared.resume(server)
        if not shared.is_running(server):
            shared.start(server)
    shared.wait_until_ok()
    shared.flush()


def shard(cluster: RedisClusterSetup, number: int) -> tuple[int, int]:
    """The master and the replica of a shard. Tests use several: a shard has one election in some seconds."""
    servers = number, number + 3
    (master,) = {*servers} & {*cluster.masters}
    (replica,) = {*servers} - {master}
    return master, replica


def client_of(setup: RedisClusterSetup, **options: Any) -> Any:
    """redis-py's client of the whole cluster."""
    nodes = [ClusterNode(node["host"], node["port"]) for node in setup.start_up_nodes]  # type: ignore[no-untyped-call]
    return redis.RedisCluster(startup_nodes=nodes, decode_responses=True, **options)


def ask(setup: RedisClusterSetup, server: int, *command: object) -> Any:
    with setup.client(server, decode_responses=True) as client:
        return client.execute_command(*command)


def moved_to(cluster: RedisClusterSetup, key: str | bytes, server: int) -> str:
    """The end of MOVED and ASK; the words themselves are in the errors of some versions of redis-py only."""
    return f"{slot(key)} 127.0.0.1:{cluster.host(server)['port']}$"


def key_of(cluster: RedisClusterSetup, server: int) -> str:
    """A key of a server."""
    return next(key for key in map("key-{}".format, range(1000)) if cluster.owner(key) == server)


def test_masters_with_equal_parts_of_the_slots_and_their_replicas() -> None:
    with RedisClusterSetup(masters=2, replicas=2, configuration={"maxclients": "77"}) as setup:
        assert setup.masters == [0, 1]
        assert setup.replicas == [2, 3, 4, 5]
        assert setup.slots(0) == list(range(8192))
        assert setup.slots(1) == list(range(8192, 16384))
        assert setup.slots(2) == []
        for replica in setup.replicas:
            role = ask(setup, replica, "ROLE")
            assert role[2] == setup.host(replica % 2)["port"]
        assert ask(setup, 3, "CONFIG", "GET", "maxclients") == {"maxclients": "77"}


def test_the_setup_names_servers_owners_and_addresses(cluster: RedisClusterSetup) -> None:
    assert sorted(cluster.masters + cluster.replicas) == list(cluster.nodes) == [0, 1, 2, 3, 4, 5]
    assert cluster.start_up_nodes == list(cluster.nodes.values())
    assert cluster.nodes[4] == cluster.host(4)
    assert cluster.host(4).keys() == {"host", "port"}
    key = b"user:1"
    owner = cluster.owner(key)
    assert owner == cluster.owner("user:1") == cluster.owner(slot(key))
    assert slot(key) in cluster.slots(owner)
    ask(cluster, owner, "SET", key, "value")
    other = next(other for other in cluster.masters if other != owner)
    with pytest.raises(redis.ResponseError, match=moved_to(cluster, key, owner)):
        ask(cluster, other, "GET", key)


@pytest.mark.parametrize("program", OTHER_PROGRAMS)
def test_other_server_programs_can_do_it_too(program: str) -> None:
    with RedisClusterSetup(server_executable=program, password="secret") as setup:
        assert setup.fail_over(0) == 3
        to = setup.masters[0]
        wanted = [number for number in range(16384) if number % 160 == 0]
        moved = setup.move_slots(wanted, to)
        assert {setup.owner(number) for number in wanted} == {to}
        assert moved < len(wanted)
        server = setup.add_node()
        assert setup.move_slots(0, server) == 1
        setup.move_slots(setup.slots(server), to)
        setup.remove_node(server)
        setup.kill(1)
        assert setup.wait_for_new_master(1) == 4
        setup.start(1)
        setup.wait_until_ok()
        assert 1 in setup.replicas


def test_a_replica_becomes_the_master(cluster: RedisClusterSetup) -> None:
    master, replica = shard(cluster, 0)
    key = key_of(cluster, master)
    ask(cluster, master, "SET", key, "value")
    assert cluster.fail_over(master) == replica
    assert cluster.owner(key) == replica
    assert master in cluster.replicas
    assert ask(cluster, replica, "GET", key) == "value"
    assert cluster.fail_over(master) == master
    assert ask(cluster, master, "GET", key) == "value"


def test_a_killed_master_is_replaced_and_comes_back_as_a_replica(cluster: RedisClusterSetup) -> None:
    master, replica = shard(cluster, 1)
    address, key = cluster.host(master), key_of(cluster, master)
    ask(cluster, master, "SET", key, "value")
    cluster.wait_until_caught_up()
    cluster.kill(master)
    assert not cluster.is_running(master)
    assert cluster.owner(key) == master
    assert cluster.wait_for_new_master(master) == replica
    assert cluster.owner(key) == replica
    assert master not in cluster.masters
    assert ask(cluster, replica, "GET", key) == "value"
    cluster.start(master)
    cluster.wait_until_ok()
    assert master in cluster.replicas
    assert cluster.host(master) == address


def test_a_paused_master_is_replaced(cluster: RedisClusterSetup) -> None:
    master, replica = shard(cluster, 2)
    cluster.pause(master)
    assert cluster.is_running(master)
    assert cluster.wait_for_new_master(master) == replica
    cluster.resume(master)
    cluster.wait_until_ok()
    assert master in cluster.replicas


def test_a_master_that_comes_back_after_slots_have_moved_is_a_replica(cluster: RedisClusterSetup) -> None:
    master, replica = shard(cluster, 0)
    other = shard(cluster, 1)[0]
    cluster.pause(master)
    assert cluster.wait_for_new_master(master) == replica
    moved = cluster.slots(other)[:3]
    cluster.move_slots(moved, replica)
    cluster.resume(master)
    cluster.wait_until_ok()
    assert master in cluster.replicas
    cluster.move_slots(moved, other)


def test_a_move_that_a_kill_interrupts_is_finished_later() -> None:
    with RedisClusterSetup(masters=2, replicas=0, configuration={"appendonly": "yes"}) as setup:
        tag = key_of(setup, 0)
        ask(setup, 0, "SET", tag, "value")
        setup.pause(1)
        setup.timeout = 0.5
        with pytest.raises(TimeoutError, match="Server 1 does not run, or is paused"):
            setup.move_slots(slot(tag), to=1)
        setup.timeout = 20
        setup.kill(1)
        setup.start(1)
        setup.wait_until_ok()
        assert setup.owner(tag) == 1
        assert ask(setup, 1, "GET", tag) == "value"


def test_a_replica_takes_over_by_force() -> None:
    with RedisClusterSetup(masters=3, replicas=1, node_timeout=5) as setup:
        setup.kill(0)
        assert setup.fail_over(0, force=True) == 3
        assert setup.wait_for_new_master(0) == 3


def test_a_cluster_without_a_replica_is_well(cluster: RedisClusterSetup) -> None:
    master, replica = shard(cluster, 0)
    cluster.stop(replica)
    cluster.wait_until_ok()
    with pytest.raises(RuntimeError, match=f"Server {master} has no replica that answers"):
        cluster.fail_over(master)
    with pytest.raises(TimeoutError, match="no other server of its shard is a master"):
        cluster.wait_for_new_master(master, timeout=0.1)


def test_the_reason_is_said_when_a_cluster_is_not_well(cluster: RedisClusterSetup) -> None:
    with RedisClusterSetup(masters=1, replicas=0) as setup:
        ask(setup, 0, "CLUSTER", "DELSLOTS", 5)
        with pytest.raises(TimeoutError, match="server 0 says that the cluster is down"):
            setup.wait_until_ok(timeout=0.3)
        with pytest.raises(RuntimeError, match="No server has slot 5"):
            setup.owner(5)


def test_a_slot_can_be_half_moved(cluster: RedisClusterSetup) -> None:
    source, target = cluster.masters[:2]
    tag = key_of(cluster, source)
    keys = [f"{{{tag}}}:{number}" for number in range(5)]
    for key in keys:
        ask(cluster, source, "SET", key, key)
    with cluster.moving(tag, to=target) as move:
        assert (move.slot, move.source, move.target) == (slot(tag), source, target)
        move.migrate(keys[0], f"{{{tag}}}:nothing")
        assert ask(cluster, source, "GET", keys[1]) == keys[1]
        with pytest.raises(redis.ResponseError, match=moved_to(cluster, tag, target)):
            ask(cluster, source, "GET", keys[0])
        with cluster.client(target, decode_responses=True) as client:
            client.execute_command("ASKING")
            assert client.get(keys[0]) == keys[0]
            client.execute_command("ASKING")
            with pytest.raises(redis.ResponseError, match="Multiple keys request during rehashing"):
                client.mget(keys[0], keys[1])
        assert move.keys(2) == 2
        assert ask(cluster, target, "DBSIZE") == 3
        assert cluster.owner(tag) == source
    assert cluster.owner(tag) == target
    assert ask(cluster, target, "MGET", *keys) == keys
    assert cluster.move_slots(slot(tag), source) == 1
    assert ask(cluster, source, "MGET", *keys) == keys


def test_a_slot_is_moved_after_an_error_in_the_block_too(cluster: RedisClusterSetup) -> None:
    source, target = cluster.masters[:2]
    tag = key_of(cluster, source)
    ask(cluster, source, "SET", tag, "value")
    with contextlib.suppress(ZeroDivisionError), cluster.moving(tag, to=target) as move:
        assert move.keys() == 1
        assert move.keys() == 0
        raise ZeroDivisionError
    assert ask(cluster, target, "GET", tag) == "value"
    cluster.move_slots(slot(tag), source)


def test_a_move_goes_on_with_the_new_master_after_a_failover(cluster: RedisClusterSetup) -> None:
    master, replica = shard(cluster, 2)
    target = shard(cluster, 1)[0]
    tag = key_of(cluster, master)
    keys = [f"{{{tag}}}:{number}" for number in range(4)]
    for key in keys:
        ask(cluster, master, "SET", key, key)
    with cluster.moving(tag, to=target) as move:
        move.keys(2)
        cluster.fail_over(master)
    assert ask(cluster, target, "MGET", *keys) == keys
    assert ask(cluster, replica, "DBSIZE") == 0
    cluster.move_slots(slot(tag), replica)


def test_slots_move_while_their_keys_are_used(cluster: RedisClusterSetup) -> None:
    source, target = cluster.masters[:2]
    slots = cluster.slots(source)[:300]
    keys = [key for key in map("counter-{}".format, range(5000)) if slot(key) in slots]
    rounds = 0

    def count() -> None:
        nonlocal rounds
        for key in keys:
            client.incr(key)
        rounds += 1

    with client_of(cluster) as client, again_and_again(count):
        wait_for(lambda: rounds, "the first round", 20)
        assert cluster.move_slots(slots, target) == 300
        assert cluster.move_slots(slots, target) == 0
        assert cluster.move_slots(slots, source) == 300
    with client_of(cluster) as client:
        assert {client.get(key) for key in keys} == {str(rounds)}


def test_servers_come_and_go(cluster: RedisClusterSetup) -> None:
    source = cluster.masters[0]
    server = cluster.add_node()
    assert server in cluster.masters
    assert cluster.slots(server) == []
    replica = cluster.add_node(as_replica_of=server)
    assert replica in cluster.replicas
    slots = cluster.slots(source)[:10]
    cluster.move_slots(slots, server)
    with pytest.raises(ValueError, match=f"Server {server} has 10 slots. Move them first"):
        cluster.remove_node(server)
    cluster.move_slots(slots, source)
    with pytest.raises(ValueError, match=f"Server {server} has replicas"):
        cluster.remove_node(server)
    cluster.kill(replica)
    cluster.remove_node(replica)
    address = cluster.host(server)
    cluster.remove_node(server)
    assert not listens(address["port"])
    assert {server, replica}.isdisjoint(cluster.nodes)
    with pytest.raises(ValueError, match=f"There is no server {server}. Write one of 0, 1, 2, 3, 4, 5"):
        cluster.start(server)


def test_all_keys_and_scripts_are_flushed(cluster: RedisClusterSetup) -> None:
    for server in cluster.masters:
        ask(cluster, server, "SET", key_of(cluster, server), "value")
    scripts = {server: ask(cluster, server, "SCRIPT", "LOAD", "return 1") for server in cluster.nodes}
    cluster.flush()
    for server, script in scripts.items():
        assert ask(cluster, server, "DBSIZE") == 0
        assert ask(cluster, server, "SCRIPT", "EXISTS", script) == [False]


def test_what_is_not_there_is_refused(cluster: RedisClusterSetup) -> None:
    master, replica = shard(cluster, 0)
    with pytest.raises(ValueError, match="There is no server 9"):
        cluster.pause(9)
    with pytest.raises(ValueError, match="There is no slot 16384"):
        cluster.owner(16384)
    with pytest.raises(ValueError, match=f"Server {replica} is no master"):
        cluster.move_slots(0, replica)
    with pytest.raises(ValueError, match=f"Server {replica} is no master"):
        cluster.add_node(as_replica_of=replica)
    with pytest.raises(ValueError, match=r"has slot \d+ already"):
        cluster.moving(cluster.slots(master)[0], to=master)
    with pytest.raises(RuntimeError, match="runs already"):
        cluster.start(master)


@pytest.mark.parametrize(
    "arguments", [{"masters": 0}, {"replicas": -1}, {"node_timeout": 0}, {"username": "me"}]
)
def test_wrong_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Write"):
        RedisClusterSetup(**arguments)  # type: ignore[arg-type]


@needs_tls
def test_tls_and_a_user() -> None:
    with RedisClusterSetup(tls=True, username="somebody", password="secret word") as setup:
        node = setup.host(0)
        assert "secret" not in repr(setup)
        ca_certs = node["ssl_options"]["ca_certs"]
        login = {"username": "somebody", "password": "secret word"}
        with client_of(setup, ssl=True, ssl_ca_certs=ca_certs, **login) as client:
            client.set("key", "value")
            setup.move_slots(slot("key"), next(m for m in setup.masters if m != setup.owner("key")))
            setup.fail_over(setup.owner("key"))
            assert client.get("key") == "value"
            setup.flush()
            assert client.get("key") is None
        with pytest.raises(redis.ConnectionError):
            setup.client(0, ssl=False).ping()


def test_ports_that_somebody_took_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    original = RedisClusterSetup._free_port
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as bus:
        port = bus.getsockname()[1] - 10_000
        ports = iter([taken.getsockname()[1] if taken.getsockname()[1] < 55_536 else port, port])
        monkeypatch.setattr(
            RedisClusterSetup, "_free_port", lambda self, name: next(ports, None) or original(self, name)
        )
        with RedisClusterSetup(masters=1, replicas=1) as setup:
            assert port not in [node["port"] for node in setup.start_up_nodes]


def test_two_setups_at_once_do_not_meet() -> None:
    def run(_: int) -> set[int]:
        with RedisClusterSetup(masters=1, replicas=1) as setup:
            nodes = ask(setup, 0, "CLUSTER", "NODES")
            assert str(nodes).count("connected") == 2
            return {node["port"] for node in setup.start_up_nodes}

    first, second = in_threads(2, run)
    assert len(first | second) == 4


def test_a_cluster_that_does_not_start_says_why_and_leaves_nothing(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RuntimeError, match="no-such-directive"):
        RedisClusterSetup(configuration={"no-such-directive": "1"})
    setup = RedisClusterSetup(masters=1, replicas=0)
    assert repr(setup).startswith(f"<RedisClusterSetup servers=[0] {tmp_path}")
    setup.close()
    setup.close()
    assert repr(setup) == "<RedisClusterSetup servers=[0] closed>"
    with pytest.raises(RuntimeError, match="This RedisClusterSetup is closed"):
        setup.masters  # noqa: B018


PROGRAM = """
import os, sys, time
from pindb.testing.redis import RedisClusterSetup
setup = RedisClusterSetup(masters=1, replicas=1)
setup.pause(1)
print(setup._folder.path, *(node["port"] for node in setup.start_up_nodes), flush=True)
time.sleep(60)
"""


def test_nothing_is_left_of_a_killed_program() -> None:
    for port in run_to_its_end(PROGRAM, "SIGKILL"):
        wait_for(lambda port=port: not listens(port), "the server to end", 20)  # type: ignore[misc]
