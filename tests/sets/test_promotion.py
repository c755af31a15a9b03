"""The promotion of a replica: state of the old master does no harm to the new one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

import pindb
from pindb.pins.context import Pin, current
from pindb.pins.propagation import export_pins
from pindb.positions import PostgreSQLPositions
from pindb.testing.postgres import PostgresReplicaSet
from tests.conftest import databases_restored
from tests.testapp.models import Author

MASTER, FIRST, SECOND = ALIASES = ("default", "default-0", "default-1")


def move(alias: str, servers: PostgresReplicaSet, member: str | int) -> None:
    """Let an alias lead to another server, as when an address moves."""
    connections[alias].close()
    connections[alias].settings_dict.update(servers.database(member))


@pytest.fixture
def other() -> Iterator[PostgresReplicaSet]:
    """Servers of this test's own, which all aliases of the default set lead to."""
    settings = {"PINDB_CONSISTENCY": "position", "PINDB_POSITION_CHECK_MS": 0, "PINDB_REPLICA_DOWNTIME": 0.05}
    with (
        databases_restored(ALIASES),
        override_settings(**settings),
        PostgresReplicaSet(replicas=2) as servers,
    ):
        for alias, member in zip(ALIASES, servers.members, strict=True):
            move(alias, servers, member)
        call_command("migrate", database=MASTER, run_syncdb=True, verbosity=0)
        servers.wait_until_caught_up()
        yield servers
        for alias in ALIASES:
            connections[alias].close()


def follow(servers: PostgresReplicaSet, replica: int, master: int) -> None:
    """Let a replica replicate from another server from now on."""
    ((address,),) = servers.execute(replica, "SELECT current_setting('primary_conninfo')")
    ports = str(servers.port("master")), str(servers.port(master))
    quoted = address.replace(*ports).replace("'", "''")
    servers.execute(replica, f"ALTER SYSTEM SET primary_conninfo = '{quoted}'")
    servers.execute(replica, "SELECT pg_reload_conf()")


def write(name: str) -> dict[str, Pin]:
    """The pins of whoever has written."""
    with pindb.pinning_context():
        Author.objects.create(name=name)
        return export_pins(current())


def read(pins: dict[str, Pin]) -> tuple[set[str], str]:
    """What somebody with these pins reads, and where."""
    with pindb.pinning_context():
        current().carry(pins)
        authors = list(Author.objects.all())
        (used,) = {author._state.db or "" for author in authors}
        return {author.name for author in authors}, used


def read_until(pins: dict[str, Pin], alias: str) -> set[str]:
    deadline = time.monotonic() + 30
    while True:
        names, used = read(pins)
        if used == alias:
            return names
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_every_kind_of_server_says_where_it_is(other: PostgresReplicaSet) -> None:
    positions = PostgreSQLPositions()
    master, standby, promoted = (connections[alias] for alias in ALIASES)
    other.promote(1)
    on_standby = positions.replayed(standby)
    assert on_standby == positions.current(standby)
    assert on_standby.startswith("1:")
    on_promoted = positions.replayed(promoted)
    assert on_promoted.startswith("2:")
    assert on_promoted == f"{positions.current(promoted)}!"

    write("written")
    other.wait_until_caught_up(0)
    written = positions.current(master)
    assert not positions.has_reached(on_standby, written)
    assert positions.has_reached(positions.replayed(standby), written)
    assert not positions.has_reached(positions.replayed(promoted), written)
    assert positions.has_reached(positions.replayed(promoted), positions.current(promoted))
    assert positions.incarnation(standby) == positions.incarnation(standby)
    assert positions.incarnation(standby) != positions.incarnation(promoted)
    age = positions.replay_age(standby)
    assert age is not None
    assert 0 <= age < 60


def test_positions_of_the_old_timeline_do_not_poison_the_new_one(other: PostgresReplicaSet) -> None:
    old = write("old")
    other.wait_until_caught_up()
    assert {read(old)[1] for _ in range(4)} == {FIRST, SECOND}

    # Replica 0 misses what the master writes last, and replica 1 has it.
    other.stop(0)
    lost = write("lost")
    for number in range(200):
        Author.objects.using(MASTER).create(name=str(number))
    other.wait_until_caught_up(1)
    ahead = read_until(lost, SECOND)
    assert "lost" in ahead
    other.kill("master")
    other.start(0)
    other.promote(0)
    move(MASTER, other, 0)

    # Replica 1 is on the old timeline, and further by its numbers.
    new = write("new")
    assert str(new[MASTER].position).startswith("2:")
    for _ in range(4):
        names, used = read(new)
        assert names == {"old", "new"}
        # The alias of replica 0 leads to the new master too.
        assert used in (MASTER, FIRST)
    # What the old master lost is where it was before, as long as replica 1 is there.
    assert "lost" in read_until(lost, SECOND)


def test_a_replica_that_follows_the_new_master_is_read_when_it_has_caught_up(
    other: PostgresReplicaSet,
) -> None:
    old = write("old")
    other.wait_until_caught_up()
    assert {read(old)[1] for _ in range(4)} == {FIRST, SECOND}
    other.kill("master")
    other.promote(0)
    follow(other, replica=1, master=0)
    move(MASTER, other, 0)
    move(FIRST, other, 1)

    new = write("new")
    assert read_until(new, FIRST) == {"old", "new"}
    assert read_until(old, FIRST) == {"old", "new"}
    other.pause(1)
    newer = write("newer")
    for _ in range(4):
        assert read(newer) == ({"old", "new", "newer"}, MASTER)
    other.resume(1)
    assert read_until(newer, FIRST) == {"old", "new", "newer"}


def test_a_replica_that_was_promoted_is_no_replica_any_more(other: PostgresReplicaSet) -> None:
    old = write("old")
    other.wait_until_caught_up()
    other.kill("master")
    other.promote(0)
    # Nobody has told the settings: it is not what it was, and the other replica still is.
    for _ in range(4):
        assert read(old) == ({"old"}, SECOND)
