"""Position backends of a site, and databases without positions, whose pins go by time."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.test import Client, override_settings

import pindb
from pindb.exceptions import PositionUnavailable
from pindb.pins.tokens import load_pins
from pindb.positions import BasePositions
from pindb.sets.positions import BACKENDS

COOKIE = "pindb_pinned_set"
MASTER, FIRST, SECOND = "default", "default-0", "default-1"


pytestmark = pytest.mark.usefixtures("by_position")


def used(client: Client) -> str:
    """Where a client reads."""
    (alias,) = client.get("/read/").json()["used"]
    return str(alias)


class OwnPositions(BasePositions):
    """A master and replicas that say what the test wants."""

    master = "5"
    replica = "4"

    def current(self, connection: Any) -> str:
        return self.master

    def replayed(self, connection: Any) -> str:
        return self.replica

    def has_reached(self, replayed: str, position: str) -> bool:
        return int(replayed) >= int(position)


def test_a_site_registers_positions_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with override_settings(PINDB_POSITIONS={"postgresql": f"{__name__}.OwnPositions"}):
        writer = Client()
        writer.get("/write/")
        pindb_position = load_pins(writer.cookies[COOKIE].value, time.time())[MASTER].position
        assert (pindb.current_position(), pindb_position) == ("5", "5")
        assert used(writer) == MASTER
        monkeypatch.setattr(OwnPositions, "replica", "5")
        assert used(writer) in (FIRST, SECOND)


class Missing(BasePositions):
    def current(self, connection: Any) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT this_function_is_missing()")
        return ""


class Off(BasePositions):
    def current(self, connection: Any) -> str:
        return ""


class Long(BasePositions):
    def current(self, connection: Any) -> str:
        return "x" * 1001


@pytest.mark.parametrize("entry", [Missing, Off, Long])
def test_a_server_without_positions_is_pinned_by_time_and_that_is_logged_once(
    entry: type[BasePositions], caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(PINDB_POSITIONS={"postgresql": entry}):
        client = Client()
        client.get("/write/")
        client.get("/write/?name=again")
        pin = load_pins(client.cookies[COOKIE].value, time.time())[MASTER]
        assert pin.position is None
        assert pin.until == pytest.approx(time.time() + 15, abs=5)
        assert used(client) == MASTER
    assert len([record for record in caplog.records if record.name == "pindb"]) == 1


def test_an_unknown_kind_of_database_is_pinned_by_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(BACKENDS, "postgresql")
    with override_settings(PINDB_POSITIONS={}):
        client = Client()
        client.get("/write/")
        client.get("/write/?name=again")
        assert load_pins(client.cookies[COOKIE].value, time.time())[MASTER].position is None
        with pytest.raises(PositionUnavailable, match="PINDB_POSITIONS"):
            pindb.current_position()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "pindb"]
    assert "vendor 'postgresql', for which there is no position backend" in line
