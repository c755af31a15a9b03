"""PostgresReplicaSet and MariaDBReplicaSet: what the tests of a site stand on, whatever its database."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from pindb.testing import replicas
from pindb.testing.mariadb import MariaDBReplicaSet
from pindb.testing.postgres import PostgresReplicaSet
from pindb.testing.processes import free_port, wait_for
from tests.processes import run_to_its_end
from tests.threads import in_threads

#: What drivers raise where a server is down, refuses a login, or ends a session.
FAILURE = (psycopg.OperationalError, pymysql.OperationalError)

#: Words of each kind of database.
WORDS: dict[type[Any], dict[str, str]] = {
    PostgresReplicaSet: {
        "engine": "django.db.backends.postgresql",
        "max_connections": "SELECT setting::int FROM pg_settings WHERE name = 'max_connections'",
        "sleep": "SELECT pg_sleep(60)",
        "sleeping": "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'",
        "name": 'two "quoted" `names`',
    },
    MariaDBReplicaSet: {
        "engine": "django.db.backends.mysql",
        "max_connections": "SELECT @@global.max_connections",
        "sleep": "SELECT SLEEP(60)",
        "sleeping": "SELECT count(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(60)'",
        "name": 'two "quoted" `names`',
    },
}


def count(servers: Any, member: str | int) -> int:
    return int(servers.execute(member, "SELECT count(*) FROM numbers")[0][0])


def add(servers: Any) -> None:
    servers.execute("master", "INSERT INTO numbers VALUES (%s)", 1)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def connect(settings: dict[str, Any], **options: Any) -> Any:
    """A connection of the driver's own."""
    given = {name: settings[name.upper()] for name in ("host", "port", "user", "password")} | options
    if settings["ENGINE"].endswith("mysql"):
        return pymysql.connect(**given)
    return psycopg.connect(dbname=settings["NAME"], **given)


def test_members_have_names_and_the_configuration(own: Any) -> None:
    assert own.members == ("master", "replica-0", "replica-1")
    for member in own.members:
        assert own.execute(member, WORDS[type(own)]["max_connections"]) == [(77,)]


def test_addresses_are_settings_for_django(own: Any) -> None:
    assert own.master_database["ENGINE"] == WORDS[type(own)]["engine"]
    assert own.master_database["HOST"] == "127.0.0.1"
    assert [database["PORT"] for database in own.replica_databases] == [own.port(0), own.port(1)]
    assert own.database("replica-1") == own.replica_databases[1]
    assert own.database(0, "other")["NAME"] == "other"


def test_a_password_is_needed_and_not_shown(own: Any) -> None:
    settings = own.master_database
    assert settings["PASSWORD"] not in repr(own)
    for wrong in ({"password": ""}, {"password": "wrong"}, {"user": "root", "password": ""}):
        with pytest.raises(FAILURE, match=r"password|Access denied"):
            connect(settings, **wrong)
    connect(settings).close()


def test_a_paused_replica_shows_nothing_new_until_it_is_resumed(own: Any) -> None:
    own.pause(0)
    before = count(own, 0)
    add(own)
    own.wait_until_caught_up(1)
    assert (count(own, 0), count(own, 1)) == (before, before + 1)
    with pytest.raises(TimeoutError, match="replica-0: replay to catch up"):
        own.wait_until_caught_up(0, timeout=0.05)
    own.pause(0)
    own.resume(0)
    own.wait_until_caught_up(0)
    assert count(own, 0) == before + 1
    own.resume(0)


@pytest.mark.parametrize("end", ["kill", "stop"])
@pytest.mark.parametrize("member", ["replica-0", "master"])
def test_a_member_that_went_away_comes_back_with_its_data(own: Any, member: str, end: str) -> None:
    # Of this very moment: a server that writes its log once a second would lose it.
    add(own)
    own.wait_until_caught_up()
    port, before = own.port(member), count(own, member)
    getattr(own, end)(member)
    assert not own.is_running(member)
    with pytest.raises(FAILURE):
        own.execute(member, "SELECT 1")
    getattr(own, end)(member)
    if member != "master":
        # Committed while it is away.
        add(own)
        own.wait_until_caught_up()
        before += 1
        assert count(own, 1) == before
    own.start(member)
    assert own.is_running(member)
    assert own.port(member) == port
    own.wait_until_caught_up()
    assert count(own, member) == before
    add(own)
    own.wait_until_caught_up()
    assert count(own, member) == before + 1
    assert count(own, 1) == before + 1


