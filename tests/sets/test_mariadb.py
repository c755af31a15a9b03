"""Pins with positions, and replicas that fail, on a real MariaDB master with replicas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.test import override_settings

import pindb
from pindb.exceptions import ReplicasBehind
from pindb.pins.context import Pin, current
from pindb.pins.propagation import export_pins
from pindb.positions import MariaDBPositions
from pindb.testing.mariadb import MariaDBReplicaSet
from pindb.testing.processes import wait_for
from tests.conftest import resume_all, start_all
from tests.mariadb import needs_mariadb, use_pymysql
from tests.testapp.models import Author

pytestmark = needs_mariadb

MASTER, FIRST, SECOND = ALIASES = ("maria", "maria-0", "maria-1")
REPLICAS = (FIRST, SECOND)


class OnMariaDB:
    """A delegate router that sends everything to MariaDB."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return MASTER

    db_for_write = db_for_read


@pytest.fixture(scope="module")
def set_of_servers() -> Iterator[MariaDBReplicaSet]:
    use_pymysql()
    with MariaDBReplicaSet(replicas=2) as servers:
        databases = pindb.populate_replicas(
            {MASTER: servers.master_database}, {MASTER: servers.replica_databases}, unmanaged_default=True
        )
        configured = connections.configure_settings({"default": {}, **databases})
        known: Any = connections.settings
        known.update({alias: configured[alias] for alias in ALIASES})
        with connections[MASTER].schema_editor() as editor:
            editor.create_model(Author)
        servers.wait_until_caught_up()
        yield servers
        for alias in ALIASES:
            connections[alias].close()
            del connections[alias]
            del known[alias]


@pytest.fixture
def maria(set_of_servers: MariaDBReplicaSet) -> Iterator[MariaDBReplicaSet]:
    with override_settings(
        MASTER_DATABASES={MASTER: {}},
        DATABASE_SETS={MASTER: [{}, {}]},
        PINDB_DELEGATE_ROUTERS=[OnMariaDB()],
        PINDB_CONSISTENCY="position",
        PINDB_POSITION_CHECK_MS=0,
        PINDB_REPLICA_DOWNTIME=600,
    ):
        yield set_of_servers
        for alias in ALIASES:
            connections[alias].close()
    start_all(set_of_servers)
    set_of_servers.execute("master", "DELETE FROM testapp_author")
    resume_all(set_of_servers)


def write(name: str) -> dict[str, Pin]:
    """The pins of whoever has written."""
    with pindb.pinning_context():
        Author.objects.create(name=name)
        return export_pins(current())


def read(pins: dict[str, Pin] | None = None) -> tuple[list[str], str]:
    """What somebody with these pins reads, and where."""
    with pindb.pinning_context():
        current().carry(pins or {})
        authors = list(Author.objects.all())
        return [author.name for author in authors], current().routes[MASTER]


def test_a_writer_reads_the_master_until_a_replica_has_what_it_wrote(maria: MariaDBReplicaSet) -> None:
    for replica in (0, 1):
        maria.pause(replica)
    pins = write("written")
    assert pins[MASTER].position == pindb.current_position(MASTER)
    assert read(pins) == (["written"], MASTER)
    assert read()[0] == []
    maria.resume(1)
    maria.wait_until_caught_up(1)
    for _ in range(4):
        assert read(pins) == (["written"], SECOND)
    resume_all(maria)
    assert {read(pins)[1] for _ in range(4)} == {FIRST, SECOND}
    dropped = pindb.stats().pins_dropped
    read(pins)
    assert pindb.stats().pins_dropped == dropped + 1


def test_replicas_are_waited_for(maria: MariaDBReplicaSet) -> None:
    maria.pause(0)
    write("written")
    with pytest.raises(ReplicasBehind, match="'maria-0' is at"):
        pindb.wait_for_replicas(MASTER, timeout=0.05)
    maria.resume(0)
    pindb.wait_for_replicas(MASTER)
    assert [read()[0] for _ in range(2)] == [["written"]] * 2


def test_a_query_whose_replica_is_killed_gets_its_rows_elsewhere(maria: MariaDBReplicaSet) -> None:
    write("written")
    pindb.wait_for_replicas(MASTER)
    for _ in range(2):
        read()
    replica = pindb.get_replica(MASTER)
    maria.kill(REPLICAS.index(replica))
    before = pindb.stats().failovers
    other = REPLICAS[1 - REPLICAS.index(replica)]
    assert Author.objects.get().name == "written"
    assert current().routes[MASTER] == other
    assert pindb.stats().failovers == before + 1
    assert [read() for _ in range(4)] == [(["written"], other)] * 4


def test_a_connection_that_is_killed_breaks_nothing(maria: MariaDBReplicaSet) -> None:
    write("written")
    pindb.wait_for_replicas(MASTER)
    replica = pindb.get_replica(MASTER)
    with connections[replica].cursor() as cursor:
        cursor.execute("SELECT connection_id()")
        (number,) = cursor.fetchone()
    maria.execute(REPLICAS.index(replica), f"KILL {number}")
    assert Author.objects.get().name == "written"


def test_an_interrupted_query_is_an_error_and_its_replica_stays_in_use(maria: MariaDBReplicaSet) -> None:
    replica = pindb.get_replica(MASTER)
    with connections[replica].cursor() as cursor:
        with pytest.raises(OperationalError):
            cursor.execute("SET STATEMENT max_statement_time=0.05 FOR SELECT sleep(9)")
        cursor.execute("SELECT 1")
    assert {read()[1] for _ in range(4)} == {FIRST, SECOND}


def test_replicas_that_lag_are_passed_over(maria: MariaDBReplicaSet) -> None:
    with override_settings(PINDB_MAX_REPLICA_LAG=0.2):
        assert {read()[1] for _ in range(2)} == {FIRST, SECOND}
        maria.pause(0)
        write("written")
        wait_for(lambda: {read()[1] for _ in range(2)} == {SECOND}, "the first to be passed over", 20)


def test_positions_of_the_old_master_do_not_poison_the_new_one() -> None:
    has_reached = MariaDBPositions().has_reached

    def write_on(member: str | int, times: int) -> str:
        for _ in range(times):
            servers.execute(member, "INSERT INTO numbers VALUES (1)", database="pindb")
        position: str = servers.execute(member, "SELECT @@global.gtid_current_pos")[0][0]
        return position

    with MariaDBReplicaSet(replicas=1) as servers:
        servers.execute("master", "CREATE TABLE numbers (number int)", database="pindb")
        servers.wait_until_caught_up()
        servers.promote(0)
        new = write_on(0, times=3)
        # The old master goes on by itself, and gets to higher numbers.
        lost = write_on("master", times=9)
    assert has_reached(new, new)
    assert not has_reached(lost, new)
    assert not has_reached(new, lost)
