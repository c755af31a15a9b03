"""Pins in tasks of Django's own framework, with a real worker, on paused replicas."""

from __future__ import annotations

import signal
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.core.management import call_command
from django.db import transaction
from django.db.models import F
from django.test import override_settings
from django_tasks_db.models import DBTaskResult

import pindb
import pindb.tasks
from pindb.pins.context import get_context
from pindb.testing.postgres import PostgresReplicaSet
from tests import taskapp
from tests.processes import output_of
from tests.testapp.models import Author

BY_POSITION = override_settings(PINDB_CONSISTENCY="position")
STRICT = override_settings(DATABASE_ROUTERS=["pindb.StrictPinDbRouter"])


pytestmark = pytest.mark.usefixtures("paused")


def work(*sent: Any) -> list[Any]:
    """Run the worker until there is nothing to do; what the tasks returned, or the exceptions they raised."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in signals]
    try:
        with pindb.pinning_context():
            call_command("db_worker", batch=True, startup_delay=False, reload=False, verbosity=0)
            assert pindb.get_pinned() == set()
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
    return results(*sent)


def results(*sent: Any) -> list[Any]:
    rows = [DBTaskResult.objects.get(id=one.id) for one in sent]
    return [row.exception_class_path or row.return_value for row in rows]


def send_long_ago(task: Any, *args: Any) -> Any:
    """Send a task that then waits in the queue for longer than pins last."""
    sent = task.enqueue(*args)
    DBTaskResult.objects.filter(id=sent.id).update(enqueued_at=F("enqueued_at") - timedelta(seconds=16))
    return sent


@pytest.mark.parametrize(
    ("router", "consistency"), [("GreedyPinDbRouter", "time"), ("StrictPinDbRouter", "position")]
)
def test_the_worker_runs_and_a_task_reads_what_its_sender_wrote(router: str, consistency: str) -> None:
    Author.objects.create(name="mine")
    sent = [taskapp.read.enqueue(), taskapp.write.enqueue("by the task"), taskapp.read.enqueue()]
    environment = {"PINDB_TEST_ROUTER": f"pindb.{router}", "PINDB_TEST_CONSISTENCY": consistency}
    output_of("-m", "django", "db_worker", "--batch", "--no-startup-delay", timeout=60, **environment)
    first, second, third = results(*sent)
    assert first == {"names": ["mine"], "used": ["default"], "pinned": ["api", "default"], "new": []}
    assert (second["names"], second["new"]) == (["by the task", "mine"], ["default"])
    assert (third["names"], third["new"]) == (["by the task", "mine"], [])


@pytest.mark.parametrize("router", ["pindb.GreedyPinDbRouter", "pindb.StrictPinDbRouter"])
def test_sending_a_task_pins_nothing_and_its_result_is_read_where_it_was_written(router: str) -> None:
    with override_settings(DATABASE_ROUTERS=[router]):
        sent = taskapp.read.enqueue()
        assert DBTaskResult.objects.get(id=sent.id)._state.db == "default"
        assert DBTaskResult.objects.all().db == "default"
        DBTaskResult.objects.all().delete()
        assert pindb.get_pinned() == set()


def test_results_of_tasks_are_pruned_under_strict() -> None:
    taskapp.read.enqueue()
    work()
    with STRICT:
        call_command("prune_db_task_results", min_age_days=0, verbosity=0)
    assert not DBTaskResult.objects.exists()


@BY_POSITION
def test_a_task_reads_a_replica_that_has_all_that_was_committed_before_it_started(
    servers: PostgresReplicaSet,
) -> None:
    Author.objects.create(name="mine")
    sent = send_long_ago(taskapp.read)
    servers.resume(1)
    servers.wait_until_caught_up(1)
    (seen,) = work(sent)
    assert (seen["names"], seen["used"]) == (["mine"], ["default-1"])


@BY_POSITION
def test_with_positions_a_task_reads_what_its_sender_wrote_however_long_it_waited() -> None:
    Author.objects.create(name="mine")
    (seen,) = work(send_long_ago(taskapp.read))
    assert (seen["names"], seen["used"]) == (["mine"], ["default"])


def test_by_time_a_task_reads_replicas_if_it_waited_longer_than_pins_last() -> None:
    Author.objects.create(name="mine")
    assert work(send_long_ago(taskapp.read)) == [{"names": [], "used": [], "pinned": [], "new": []}]


@BY_POSITION
def test_a_task_may_wait_for_a_replica(servers: PostgresReplicaSet) -> None:
    Author.objects.create(name="mine")
    sent = taskapp.read.enqueue()
    pindb.tasks.install(wait="20s")
    try:
        servers.resume(0)
        (seen,) = work(sent)
    finally:
        pindb.tasks.install()
    assert (seen["names"], seen["used"]) == (["mine"], ["default-0"])


def test_pins_of_a_task_end_with_it() -> None:
    written, failed, seen = work(
        send_long_ago(taskapp.write, "a"), send_long_ago(taskapp.fail), send_long_ago(taskapp.read)
    )
    assert (written["new"], failed) == (["default"], "builtins.ZeroDivisionError")
    assert seen == {"names": [], "used": [], "pinned": [], "new": []}


@override_settings(PINDB_ENABLED=False)
def test_disabled_no_task_is_pinned() -> None:
    (seen,) = work(taskapp.read.enqueue())
    assert seen["pinned"] == []


def test_a_task_sent_in_a_transaction_starts_after_the_commit() -> None:
    with transaction.atomic():
        Author.objects.create(name="mine")
        sent = taskapp.read.enqueue()
    assert work(sent)[0]["names"] == ["mine"]


# ---- tasks that run at once --------------------------------------------------------------------


@pytest.mark.parametrize("consistency", ["time", "position"])
def test_a_task_that_runs_at_once_leaves_the_pins_of_its_sender_alone(consistency: str) -> None:
    with override_settings(PINDB_CONSISTENCY=consistency):
        before = get_context()
        seen = taskapp.write.using(backend="immediate").enqueue("by the task").return_value
        assert (seen["names"], seen["new"]) == (["by the task"], ["default"])
        assert get_context() is before
        assert (pindb.get_pinned(), list(Author.objects.all())) == (set(), [])
        # What the task wrote is committed: as with a worker, the next task reads it.
        assert taskapp.read.using(backend="immediate").enqueue().return_value["names"] == ["by the task"]
        taskapp.fail.using(backend="immediate").enqueue()
        assert pindb.get_pinned() == set()


def test_tasks_that_run_inside_each_other_have_their_own_pins() -> None:
    seen = taskapp.send_write.using(backend="immediate").enqueue("by the inner task").return_value
    assert seen["new"] == []


def test_an_async_task_reads_what_its_sender_wrote() -> None:
    Author.objects.create(name="mine")
    before = get_context()
    sent = async_to_sync(taskapp.aread.using(backend="immediate").aenqueue)()
    assert sent.return_value["names"] == ["mine"]
    assert get_context() is before


def test_a_block_that_a_task_leaves_open_does_not_outlive_it() -> None:
    before = get_context()
    taskapp.leave_block_open.using(backend="immediate").enqueue()
    assert get_context() is before
    taskapp.left_open.pop().close()


# ---- the setting -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"wait": "soon"}, {"patience": 1}])
def test_options_that_are_none_are_an_error_when_the_site_starts(options: dict[str, Any]) -> None:
    with override_settings(PINDB_TASKS=options), pytest.raises(pindb.PinDbConfigError, match="200ms"):
        apps.get_app_config("pindb").ready()


def test_off_tasks_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[bool] = []
    monkeypatch.setattr(pindb.tasks, "install", lambda: installed.append(True))
    with override_settings(PINDB_TASKS=False):
        apps.get_app_config("pindb").ready()
    assert installed == []
    apps.get_app_config("pindb").ready()
    assert installed == [True]
