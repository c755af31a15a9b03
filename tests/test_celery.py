"""Pins in Celery tasks, with a real worker process, on paused replicas."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chord
from celery.signals import task_postrun
from django.apps import apps
from django.db import transaction
from django.test import override_settings

import pindb
import pindb.celery
from pindb.pins.context import Pin
from pindb.testing.postgres import PostgresReplicaSet
from tests import celeryapp
from tests.celeryworker import redis_broker, result_of, running_worker
from tests.testapp.models import Author


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module of the tasks, with one worker process that runs them one after the other."""
    pindb.celery.install()
    with redis_broker() as configuration:
        celeryapp.app.conf.update(configuration)
        environment = {"PINDB_TEST_CELERY": json.dumps(configuration)}
        with running_worker("tests.celeryapp", tmp_path_factory.mktemp("celery"), environment):
            yield celeryapp


pytestmark = pytest.mark.usefixtures("paused")


def test_a_task_sent_after_a_write_reads_what_was_written(tasks: Any) -> None:
    Author.objects.create(name="mine")
    seen = result_of(tasks.read.delay())
    assert seen == {"names": ["mine"], "used": ["default"], "pinned": ["default"], "new": []}


def test_a_task_sent_by_somebody_who_did_not_write_reads_a_replica(tasks: Any) -> None:
    Author.objects.using("default").create(name="of somebody else")
    assert result_of(tasks.read.delay()) == {"names": [], "used": [], "pinned": [], "new": []}


def test_pins_of_a_task_end_with_it(tasks: Any) -> None:
    assert result_of(tasks.write.delay("by the task"))["new"] == ["default"]
    assert result_of(tasks.read.delay())["names"] == []
    with pytest.raises(ZeroDivisionError):
        result_of(tasks.fail.delay())
    assert result_of(tasks.read.delay())["pinned"] == []


def test_pins_of_a_task_travel_on_with_the_tasks_it_sends(tasks: Any) -> None:
    seen = result_of(tasks.write_then_read("by the task").delay())
    assert (seen["names"], seen["new"]) == (["by the task"], [])


def test_carried_pins_travel_on_with_what_is_left_of_their_time(tasks: Any) -> None:
    from pindb.pins.context import current

    current().carry({"default": Pin(time.time() + 9), "api": Pin(time.time() - 1)})
    assert result_of(tasks.read.delay())["pinned"] == ["default"]


def test_what_is_no_pinned_set_in_a_header_is_ignored(tasks: Any) -> None:
    for header in ("garbage", 7, {"default": 1}):
        sent = tasks.read.apply_async(headers={pindb.celery.HEADER: header})
        assert result_of(sent)["pinned"] == []


# ---- positions ---------------------------------------------------------------------------------


@override_settings(PINDB_CONSISTENCY="position")
def test_a_task_reads_the_master_until_a_replica_has_what_its_sender_wrote(
    tasks: Any, servers: PostgresReplicaSet
) -> None:
    Author.objects.create(name="mine")
    assert result_of(tasks.read.delay())["used"] == ["default"]
    servers.resume(1)
    servers.wait_until_caught_up(1)
    # The worker asks a replica that was behind only every 25 ms.
    deadline = time.monotonic() + 20
    while (seen := result_of(tasks.read.delay()))["used"] != ["default-1"]:
        assert time.monotonic() < deadline
        assert seen["used"] == ["default"]
    assert seen["names"] == ["mine"]


@override_settings(PINDB_CONSISTENCY="position")
def test_a_task_may_wait_for_a_replica(tasks: Any, servers: PostgresReplicaSet) -> None:
    Author.objects.create(name="mine")
    sent = tasks.patient_read.delay()
    servers.resume(0)
    seen = result_of(sent)
    assert (seen["names"], seen["used"]) == (["mine"], ["default-0"])


@override_settings(PINDB_CONSISTENCY="position", PINDB_POSITION_CHECK_MS=1)
def test_a_task_waits_no_longer_than_it_is_told(tasks: Any) -> None:
    Author.objects.create(name="mine")
    pindb.celery.install(wait="60ms")
    try:
        started = time.monotonic()
        assert tasks.read.apply().get()["used"] == ["default"]
        assert time.monotonic() - started >= 0.06
    finally:
        pindb.celery.install()


