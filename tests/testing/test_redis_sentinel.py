"""SentinelSetup: servers behind Sentinel for tests, and what can be done to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.sentinel import Sentinel

from pindb.testing.processes import wait_for
from pindb.testing.redis import SentinelSetup
from tests.processes import run_to_its_end
from tests.testing.servers import OTHER_PROGRAMS, listens, needs_tls


@pytest.fixture(scope="module")
def shared() -> Iterator[SentinelSetup]:
    with SentinelSetup(replicas=2, services=2, password="secret", sentinel_password="other") as setup:
        yield setup


@pytest.fixture
def servers(shared: SentinelSetup) -> Iterator[SentinelSetup]:
    """Two services of a master and two replicas, whose roles may have changed; without keys."""
    yield shared
    for server in (*range(6), "sentinel-0", "sentinel-1", "sentinel-2"):
        shared.resume(server)
        if not shared.is_running(server):
            shared.start(server)
    shared.wait_until_ok()
    shared.flush()


def ask(setup: SentinelSetup, server: int | str, *command: object) -> Any:
    with setup.client(server, decode_responses=True) as client:
        return client.execute_command(*command)


def test_clients_find_the_servers_through_the_sentinels(servers: SentinelSetup) -> None:
    assert servers.services == ("shard0", "shard1")
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        servers.sentinels,
        sentinel_kwargs={"password": "other"},
        password="secret",
    )
    for service, numbers in (("shard0", {0, 1, 2}), ("shard1", {3, 4, 5})):
        master = servers.master(service)
        assert {master, *servers.replicas(service)} == numbers
        address = servers.host(master)
        assert sentinel.discover_master(service) == (address["host"], address["port"])
        ports = {port for _, port in sentinel.discover_slaves(service)}
        assert ports == {servers.host(replica)["port"] for replica in servers.replicas(service)}
        assert sentinel.master_for(service).set("key", service)
        servers.wait_until_caught_up()
        for server in numbers:
            assert ask(servers, server, "GET", "key") == service
    sentinel.sentinels[0].close()


def test_both_passwords_are_needed_and_not_shown(servers: SentinelSetup) -> None:
    assert "secret" not in repr(servers)
    assert "other" not in repr(servers)
    for server, password in ((0, "other"), ("sentinel-0", "secret")):
        with servers.client(server, password=password) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_a_replica_becomes_the_master(servers: SentinelSetup) -> None:
    before = servers.master("shard0")
    after = servers.fail_over("shard0")
    assert after == servers.master("shard0") != before
    assert before in servers.replicas("shard0")
    assert ask(servers, after, "ROLE")[0] == "master"
    assert ask(servers, before, "ROLE")[2] == servers.host(after)["port"]


@pytest.mark.parametrize("end", ["kill", "pause"])
def test_a_master_that_is_away_is_replaced_and_comes_back_as_a_replica(
    servers: SentinelSetup, end: str
) -> None:
    before = servers.master("shard1")
    address = servers.host(before)
    getattr(servers, end)(before)
    assert servers.is_running(before) is (end == "pause")
    after = servers.wait_for_new_master(before)
    assert after == servers.master("shard1") != before
    assert servers.wait_for_new_master(before) == after
    if end == "kill":
        servers.start(before)
    else:
        servers.resume(before)
    servers.wait_until_ok("shard1")
    assert before in servers.replicas("shard1")
    assert servers.host(before) == address


def test_sentinels_can_be_away(servers: SentinelSetup) -> None:
    addresses = servers.sentinels
    master = servers.master()
    servers.kill("sentinel-0")
    servers.pause("sentinel-1")
    servers.wait_until_ok()
    assert servers.master() == master
    servers.stop("sentinel-2")
    with pytest.raises(RuntimeError, match="No sentinel answers"):
        servers.master()
    with pytest.raises(TimeoutError, match="no sentinel answers"):
        servers.wait_until_ok(timeout=0.1)
    servers.start("sentinel-0")
    servers.resume("sentinel-1")
    servers.start("sentinel-2")
    servers.wait_until_ok()
    assert servers.sentinels == addresses


def test_all_keys_are_flushed(servers: SentinelSetup) -> None:
    for service in servers.services:
        ask(servers, servers.master(service), "SET", "key", "value")
    servers.flush()
    assert {ask(servers, server, "DBSIZE") for server in range(6)} == {0}


def test_what_is_not_there_is_refused(servers: SentinelSetup) -> None:
    with pytest.raises(ValueError, match="a number from 0 to 5, or a name from 'sentinel-0' to 'sentinel-2'"):
        servers.pause(6)
    with pytest.raises(ValueError, match="There is no server 'sentinel-3'"):
        servers.start("sentinel-3")
    with pytest.raises(ValueError, match=r"There is no service 'main'\. Write one of 'shard0', 'shard1'"):
        servers.master("main")
    with pytest.raises(RuntimeError, match="Server sentinel-0 runs already"):
        servers.start("sentinel-0")


@pytest.mark.parametrize(
    "arguments",
    [
        {"replicas": -1},
        {"sentinels": 0},
        {"services": 0},
        {"down_after": 0},
        {"failover_timeout": 0},
        {"username": "me"},
        {"password": 'with "quotes"'},
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Write") as refused:
        SentinelSetup(**arguments)  # type: ignore[arg-type]
    assert "quotes" not in str(refused.value)


def test_a_service_without_replicas() -> None:
    with SentinelSetup(replicas=0, sentinels=1, configuration={"maxclients": "77"}) as setup:
        assert (setup.master(), setup.replicas()) == (0, [])
        assert ask(setup, 0, "CONFIG", "GET", "maxclients") == {"maxclients": "77"}
        with pytest.raises(RuntimeError, match="sentinel-0 replies an error: NOGOODSLAVE"):
            setup.fail_over()


@pytest.mark.parametrize("program", OTHER_PROGRAMS)
def test_other_server_programs_can_do_it_too(program: str) -> None:
    with SentinelSetup(server_executable=program, password="secret") as setup:
        setup.kill(0)
        assert setup.wait_for_new_master(0) in (1, 2)


@needs_tls
def test_tls_and_a_user() -> None:
    login = {"username": "somebody", "password": "secret"}
    with SentinelSetup(replicas=1, tls=True, **login) as setup:  # type: ignore[arg-type]
        assert setup.host(0)["ssl"] is True
        ask(setup, 0, "SET", "key", "value")
        setup.wait_until_caught_up()
        assert setup.fail_over() == 1
        assert ask(setup, 1, "GET", "key") == "value"
        for server in (0, "sentinel-0"):
            with pytest.raises(redis.ConnectionError):
                setup.client(server, ssl=False).ping()


def test_a_closed_setup_says_so() -> None:
    with SentinelSetup(replicas=0, sentinels=1) as setup:
        assert repr(setup).startswith("<SentinelSetup services=1 servers=1 sentinels=1 /")
    assert repr(setup) == "<SentinelSetup services=1 servers=1 sentinels=1 closed>"
    with pytest.raises(RuntimeError, match="This SentinelSetup is closed"):
        setup.sentinels  # noqa: B018


PROGRAM = """
import time
from pindb.testing.redis import SentinelSetup
setup = SentinelSetup(replicas=1, sentinels=1)
setup.pause(1)
print(setup._folder.path, setup.host(0)["port"], setup.host(1)["port"], setup.sentinels[0][1], flush=True)
time.sleep(60)
"""


def test_nothing_is_left_of_a_killed_program() -> None:
    for port in run_to_its_end(PROGRAM, "SIGKILL"):
        wait_for(lambda port=port: not listens(port), "the server to end", 20)  # type: ignore[misc]
