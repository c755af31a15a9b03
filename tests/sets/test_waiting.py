"""wait_for_replicas and current_position, on real replicas that are paused and resumed."""

from __future__ import annotations

import pytest
from django.db import connections

import pindb
from pindb.exceptions import ReplicasBehind
from pindb.testing.postgres import PostgresReplicaSet
from tests.testapp.models import Author

FIRST, SECOND = "default-0", "default-1"


@pytest.fixture(autouse=True)
def running(servers: PostgresReplicaSet) -> None:
    """The servers, whatever a test has done to them before."""


def test_waiting_ends_when_all_replicas_have_what_was_written() -> None:
    for number in range(20):
        Author.objects.create(name=str(number))
        pindb.wait_for_replicas()
        for replica in (FIRST, SECOND):
            assert Author.objects.using(replica).count() == number + 1


def test_waiting_for_a_position_that_is_reached_takes_no_time(paused: PostgresReplicaSet) -> None:
    with connections[FIRST].cursor() as cursor:
        cursor.execute("SELECT pg_last_wal_replay_lsn()::text")
        (lsn,) = cursor.fetchone()
    Author.objects.create(name="written")
    timeline = pindb.current_position().partition(":")[0]
    pindb.wait_for_replicas(timeout=0, position=f"{timeline}:{lsn}")


def test_waiting_names_the_replicas_that_are_behind(paused: PostgresReplicaSet) -> None:
    Author.objects.create(name="written")
    paused.resume(0)
    paused.wait_until_caught_up(0)
    with pytest.raises(ReplicasBehind) as caught:
        pindb.wait_for_replicas("default", timeout=0.02)
    assert "'default-1' is at" in str(caught.value)
    assert "'default-0'" not in str(caught.value)
    assert isinstance(caught.value, TimeoutError)


def test_waiting_takes_the_alias_of_a_master_only() -> None:
    for call in (pindb.wait_for_replicas, pindb.current_position):
        with pytest.raises(pindb.PinDbConfigError, match="alias of a replica"):
            call("default-0")
        with pytest.raises(pindb.PinDbConfigError, match="not a master"):
            call("unmanaged")
