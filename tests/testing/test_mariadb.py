"""MariaDBReplicaSet: what a site's own tests stand on."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest
from django.db import OperationalError
from django.db.utils import ConnectionHandler

from pindb.testing import mariadb, replicas
from pindb.testing.mariadb import MariaDBReplicaSet, find_mariadb
from pindb.testing.processes import free_port, wait_for
from tests.endings import run_to_its_end
from tests.mariadb import needs_mariadb, use_pymysql

READ_ONLY = 1290


def count(servers: MariaDBReplicaSet, member: str | int) -> int:
    return int(servers.execute(member, "SELECT count(*) FROM numbers")[0][0])


def add(servers: MariaDBReplicaSet) -> None:
    servers.execute("master", "INSERT INTO numbers VALUES (%s)", 1)


def connect(settings: dict[str, Any], **options: Any) -> pymysql.Connection:
    return pymysql.connect(
        **{
            "host": settings["HOST"],
            "port": settings["PORT"],
            "user": settings["USER"],
            "password": settings["PASSWORD"],
            **options,
        }
    )


def listens(port: int) -> bool:
    try:
        connect({"HOST": "127.0.0.1", "PORT": port, "USER": "pindb", "PASSWORD": "wrong"})
    except pymysql.OperationalError as error:
        # 2003: nobody is there.
        return bool(error.args[0] != 2003)
    return True


@pytest.fixture(scope="module")
def own() -> Iterator[MariaDBReplicaSet]:
    """Servers that these tests may break."""
    with MariaDBReplicaSet(replicas=2, configuration={"max_connections": "77"}) as servers:
        servers.execute("master", "CREATE TABLE numbers (n int)")
        servers.wait_until_caught_up()
        yield servers


@pytest.fixture
def connections(own: MariaDBReplicaSet) -> Iterator[ConnectionHandler]:
    """Django's connections to the master, as "default", and to the first replica, as "replica"."""
    use_pymysql()
    handler = ConnectionHandler({"default": own.master_database, "replica": own.replica_databases[0]})
    yield handler
    handler.close_all()


@needs_mariadb
def test_members_are_a_master_and_replicas_that_follow_it_by_gtids(own: MariaDBReplicaSet) -> None:
    assert own.members == ("master", "replica-0", "replica-1")
    assert [own.execute(name, "SELECT @@global.read_only")[0][0] for name in own.members] == [0, 1, 1]
    assert [own.execute(name, "SELECT @@global.server_id")[0][0] for name in own.members] == [1, 2, 3]
    using = [own.execute(replica, "SHOW SLAVE STATUS") for replica in (0, 1)]
    assert all("Slave_Pos" in status[0] for status in using)
    # What one of them would be followed by, were it promoted.
    assert own.execute(0, "SELECT @@global.log_bin, @@global.log_slave_updates") == [(1, 1)]
    assert own.execute(1, "SELECT @@global.max_connections") == [(77,)]


@needs_mariadb
def test_addresses_are_settings_for_django(own: MariaDBReplicaSet) -> None:
    assert own.master_database["ENGINE"] == "django.db.backends.mysql"
    assert own.master_database["HOST"] == "127.0.0.1"
    assert own.master_database["OPTIONS"] == {"charset": "utf8mb4"}
    assert [database["PORT"] for database in own.replica_databases] == [own.port(0), own.port(1)]
    assert own.database("replica-1") == own.replica_databases[1]
    assert own.database(0, "other")["NAME"] == "other"


@needs_mariadb
def test_django_reads_on_a_replica_what_it_wrote_on_the_master(
    own: MariaDBReplicaSet, connections: ConnectionHandler
) -> None:
    text = "größer \N{SNOWMAN} \N{SNAKE}"
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TABLE notes (text varchar(30))")
        cursor.execute("INSERT INTO notes VALUES (%s)", [text])
        cursor.execute("SELECT @@global.gtid_current_pos")
        position = cursor.fetchone()
    own.wait_until_caught_up()
    with connections["replica"].cursor() as cursor:
        cursor.execute("SELECT text FROM notes")
        assert cursor.fetchall() == ((text,),)
        cursor.execute("SELECT @@global.gtid_slave_pos")
        assert cursor.fetchone() == position
        with pytest.raises(OperationalError) as caught:
            cursor.execute("INSERT INTO notes VALUES ('here')")
    assert caught.value.args[0] == READ_ONLY
    assert connections["replica"].mysql_is_mariadb  # type: ignore[attr-defined]
    own.execute("master", "DROP TABLE notes")


