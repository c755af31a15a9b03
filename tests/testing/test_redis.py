"""TestSetup: Redis servers for tests, and how they end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from pindb.testing.processes import free_port, wait_for
from pindb.testing.redis import (
    ENVIRONMENT,
    TestSetup,
    _programs,
    _servers,
    find_server,
    make_test_cluster,
    supports_tls,
)
from tests.processes import run_to_its_end
from tests.testing.servers import listens, needs_tls
from tests.threads import in_threads


@pytest.fixture(scope="module")
def own() -> Iterator[TestSetup]:
    """Servers that these tests may break."""
    with TestSetup(servers=2, databases_each=3) as setup:
        yield setup


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for programs that are no servers but say that they are."""
    return tmp_path


def program(folder: Path, name: str, version: str, *, product: str = "Redis") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{product} server v={version} sha=00000000:0 malloc=libc bits=64'\n")
    path.chmod(0o755)
    return path


def ping(setup: TestSetup, server: int) -> bool:
    with setup.client(server) as client:
        return bool(client.ping())


def test_each_database_of_each_server_is_a_host(own: TestSetup) -> None:
    assert list(own.hosts) == [0, 1, 2, 3, 4, 5]
    assert [host["db"] for host in own.hosts.values()] == [0, 1, 2, 0, 1, 2]
    assert own.hosts[4] == own.host(1, 1)
    assert len({host["unix_socket_path"] for host in own.hosts.values()}) == 2
    with own.client(0, 2) as client:
        client.set("key", "value")
    with own.client(0, 1) as client:
        assert client.get("key") is None
        with pytest.raises(redis.ResponseError, match="DB index"):
            client.execute_command("SELECT", 3)
    own.flush()
    with own.client(0, 2, decode_responses=True) as client:
        assert client.dbsize() == 0
        assert client.config_get("save") == {"save": ""}


def test_a_cluster_of_all_hosts(own: TestSetup) -> None:
    cluster = own.make_cluster()
    client = cluster.get_routing_client()
    for number in range(60):
        client.set(f"key-{number}", number)
    cluster.disconnect_pools()
    sizes = []
    for server in range(2):
        for db in range(3):
            with own.client(server, db) as direct:
                sizes.append(direct.dbsize())
    assert sum(sizes) == 60
    assert all(sizes)
    own.flush()


def test_a_cluster_in_one_line() -> None:
    options = {"pool_options": {"decode_responses": True}}
    with make_test_cluster(1, databases_each=2, cluster_options=options) as cluster:
        client = cluster.get_routing_client()
        client.set("key", "value")
        assert client.get("key") == "value"
        assert len(cluster.hosts) == 2


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_server_that_went_away_comes_back_empty_at_its_address(own: TestSetup, end: str) -> None:
    host = own.host(1)
    with own.client(1) as client:
        client.set("key", "value")
        getattr(own, end)(1)
        assert not own.is_running(1)
        assert own.is_running(0)
        with pytest.raises(redis.ConnectionError):
            client.ping()
        getattr(own, end)(1)
        own.flush()
        own.start(1)
        assert own.is_running(1)
        assert own.host(1) == host
        assert client.get("key") is None


def test_a_paused_server_answers_nothing_until_it_is_resumed(own: TestSetup) -> None:
    own.pause(0)
    assert own.is_running(0)
    with own.client(0, socket_timeout=0.05) as client, pytest.raises(redis.TimeoutError):
        client.ping()
    own.resume(0)
    own.resume(0)
    assert ping(own, 0)


def test_a_paused_server_can_be_stopped(own: TestSetup) -> None:
    for end in (own.stop, own.kill):
        own.pause(1)
        end(1)
        assert not own.is_running(1)
        own.start(1)


def test_what_runs_is_not_started_again(own: TestSetup) -> None:
    with pytest.raises(RuntimeError, match="Server 1 runs already"):
        own.start(1)