@override_settings(PINDB_CONSISTENCY="position")
def test_inside_a_transaction_a_task_is_sent_with_a_pin_that_goes_by_time(tasks: Any) -> None:
    with transaction.atomic():
        Author.objects.create(name="mine")
        seen = tasks.read.delay()
    assert result_of(seen)["pinned"] == ["default"]


@pytest.mark.parametrize("wait", ["soon", "200", "-1s", -1, 4000, True, [], "1m"])
def test_a_wait_that_is_no_time_is_an_error(wait: Any) -> None:
    with pytest.raises(pindb.PinDbConfigError, match="'200ms'"):
        pindb.celery.install(wait=wait)


@pytest.mark.parametrize("options", [{"wait": "soon"}, {"patience": 1}])
def test_options_that_are_none_are_an_error_when_the_site_starts(options: dict[str, Any]) -> None:
    with override_settings(PINDB_CELERY=options), pytest.raises(pindb.PinDbConfigError, match="200ms"):
        apps.get_app_config("pindb").ready()


@override_settings(PINDB_ENABLED=False)
def test_disabled_nothing_is_sent_along(tasks: Any) -> None:
    Author.objects.create(name="mine")
    assert result_of(tasks.read.delay())["pinned"] == []


def test_an_eager_task_has_the_pins_of_its_caller_and_leaves_it_its_own(tasks: Any) -> None:
    pindb.pin("api")
    Author.objects.create(name="mine")
    seen = tasks.read.apply().get()
    assert (seen["names"], seen["pinned"], seen["new"]) == (["mine"], ["api", "default"], [])
    pindb.unpin_all()
    assert tasks.write.apply(("eager",)).get()["new"] == ["default"]
    assert pindb.get_pinned() == set()


@override_settings(DATABASE_ROUTERS=["pindb.StrictPinDbRouter"])
def test_under_strict_a_pin_that_came_with_a_task_allows_no_writes(tasks: Any) -> None:
    pindb.pin("default")
    assert tasks.read.apply().get()["pinned"] == ["default"]
    with pytest.raises(pindb.UnpinnedWriteException):
        tasks.write.apply(("eager",), throw=True)
    with pindb.master("default"):
        Author.objects.create(name="by the caller")


@pytest.mark.parametrize("consistency", ["time", "position"])
def test_eager_tasks_of_a_chain_or_a_chord_read_what_those_before_them_wrote(
    tasks: Any, consistency: str
) -> None:
    with override_settings(PINDB_CONSISTENCY=consistency):
        assert tasks.write_then_read("a").apply().get()["names"] == ["a"]
        header = [tasks.write.si("b"), tasks.read.si()]
        assert chord(header, tasks.read.si()).apply().get()["names"] == ["a", "b"]
        assert pindb.get_pinned() == set()
        assert list(Author.objects.all()) == []
        pindb.unpin_all()
        assert tasks.read.apply().get()["pinned"] == []


def test_ending_the_context_by_hand_as_the_original_had_it_works_too(tasks: Any) -> None:
    task_postrun.connect(pindb.unpin_all)
    try:
        assert tasks.write.apply(("eager",)).get()["new"] == ["default"]
        pindb.pin("default")
        task_postrun.send(sender=None, task=tasks.read)
        assert pindb.get_pinned() == set()
    finally:
        task_postrun.disconnect(pindb.unpin_all)


def test_the_setting_installs_the_hooks_when_the_site_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[bool] = []
    monkeypatch.setattr(pindb.celery, "install", lambda: installed.append(True))
    apps.get_app_config("pindb").ready()
    assert installed == []
    with override_settings(PINDB_CELERY=True):
        apps.get_app_config("pindb").ready()
    assert installed == [True]


@override_settings(PINDB_CELERY=True)
def test_the_setting_without_celery_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pindb.celery", None)
    monkeypatch.delattr(pindb, "celery")
    with pytest.raises(pindb.PinDbConfigError, match="django-pindb\\[celery\\]"):
        apps.get_app_config("pindb").ready()