@needs_mariadb
def test_the_user_cannot_lift_read_only(own: MariaDBReplicaSet) -> None:
    with pytest.raises(pymysql.OperationalError, match="READ_ONLY ADMIN"):
        own.execute(0, "SET GLOBAL read_only = 0")


@needs_mariadb
def test_a_password_is_needed_and_not_shown(own: MariaDBReplicaSet) -> None:
    settings = own.master_database
    assert settings["PASSWORD"] not in repr(own)
    for wrong in ({"password": ""}, {"user": "root", "password": ""}):
        with pytest.raises(pymysql.OperationalError, match="Access denied"):
            connect(settings, **wrong)


@needs_mariadb
def test_a_paused_replica_shows_nothing_new_until_it_is_resumed(own: MariaDBReplicaSet) -> None:
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


@needs_mariadb
@pytest.mark.parametrize("end", ["kill", "stop"])
@pytest.mark.parametrize("member", ["replica-0", "master"])
def test_a_member_that_went_away_comes_back_with_its_data(
    own: MariaDBReplicaSet, member: str, end: str
) -> None:
    # Of this very moment: a server that writes its log once a second would lose it.
    add(own)
    own.wait_until_caught_up()
    port, before = own.port(member), count(own, member)
    getattr(own, end)(member)
    assert not own.is_running(member)
    with pytest.raises(pymysql.OperationalError):
        own.execute(member, "SELECT 1")
    getattr(own, end)(member)
    own.start(member)
    assert own.is_running(member)
    assert own.port(member) == port
    assert count(own, member) == before
    add(own)
    own.wait_until_caught_up()
    assert count(own, member) == before + 1
    assert count(own, 1) == before + 1


@needs_mariadb
def test_what_is_committed_while_a_replica_is_away_is_there_when_it_is_back(own: MariaDBReplicaSet) -> None:
    own.kill(0)
    before = count(own, "master")
    add(own)
    own.wait_until_caught_up()
    assert count(own, 1) == before + 1
    own.start(0)
    own.wait_until_caught_up()
    assert count(own, 0) == before + 1


@needs_mariadb
def test_stop_waits_for_no_session(own: MariaDBReplicaSet) -> None:
    with closing(connect(own.replica_databases[1])) as connection:
        failed: list[int] = []

        def sleep() -> None:
            with connection.cursor() as cursor:
                try:
                    cursor.execute("SELECT SLEEP(60)")
                except pymysql.OperationalError as error:
                    failed.append(error.args[0])

        sleeper = threading.Thread(target=sleep)
        sleeper.start()
        sleeping = "SELECT count(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(60)'"
        wait_for(lambda: own.execute(1, sleeping) == [(1,)], "the session to sleep", 20)
        own.stop(1)
        sleeper.join(20)
    assert failed
    own.start(1)
    own.wait_until_caught_up()


@needs_mariadb
def test_what_runs_is_not_started_again(own: MariaDBReplicaSet) -> None:
    with pytest.raises(RuntimeError, match="master runs already"):
        own.start("master")
    with pytest.raises(RuntimeError, match="This MariaDBReplicaSet runs already"):
        own.__enter__()


@needs_mariadb
def test_unknown_members_are_refused(own: MariaDBReplicaSet) -> None:
    for wrong in (2, -1, "replica", "default-0"):
        with pytest.raises(ValueError, match=r"there are master, replica-0, replica-1"):
            own.pause(wrong)


@needs_mariadb
@pytest.mark.parametrize("call", ["pause", "resume", "promote"])
def test_only_a_replica_is_paused_resumed_or_promoted(own: MariaDBReplicaSet, call: str) -> None:
    with pytest.raises(ValueError, match="master is no replica"):
        getattr(own, call)("master")


@needs_mariadb
def test_a_promoted_replica_takes_writes_and_the_rest_of_the_set_is_gone_afterwards() -> None:
    with MariaDBReplicaSet(databases=["one", "two `quoted`"]) as servers:
        servers.promote(0)
        for _ in range(2):
            # Still, after it was started again.
            servers.execute(0, "CREATE TABLE t (n int)", database="two `quoted`")
            assert servers.execute(0, "SELECT count(*) FROM t", database="two `quoted`") == [(0,)]
            servers.execute(0, "DROP TABLE t", database="two `quoted`")
            servers.kill(0)
            servers.start(0)
        # It follows nobody.
        assert servers.execute(0, "SHOW SLAVE STATUS") == []
        with pytest.raises(ValueError, match="replica-0 is no replica"):
            servers.pause(0)
        port = servers.port("master")
    assert not listens(port)
    with pytest.raises(RuntimeError, match="with block"):
        servers.port("master")


