"""The rotation: how often each replica is read, by its weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

import pindb
from pindb.routing.rotation import spread
from pindb.testing.postgres import PostgresReplicaSet

FIRST, SECOND = "default-0", "default-1"


@pytest.fixture(autouse=True)
def running(servers: PostgresReplicaSet) -> None:
    """The servers, whatever a test has done to them before."""


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