def test_unknown_servers_are_refused(own: TestSetup) -> None:
    for wrong in (2, -1):
        with pytest.raises(ValueError, match="from 0 to 1"):
            own.pause(wrong)


def test_ports(own: TestSetup) -> None:
    with TestSetup(servers=2, databases_each=1, tcp=True) as setup:
        ports = [host["port"] for host in setup.hosts.values()]
        assert [host["host"] for host in setup.hosts.values()] == ["127.0.0.1"] * 2
        assert len(set(ports)) == 2
        assert ping(setup, 0)
        setup.kill(1)
        setup.start(1)
        assert setup.host(1)["port"] == ports[1]


def test_a_port_that_somebody_took_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1]])
        monkeypatch.setattr(_servers, "free_port", lambda: next(ports, 0) or free_port())
        with TestSetup(servers=1, tcp=True) as setup:
            assert setup.host(0)["port"] != taken.getsockname()[1]
            assert ping(setup, 0)
            setup.stop(0)
            # Its address is known by now, and stays.
            address = ("127.0.0.1", setup.host(0)["port"])
            in_use = pytest.raises(RuntimeError, match="Address already in use")
            with socket.create_server(address), in_use:
                setup.start(0)
            setup.start(0)


@pytest.mark.parametrize(
    "login", [{"password": 'with "quotes", \\ and ü'}, {"username": "somebody", "password": "secret"}]
)
def test_servers_with_a_login_are_flushed(login: dict[str, str]) -> None:
    with TestSetup(servers=2, databases_each=2, **login) as setup:  # type: ignore[arg-type]
        for server, db in ((0, 1), (1, 0)):
            with setup.client(server, db) as client:
                client.set("key", "value")
                script = client.script_load("return 1")
                setup.flush()
                assert client.dbsize() == 0
                assert client.script_exists(script) == [False]
        with setup.client(1) as client:
            client.execute_command("ACL", "SETUSER", login.get("username", "default"), "-flushall")
        with pytest.raises(RuntimeError, match=r"server 1 was not flushed.*NOPERM"):
            setup.flush()


def test_a_password() -> None:
    password = 'with "quotes", \\ and spaces'
    with TestSetup(servers=1, password=password) as setup:
        assert password not in repr(setup)
        assert ping(setup, 0)
        with setup.client(0, password=None) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_a_user() -> None:
    with TestSetup(servers=1, username="somebody", password="secret") as setup:
        with setup.client(0, decode_responses=True) as client:
            assert client.acl_whoami() == "somebody"
        with setup.client(0, username=None, password=None) as client, pytest.raises(redis.ConnectionError):
            client.ping()
        with setup.make_cluster().get_local_client(0) as client:
            assert client.ping()


@needs_tls
def test_tls() -> None:
    with TestSetup(servers=2, databases_each=1, tls=True, password="secret") as setup:
        assert setup.host(0)["ssl"] is True
        assert ping(setup, 1)
        with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
            setup.client(0, ssl_ca_certs=None).ping()
        with setup.client(0, ssl=False) as client, pytest.raises(redis.ConnectionError):
            client.ping()


def test_a_server_without_tls_is_refused(programs: Path) -> None:
    server = program(programs, "redis-server", "7.2.1")
    assert not supports_tls(server)
    with pytest.raises(RuntimeError, match="was built without TLS"):
        TestSetup(server_executable=server, tls=True)