@needs_mariadb
def test_a_paused_replica_is_promoted_without_what_it_has_not_shown() -> None:
    with MariaDBReplicaSet() as servers:
        servers.execute("master", "CREATE TABLE numbers (n int)")
        servers.wait_until_caught_up()
        servers.pause(0)
        add(servers)
        servers.promote(0)
        assert (count(servers, "master"), count(servers, 0)) == (1, 0)


@needs_mariadb
def test_a_set_may_start_again_and_its_folder_may_have_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="a 'folder' ") as folder:
        # Servers that root starts run as somebody else, who has to get there.
        Path(folder).chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", folder)
        servers = MariaDBReplicaSet()
        for _ in range(2):
            with servers:
                servers.execute("master", "CREATE TABLE numbers (n int)")
                servers.wait_until_caught_up()
                assert count(servers, 0) == 0
                servers.promote(0)
            assert os.listdir(folder) == []
            assert repr(servers) == "<MariaDBReplicaSet not started>"


@needs_mariadb
def test_another_port_is_taken_where_somebody_has_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1]])
        monkeypatch.setattr(replicas, "free_port", lambda: next(ports, 0) or free_port())
        with MariaDBReplicaSet(replicas=0) as servers:
            port = servers.port("master")
            assert port != taken.getsockname()[1]
            servers.stop("master")
            # Its address is known by now, and stays.
            in_use = pytest.raises(RuntimeError, match="Address already in use")
            with socket.create_server(("127.0.0.1", port)), in_use:
                servers.start("master")
            servers.start("master")


@needs_mariadb
def test_a_server_that_does_not_start_says_why_and_leaves_nothing() -> None:
    servers = MariaDBReplicaSet(replicas=0, configuration={"no_such_variable": "1"})
    with pytest.raises(RuntimeError, match="no_such_variable"), servers:
        pass
    assert servers._folder is None


@pytest.mark.parametrize("arguments", [{"replicas": -1}, {"databases": []}, {"databases": "pindb"}])
def test_wrong_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="write"):
        MariaDBReplicaSet(**arguments)  # type: ignore[arg-type]


def programs(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)


def test_the_servers_are_found_on_the_path_and_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, system = tmp_path / "bin", tmp_path / "sbin"
    for folder in (path, system):
        folder.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setattr(mariadb, "MORE_FOLDERS", (str(system),))
    assert find_mariadb() is None
    programs(system, "mariadbd")
    assert find_mariadb() is None
    programs(path, "mariadb-install-db")
    assert find_mariadb() == (system / "mariadbd", path / "mariadb-install-db")
    programs(path, "mariadbd")
    assert find_mariadb() == (path / "mariadbd", path / "mariadb-install-db")


def test_without_the_servers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mariadb, "find_mariadb", lambda: None)
    with pytest.raises(RuntimeError, match='Install your system\'s package "mariadb-server"'):
        MariaDBReplicaSet().__enter__()


@needs_mariadb
def test_sets_at_once_do_not_meet() -> None:
    seen: list[int] = []

    def run() -> None:
        with MariaDBReplicaSet(replicas=0) as servers:
            seen.append(servers.port("master"))
            servers.execute("master", "CREATE TABLE t (n int)")

    # Enough that some start while others are being made.
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 4


# A shell starts its background jobs with SIGINT ignored, and this process may be one.
PROGRAM = """
import signal, sys, time
from pindb.testing.mariadb import MariaDBReplicaSet
signal.signal(signal.SIGINT, signal.default_int_handler)
with MariaDBReplicaSet(replicas=1) as servers:
    print(servers._folder.path, servers.port("master"), servers.port(0), flush=True)
    if sys.argv[1] == "error":
        raise SystemError("an error in the block")
    time.sleep(60)
"""


@needs_mariadb
@pytest.mark.parametrize("end", ["error", "SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_however_the_program_ends(end: str) -> None:
    assert not any(map(listens, run_to_its_end(PROGRAM, end)))
