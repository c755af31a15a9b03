"""Replicas that lag are not read, on real replicas that are paused and resumed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

import pindb
from pindb.signals import replica_down, replica_up
from pindb.testing.postgres import PostgresReplicaSet
from pindb.testing.processes import wait_for
from tests.testapp.models import Author

FIRST, SECOND = "default-0", "default-1"


@pytest.fixture(autouse=True)
def limited(servers: PostgresReplicaSet) -> Iterator[None]:
    with override_settings(PINDB_MAX_REPLICA_LAG=0.2):
        yield


def used() -> set[str]:
    """Where two units of work read."""
    found = set()
    for _ in range(2):
        with pindb.pinning_context():
            found.add(pindb.get_replica())
    return found


def read_until(wanted: set[str]) -> None:
    wait_for(lambda: used() == wanted, f"reads from {wanted}", 20)


def read_for(seconds: float) -> set[str]:
    found = set()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found |= used()
        time.sleep(0.01)
    return found


def test_a_replica_that_lags_is_passed_over_until_it_has_caught_up(
    servers: PostgresReplicaSet, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, str]] = []

    def on_down(alias: str, reason: str, **kwargs: Any) -> None:
        told.append((alias, reason))

    def on_up(alias: str, **kwargs: Any) -> None:
        told.append((alias, "up"))

    replica_down.connect(on_down)
    replica_up.connect(on_up)
    assert used() == {FIRST, SECOND}
    servers.pause(0)
    Author.objects.create(name="written")
    read_until({SECOND})
    servers.resume(0)
    read_until({FIRST, SECOND})
    assert told == [(FIRST, "replication lag"), (FIRST, "up")]
    lines = [record.getMessage() for record in caplog.records if record.name == "pindb"]
    assert (
        lines[0]
        == "replica default-0 lagging: more than 0.2 s behind its master; not read until it has caught up"
    )
    assert lines[1].startswith("replica default-0 caught up after ")


def test_the_master_serves_while_all_replicas_lag(paused: PostgresReplicaSet) -> None:
    Author.objects.create(name="written")
    read_until({"default"})


def test_replicas_of_an_idle_master_do_not_lag(servers: PostgresReplicaSet) -> None:
    # By the time of the last transaction they would.
    assert read_for(0.6) == {FIRST, SECOND}


def test_a_steady_lag_below_the_limit_is_none(servers: PostgresReplicaSet) -> None:
    with override_settings(PINDB_MAX_REPLICA_LAG=5):
        servers.set_apply_delay(0, 0.05)
        try:
            until = time.monotonic() + 0.6
            while time.monotonic() < until:
                Author.objects.create(name=str(time.monotonic()))
                assert used() == {FIRST, SECOND}
        finally:
            servers.set_apply_delay(0, 0)


def test_without_a_limit_nobody_is_asked() -> None:
    with override_settings(PINDB_MAX_REPLICA_LAG=None):
        before = pindb.stats().position_queries
        read_for(0.1)
        assert pindb.stats().position_queries == before


def test_servers_are_asked_now_and_then_only() -> None:
    with override_settings(PINDB_MAX_REPLICA_LAG=60):
        used()
        before = pindb.stats().position_queries
        read_for(0.3)
        assert pindb.stats().position_queries == before


def test_what_is_known_of_lag_stays_while_the_master_cannot_be_asked(
    servers: PostgresReplicaSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.pause(0)
    Author.objects.create(name="written")
    read_until({SECOND})
    monkeypatch.setattr("pindb.sets.lag.try_read_position", lambda alias: None)
    assert read_for(0.4) == {SECOND}


def test_a_master_that_is_away_is_mentioned_once(
    servers: PostgresReplicaSet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    used()
    master = connections["default"]
    port = master.settings_dict["PORT"]
    master.close()
    # Nobody listens there.
    master.settings_dict["PORT"] = 1
    try:
        assert read_for(0.4) <= {FIRST, SECOND}
    finally:
        master.settings_dict["PORT"] = port
        master.close()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "pindb"]
    assert line.startswith("master default position unreadable (")
    assert master.settings_dict["PASSWORD"] not in line


def test_a_new_process_believes_the_time_of_the_last_transaction(paused: PostgresReplicaSet) -> None:
    # Nothing is known of where the master was; the replica is behind, and says since when.
    Author.objects.create(name="written")
    time.sleep(0.3)
    for alias in (FIRST, SECOND):
        connections[alias].ensure_connection()
    assert used() == {"default"}
