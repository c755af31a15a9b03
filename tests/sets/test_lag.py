"""Replicas that lag are passed over; how often each replica's turn comes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

import pindb
from pindb.routing.rotation import spread
from pindb.signals import replica_down, replica_up
from pindb.testing.postgres import PostgresReplicaSet
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
    deadline = time.monotonic() + 20
    while used() != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.01)


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


# ---- weights -----------------------------------------------------------------------------------


def weighted(*weights: int) -> list[dict[str, Any]]:
    return [{"WEIGHT": weight} for weight in weights]


def with_weights(*weights: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return override_settings(
        DATABASE_SETS={"default": weighted(*weights), "api": [{}]}, PINDB_MAX_REPLICA_LAG=None
    )


@with_weights(3, 1)
def test_a_replica_is_read_as_often_as_its_weight_says() -> None:
    found: Counter[str] = Counter()
    for _ in range(40):
        with pindb.pinning_context():
            found[pindb.get_replica()] += 1
    assert found == {FIRST: 30, SECOND: 10}


@override_settings(
    MASTER_DATABASES={"default": {}},
    DATABASE_SETS={"default": [{}, {}, {}, {}]},
    PINDB_MAX_REPLICA_LAG=None,
    PINDB_REPLICA_DOWNTIME=600,
)
def test_the_turns_of_a_replica_that_is_down_are_shared_by_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Which servers are up is made up: there are two only.
    monkeypatch.setattr("pindb.routing.selection.get_connection", lambda alias: None)
    monkeypatch.setattr("pindb.routing.selection.is_up", lambda server, connection: server.alias != FIRST)
    found: Counter[str] = Counter()
    for _ in range(60):
        with pindb.pinning_context():
            found[pindb.get_replica()] += 1
    assert found == {SECOND: 20, "default-2": 20, "default-3": 20}


def test_weights_do_not_get_into_the_databases() -> None:
    databases = pindb.populate_replicas({"default": {"NAME": "x"}}, {"default": weighted(3, 1)})
    assert all("WEIGHT" not in database for database in databases.values())


@pytest.mark.parametrize("weight", [0, -1, 101, 1.5, "2", True, None])
def test_a_weight_that_is_none_is_an_error(weight: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"DATABASE_SETS\['default'\]\[0\]\['WEIGHT'\] is"):
        pindb.populate_replicas({"default": {}}, {"default": [{"WEIGHT": weight}]})


def test_a_master_has_no_weight() -> None:
    with pytest.raises(ImproperlyConfigured, match="a replica's share of the reads"):
        pindb.populate_replicas({"default": {"WEIGHT": 2}}, {"default": [{}]})


@given(st.lists(st.integers(1, 100), min_size=1, max_size=6))
def test_turns_are_spread_evenly(weights: list[int]) -> None:
    names = {str(index): weight for index, weight in enumerate(weights)}
    order = spread(names)
    assert Counter(order) == names
    # At any time each has had its share, give or take less than one turn for each of the others.
    seen: Counter[str] = Counter()
    for turn, name in enumerate(order, 1):
        seen[name] += 1
        for other, weight in names.items():
            assert abs(seen[other] - turn * weight / len(order)) < max(1, len(names) - 1)
