"""Signals, and the counters of pindb.stats(), on real replicas."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

import pindb
from pindb.signals import pinned, unpinned
from pindb.testing.postgres import PostgresReplicaSet
from tests.testapp.models import Author

MASTER, FIRST, SECOND = "default", "default-0", "default-1"


pytestmark = pytest.mark.usefixtures("by_position")


def test_signals_tell_of_pins_that_are_set_and_dropped() -> None:
    told: list[tuple[str, str]] = []

    def on_pinned(alias: str, **kwargs: Any) -> None:
        told.append(("pinned", alias))

    def on_unpinned(alias: str, **kwargs: Any) -> None:
        told.append(("unpinned", alias))

    pinned.connect(on_pinned)
    unpinned.connect(on_unpinned)
    writer = Client()
    writer.get("/write/")
    pindb.wait_for_replicas()
    for _ in range(3):
        writer.get("/read/")
    assert told == [("pinned", MASTER), ("unpinned", MASTER)]


def test_a_receiver_that_fails_does_no_harm() -> None:
    def fail(**kwargs: Any) -> None:
        raise RuntimeError("a receiver that fails")

    pinned.connect(fail)
    assert Client().get("/write/").status_code == 200
    pinned.disconnect(fail)


def reads_since(before: pindb.Stats) -> dict[tuple[str, str], int]:
    after = pindb.stats().reads
    return {
        (alias, reason): count - before.reads.get(alias, {}).get(reason, 0)
        for alias, reasons in after.items()
        for reason, count in reasons.items()
        if count != before.reads.get(alias, {}).get(reason, 0)
    }


def test_reads_are_counted_by_alias_and_reason(paused: PostgresReplicaSet) -> None:
    writer = Client()
    before = pindb.stats()
    writer.get("/read/")
    ((alias, reason),) = reads_since(before)
    assert alias in (FIRST, SECOND)
    assert reason == "replica"

    writer.get("/write/")
    before = pindb.stats()
    writer.get("/read/")
    assert reads_since(before) == {(MASTER, "pinned"): 1}

    paused.resume(1)
    paused.wait_until_caught_up(1)
    before = pindb.stats()
    writer.get("/read/")
    counted = reads_since(before)
    assert counted == {(SECOND, "caught_up"): 1}

    before = pindb.stats()
    Client().get("/atomic/")
    list(Author.objects.using(MASTER))
    assert reads_since(before) == {(MASTER, "transaction"): 1, (MASTER, "direct"): 1}


def test_pins_are_counted_when_they_are_set() -> None:
    before = pindb.stats().pins_set
    Client().get("/write/")
    assert pindb.stats().pins_set == before + 1
