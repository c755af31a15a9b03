"""Reads inside of transactions on the master, on paused replicas."""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Iterator

import pytest
from django.db import connections, transaction
from django.test import AsyncClient, Client, TestCase, override_settings

import pindb
from pindb.testing.postgres import PostgresReplicaSet
from tests.testapp.models import Author


@pytest.fixture(autouse=True)
def unseen(paused: PostgresReplicaSet) -> None:
    """An author whom only the master knows."""
    Author.objects.using("default").create(name="unseen")


def test_reads_in_a_transaction_on_the_master_go_there_and_pin_nothing() -> None:
    assert not Author.objects.exists()
    with transaction.atomic():
        assert Author.objects.exists()
        with transaction.atomic():
            assert Author.objects.exists()
        assert Author.objects.exists()
    assert not Author.objects.exists()
    assert pindb.get_pinned() == set()


def test_a_transaction_sees_its_own_writes_whatever_made_them() -> None:
    with transaction.atomic():
        Author.objects.using("default").create(name="mine")
        assert Author.objects.filter(name="mine").exists()


def test_a_connection_that_takes_the_place_of_another_one_counts() -> None:
    assert not Author.objects.exists()
    connections["default"].close()
    del connections["default"]
    with transaction.atomic():
        assert Author.objects.exists()


def test_a_transaction_on_another_database_changes_nothing() -> None:
    with transaction.atomic(using="api"), transaction.atomic(using="unmanaged"):
        assert not Author.objects.exists()
    with transaction.atomic(using=pindb.get_replica("default")):
        assert not Author.objects.exists()


def test_unpinned_replica_reads_replicas_in_a_transaction_too() -> None:
    with transaction.atomic(), pindb.unpinned_replica("default"):
        assert not Author.objects.exists()


@override_settings(PINDB_ATOMIC_READS_MASTER=False)
def test_the_rule_can_be_switched_off() -> None:
    with transaction.atomic():
        assert not Author.objects.exists()


def test_a_read_in_a_transaction_makes_no_later_pin_late(caplog: pytest.LogCaptureFixture) -> None:
    with transaction.atomic():
        assert Author.objects.exists()
    pindb.pin("default")
    assert caplog.records == []


def test_the_transaction_of_django_s_test_case_does_not_count() -> None:
    class Case(TestCase):
        databases = {"default", "default-0", "default-1"}

        def runTest(self) -> None:  # noqa: N802
            assert connections["default"].in_atomic_block
            assert not Author.objects.exists()
            with transaction.atomic():
                assert Author.objects.exists()

    result = unittest.TestSuite([Case()]).run(unittest.TestResult())
    assert result.testsRun == 1
    assert result.wasSuccessful(), result.errors + result.failures


@pytest.fixture
def atomic_requests() -> Iterator[None]:
    settings = connections.settings["default"]
    settings["ATOMIC_REQUESTS"] = True
    yield
    settings["ATOMIC_REQUESTS"] = False


@pytest.mark.usefixtures("atomic_requests")
class TestAtomicRequests:
    def test_the_transaction_of_the_request_does_not_count(self) -> None:
        response = Client().get("/read/").json()
        assert response["names"] == []

    def test_it_does_not_count_in_a_context_inside_the_request_either(self) -> None:
        assert Client().get("/context/").json()["names"] == []

    def test_a_transaction_inside_of_it_does(self) -> None:
        assert Client().get("/atomic/").json()["names"] == ["unseen"]

    def test_a_view_that_is_exempt_has_only_its_own(self) -> None:
        assert Client().get("/exempt/").json()["names"] == ["unseen"]

    def test_a_write_pins_as_ever(self) -> None:
        assert Client().get("/write/").json()["names"] == ["unseen", "written"]

    async def _get(self, path: str) -> list[str]:
        names: list[str] = (await AsyncClient().get(path)).json()["names"]
        return names

    def test_it_is_the_same_under_asgi(self) -> None:
        assert asyncio.run(self._get("/read/")) == []
        assert asyncio.run(self._get("/atomic/")) == ["unseen"]
        assert asyncio.run(self._get("/exempt/")) == ["unseen"]
