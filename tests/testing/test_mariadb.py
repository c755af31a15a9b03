"""MariaDBReplicaSet: what is MariaDB's own. test_replica_sets.py has the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from django.db import OperationalError
from django.db.utils import ConnectionHandler

from pindb.testing import mariadb as programs
from pindb.testing.mariadb import MariaDBReplicaSet, find_mariadb
from tests.mariadb import needs_mariadb, use_pymysql
from tests.testing.test_replica_sets import add, count

READ_ONLY = 1290


@pytest.fixture
def connections(mariadb: MariaDBReplicaSet) -> Iterator[ConnectionHandler]:
    """Django's connections to the master, as "default", and to the first replica, as "replica"."""
    use_pymysql()
    databases = {"default": mariadb.master_database, "replica": mariadb.replica_databases[0]}
    handler = ConnectionHandler(databases)
    yield handler
    handler.close_all()


@needs_mariadb
def test_members_are_a_master_and_replicas_that_follow_it_by_gtids(mariadb: MariaDBReplicaSet) -> None:
    members = mariadb.members
    assert [mariadb.execute(name, "SELECT @@global.read_only")[0][0] for name in members] == [0, 1, 1]
    assert [mariadb.execute(name, "SELECT @@global.server_id")[0][0] for name in members] == [1, 2, 3]
    using = [mariadb.execute(replica, "SHOW SLAVE STATUS") for replica in (0, 1)]
    assert all("Slave_Pos" in status[0] for status in using)
    # What one of them would be followed by, were it promoted.
    assert mariadb.execute(0, "SELECT @@global.log_bin, @@global.log_slave_updates") == [(1, 1)]


@needs_mariadb
def test_addresses_have_the_character_set_of_the_servers(mariadb: MariaDBReplicaSet) -> None:
    assert mariadb.master_database["OPTIONS"] == {"charset": "utf8mb4"}


@needs_mariadb
def test_django_reads_on_a_replica_what_it_wrote_on_the_master(
    mariadb: MariaDBReplicaSet, connections: ConnectionHandler
) -> None:
    text = "größer \N{SNOWMAN} \N{SNAKE}"
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TABLE notes (text varchar(30))")
        cursor.execute("INSERT INTO notes VALUES (%s)", [text])
        cursor.execute("SELECT @@global.gtid_current_pos")
        position = cursor.fetchone()
    mariadb.wait_until_caught_up()
    with connections["replica"].cursor() as cursor:
        cursor.execute("SELECT text FROM notes")
        assert cursor.fetchall() == ((text,),)
        cursor.execute("SELECT @@global.gtid_slave_pos")
        assert cursor.fetchone() == position
        with pytest.raises(OperationalError) as caught:
            cursor.execute("INSERT INTO notes VALUES ('here')")
    assert caught.value.args[0] == READ_ONLY
    assert connections["replica"].mysql_is_mariadb  # type: ignore[attr-defined]
    mariadb.execute("master", "DROP TABLE notes")


@needs_mariadb
def test_the_user_cannot_lift_read_only(mariadb: MariaDBReplicaSet) -> None:
    with pytest.raises(pymysql.OperationalError, match="READ_ONLY ADMIN"):
        mariadb.execute(0, "SET GLOBAL read_only = 0")


@needs_mariadb
@pytest.mark.parametrize("call", ["pause", "resume", "promote"])
def test_only_a_replica_is_paused_resumed_or_promoted(mariadb: MariaDBReplicaSet, call: str) -> None:
    with pytest.raises(ValueError, match="master is no replica"):
        getattr(mariadb, call)("master")


@needs_mariadb
def test_a_promoted_replica_follows_nobody_and_lacks_what_it_had_not_shown() -> None:
    with MariaDBReplicaSet() as servers:
        servers.execute("master", "CREATE TABLE numbers (n int)")
        servers.wait_until_caught_up()
        servers.pause(0)
        add(servers)
        servers.promote(0)
        for _ in range(2):
            assert (count(servers, "master"), count(servers, 0)) == (1, 0)
            assert servers.execute(0, "SHOW SLAVE STATUS") == []
            with pytest.raises(ValueError, match="replica-0 is no replica"):
                servers.pause(0)
            # Still, after it was started again.
            servers.kill(0)
            servers.start(0)


def make(folder: Path, *names: str) -> None:
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
    monkeypatch.setattr(programs, "MORE_FOLDERS", (str(system),))
    assert find_mariadb() is None
    make(system, "mariadbd")
    assert find_mariadb() is None
    make(path, "mariadb-install-db")
    assert find_mariadb() == (system / "mariadbd", path / "mariadb-install-db")
    make(path, "mariadbd")
    assert find_mariadb() == (path / "mariadbd", path / "mariadb-install-db")


def test_without_the_servers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_mariadb", lambda: None)
    with pytest.raises(RuntimeError, match='Install your system\'s package "mariadb-server"'):
        MariaDBReplicaSet().__enter__()