def test_stop_waits_for_no_session(own: Any) -> None:
    words = WORDS[type(own)]
    connection = connect(own.replica_databases[1])
    failed: list[BaseException] = []

    def sleep() -> None:
        try:
            connection.cursor().execute(words["sleep"])
        except FAILURE as error:
            failed.append(error)

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    wait_for(lambda: own.execute(1, words["sleeping"])[0][0] == 1, "the session to sleep", 20)
    own.stop(1)
    sleeper.join(20)
    connection.close()
    assert failed
    own.start(1)
    own.wait_until_caught_up()


def test_what_runs_is_not_started_again(own: Any) -> None:
    with pytest.raises(RuntimeError, match="master runs already"):
        own.start("master")
    with pytest.raises(RuntimeError, match=f"This {type(own).__name__} runs already"):
        own.__enter__()


def test_unknown_members_are_refused(own: Any) -> None:
    for wrong in (2, -1, "replica", "default-0"):
        with pytest.raises(ValueError, match=r"there are master, replica-0, replica-1"):
            own.pause(wrong)


def test_a_promoted_replica_takes_writes_and_the_rest_of_the_set_is_gone_afterwards(kind: type[Any]) -> None:
    name = WORDS[kind]["name"]
    with kind(replicas=1, databases=["one", name]) as servers:
        servers.promote(0)
        for _ in range(2):
            # Still, after it was started again.
            servers.execute(0, "CREATE TABLE t (n int)", database=name)
            assert servers.execute(0, "SELECT count(*) FROM t", database=name) == [(0,)]
            servers.execute(0, "DROP TABLE t", database=name)
            servers.kill(0)
            servers.start(0)
        port = servers.port("master")
        assert listens(port)
    assert not listens(port)
    with pytest.raises(RuntimeError, match="with block"):
        servers.port("master")


def test_a_set_may_start_again_and_its_folder_may_have_any_name(
    kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="a 'folder' ") as folder:
        # Servers that root starts run as somebody else, who has to get there.
        Path(folder).chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", folder)
        servers = kind(replicas=1)
        for _ in range(2):
            with servers:
                servers.execute("master", "CREATE TABLE numbers (n int)")
                servers.wait_until_caught_up()
                assert count(servers, 0) == 0
                servers.promote(0)
            assert os.listdir(folder) == []
            assert repr(servers) == f"<{kind.__name__} not started>"


def test_another_port_is_taken_where_somebody_has_the_first(
    kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1]])
        monkeypatch.setattr(replicas, "free_port", lambda: next(ports, 0) or free_port())
        with kind(replicas=0) as servers:
            port = servers.port("master")
            assert port != taken.getsockname()[1]
            servers.stop("master")
            # Its address is known by now, and stays.
            in_use = pytest.raises(RuntimeError, match="Address already in use")
            with socket.create_server(("127.0.0.1", port)), in_use:
                servers.start("master")
            servers.start("master")


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(kind: type[Any]) -> None:
    servers = kind(replicas=0, configuration={"no_such_parameter": "1"})
    with pytest.raises(RuntimeError, match="no_such_parameter"), servers:
        pass
    assert servers._folder is None


@pytest.mark.parametrize("kind", [PostgresReplicaSet, MariaDBReplicaSet])
@pytest.mark.parametrize("arguments", [{"replicas": -1}, {"databases": []}, {"databases": "pindb"}])
def test_wrong_arguments_are_refused(kind: type[Any], arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="write"):
        kind(**arguments)


def test_sets_at_once_do_not_meet(kind: type[Any]) -> None:
    def run(_: int) -> int:
        with kind(replicas=0) as servers:
            servers.execute("master", "CREATE TABLE t (n int)")
            port: int = servers.port("master")
            return port

    # Enough that some start while others are being made.
    assert len(set(in_threads(4, run))) == 4


# A shell starts its background jobs with SIGINT ignored, and this process may be one.
PROGRAM = """
import signal, sys, time
from {module} import {name}
signal.signal(signal.SIGINT, signal.default_int_handler)
with {name}(replicas=1) as servers:
    print(servers._folder.path, servers.port("master"), servers.port(0), flush=True)
    if sys.argv[1] == "error":
        raise SystemError("an error in the block")
    time.sleep(60)
"""


@pytest.mark.parametrize("end", ["error", "SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_however_the_program_ends(kind: type[Any], end: str) -> None:
    program = PROGRAM.format(module=kind.__module__, name=kind.__name__)
    assert not any(map(listens, run_to_its_end(program, end)))