def test_the_newer_server_is_taken(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    newer = program(programs, "newer/redis-server", "100.10.0")
    older = program(programs, "older/redis-server", "99.9.9")
    monkeypatch.setenv("PATH", f"{newer.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(_programs, "_packaged", lambda: older)
    assert find_server() == newer
    monkeypatch.setenv("PATH", str(older.parent))
    monkeypatch.setattr(_programs, "_packaged", lambda: newer)
    assert find_server() == newer


def test_the_package_is_taken_where_path_has_nothing_better(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    packaged = program(programs, "package/redis-server", "6.2.14")
    monkeypatch.setattr(_programs, "_packaged", lambda: packaged)
    monkeypatch.setenv("PATH", str(programs))
    assert find_server() == packaged
    broken = program(programs, "redis-server", "none")
    assert find_server() == packaged
    broken.unlink()
    valkey = program(programs, "valkey-server", "8.1.0", product="Valkey")
    assert find_server() == valkey


def test_the_environment_and_the_argument_go_first(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = program(programs, "first", "1.0.0"), program(programs, "second", "1.0.0")
    monkeypatch.setenv(ENVIRONMENT, str(first))
    assert find_server() == first
    assert find_server(second) == second
    monkeypatch.setenv("PATH", str(programs))
    assert find_server("second") == second


def test_no_server_at_all(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(_programs, "_packaged", lambda: None)
    with pytest.raises(RuntimeError, match=r'package "redis-server", set \$PINDB_REDIS_SERVER '):
        TestSetup()


def test_a_named_server_that_is_not_there(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="server_executable is '/no/such/program'"):
        TestSetup(server_executable="/no/such/program")
    monkeypatch.setenv(ENVIRONMENT, "/no/such/program")
    with pytest.raises(RuntimeError, match=r"\$PINDB_REDIS_SERVER is '/no/such/program'"):
        TestSetup()
    with pytest.raises(RuntimeError, match="is not a Redis server"):
        TestSetup(server_executable=program(programs, "other", "none"))


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RuntimeError, match="no-such-directive"):
        TestSetup(servers=2, configuration={"no-such-directive": "1"})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_too_deep_for_sockets_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("deep" * 25)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(RuntimeError, match="Set TMPDIR"):
        TestSetup(servers=1)
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize("arguments", [{"servers": 0}, {"databases_each": 0}, {"username": "somebody"}])
def test_wrong_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Write"):
        TestSetup(**arguments)  # type: ignore[arg-type]


def test_configuration_reaches_the_servers() -> None:
    setup = TestSetup(servers=1, configuration={"maxclients": "77"})
    with setup, setup.client(0, decode_responses=True) as client:
        assert client.config_get("maxclients") == {"maxclients": "77"}


def test_it_needs_no_with_block_and_closes_once() -> None:
    setup = TestSetup(servers=1)
    path = Path(setup.host(0)["unix_socket_path"])
    assert path.exists()
    assert repr(setup) == f"<TestSetup servers=1 databases_each=8 {path.parent}>"
    setup.close()
    setup.close()
    assert not path.parent.exists()
    assert repr(setup) == "<TestSetup servers=1 databases_each=8 closed>"
    with pytest.raises(RuntimeError, match="closed"):
        setup.start(0)
    with pytest.raises(RuntimeError, match="closed"), setup:
        pass


def test_two_setups_at_once_do_not_meet() -> None:
    def run(number: int) -> int:
        with TestSetup(servers=2, tcp=True) as setup, setup.client(0, decode_responses=True) as client:
            client.set("number", number)
            assert client.get("number") == str(number)
            port: int = setup.host(0)["port"]
            return port

    assert len(set(in_threads(3, run))) == 3


# A shell starts its background jobs with SIGINT ignored, and this process may be one.
PROGRAM = """
import os, signal, sys, time
from pindb.testing.redis import TestSetup
signal.signal(signal.SIGINT, signal.default_int_handler)
setup = TestSetup(servers=2, tcp=True)
print(os.path.dirname(setup._socket(0)), setup.host(0)["port"], setup.host(1)["port"], flush=True)
setup.pause(1)
if sys.argv[1] == "error":
    raise SystemError("an error before the end")
if sys.argv[1] != "end":
    time.sleep(60)
"""


@pytest.mark.parametrize("end", ["end", "error", "SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_however_the_program_ends(end: str) -> None:
    for port in run_to_its_end(PROGRAM, end):
        wait_for(lambda port=port: not listens(port), "the server to end", 20)  # type: ignore[misc]
