"""Pins in chords, chains and groups of Celery tasks, with real workers, on paused replicas."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from django.test import override_settings

import pindb
import pindb.celery
from pindb.conf import conf
from pindb.testing.postgres import PostgresReplicaSet
from pindb.testing.processes import wait_for
from tests.celerychords import ENVIRONMENT, make_app
from tests.celeryworker import redis_broker, result_of, running_worker
from tests.testapp.models import Author

PINNED = {"names": ["mine"], "used": ["default"], "pinned": ["api", "default"], "new": []}


@pytest.fixture(scope="module", params=["redis"])
def tasks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The tasks, with one worker process that runs them one after the other."""
    pindb.celery.install()
    folder = tmp_path_factory.mktemp("celery")
    consistency = "position" if request.param == "redis" else "time"
    with redis_broker() as configuration, override_settings(PINDB_CONSISTENCY=consistency):
        if request.param == "files":
            configuration |= {"result_backend": f"file://{folder}", "result_chord_retry_interval": 0.05}
        environment = {ENVIRONMENT: json.dumps(configuration), "PINDB_TEST_CONSISTENCY": consistency}
        with running_worker("tests.celerychords", folder, environment):
            tasks = make_app(configuration)
            client = getattr(tasks.app.backend, "client", None)
            yield tasks
            tasks.app.close()
            # It keeps results that nobody waited for, which talk to Redis once more when they are dropped.
            vars(tasks).clear()
            gc.collect()
            if client is not None:
                client.connection_pool.disconnect()


# With Redis the task that ends last sends what follows a chord, with files the task celery.chord_unlock.
EITHER = pytest.mark.parametrize("tasks", ["redis", "files"], indirect=True)


pytestmark = pytest.mark.usefixtures("paused")


def noted(path: Path) -> Any:
    wait_for(path.exists, "the note", 20)
    return json.loads(path.read_text())


# ---- what follows a chord ----------------------------------------------------------------------

CALLBACKS = {
    "a task": lambda t: t.read.s(),
    "a chain": lambda t: chain(t.noop.s(), t.read.s()),
    "a group": lambda t: group(t.read.s(), t.read.s()),
    "a chord": lambda t: chord([t.noop.s(), t.noop.s()], t.read.s()),
}


@EITHER
@pytest.mark.parametrize("callback", CALLBACKS)
def test_the_callback_of_a_chord_reads_what_all_tasks_of_its_header_wrote(tasks: Any, callback: str) -> None:
    # The only worker runs them in their order: the one that wrote does not end last.
    sent = chord([tasks.write.si("mine"), tasks.noop.si()])(CALLBACKS[callback](tasks))
    seen = result_of(sent)
    assert seen == [PINNED, PINNED] if callback == "a group" else seen == PINNED


CANVASES = {
    "a group before a task": lambda t: chain(group(t.write.si("mine"), t.noop.si()), t.read.si()),
    "a group between tasks": lambda t: chain(
        t.noop.si(), group(t.write.si("mine"), t.noop.si()), t.read.si()
    ),
    "a chord in a chord": lambda t: chord(
        [chord([t.write.si("mine"), t.noop.si()], t.noop.s()), t.noop.si()], t.read.s()
    ),
    "a chain in a chord": lambda t: chord([chain(t.write.si("mine"), t.noop.si()), t.noop.si()], t.read.s()),
    "a task replaced by one that writes": lambda t: chord(
        [t.become_write.si("mine"), t.noop.si()], t.read.s()
    ),
    "a task replaced by a group": lambda t: chord([t.become_group.si("mine"), t.noop.si()], t.read.s()),
    "a task replaced outside of a chord": lambda t: chain(t.become_group.si("mine"), t.read.si()),
}


@pytest.mark.parametrize("canvas", CANVASES)
def test_what_comes_after_tasks_that_ran_side_by_side_reads_what_they_wrote(tasks: Any, canvas: str) -> None:
    assert result_of(CANVASES[canvas](tasks).delay()) == PINNED


@EITHER
@pytest.mark.parametrize("errback", ["note_failure", "note_failure_here"])
@pytest.mark.parametrize("fails_last", [True, False])
def test_the_errback_of_a_chord_reads_what_the_header_wrote(
    tasks: Any, errback: str, fails_last: bool, tmp_path: Path
) -> None:
    path = tmp_path / "seen"
    header = [tasks.write.si("mine"), tasks.noop.si()]
    header.insert(2 if fails_last else 0, tasks.fail.si())
    chord(header)(tasks.noop.s().on_error(getattr(tasks, errback).s(str(path))))
    seen = noted(path)
    assert (seen["names"], seen["used"]) == (["mine"], ["default"])


def test_the_errback_of_a_chord_reads_what_a_chain_in_its_header_wrote(tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "seen"
    header = [
        chain(tasks.write.si("mine"), tasks.noop.si()),
        chain(tasks.noop.si(), tasks.fail.si(), tasks.noop.si()),
    ]
    chord(header)(tasks.noop.s().on_error(tasks.note_failure.s(str(path))))
    assert noted(path) == PINNED


def test_the_errback_of_a_chord_whose_last_task_never_started_reads_what_the_header_wrote(
    tasks: Any, tmp_path: Path
) -> None:
    path = tmp_path / "seen"
    # The worker's main process finds it too old when its time has come.
    too_late = tasks.noop.si().set(countdown=0.5, expires=0.1)
    chord([tasks.write.si("mine"), too_late])(tasks.noop.s().on_error(tasks.note_failure.s(str(path))))
    assert noted(path) == PINNED


def test_a_task_of_a_chord_sends_its_own_tasks_with_its_own_pins(tasks: Any) -> None:
    Author.objects.using("default").create(name="of somebody else")
    header = chord([tasks.send_read.si(), tasks.noop.si()])(tasks.noop.s()).parent
    sent = tasks.app.AsyncResult(result_of(header[0]))
    assert result_of(sent) == {"names": [], "used": [], "pinned": [], "new": []}


@EITHER
def test_a_callback_waits_for_a_replica_that_has_what_the_header_wrote(
    tasks: Any, servers: PostgresReplicaSet
) -> None:
    sent = chord([tasks.write.si("mine"), tasks.noop.si()])(tasks.patient_read.s())
    servers.resume(0)
    seen = result_of(sent)
    assert seen["names"] == ["mine"]
    assert seen["used"] == ["default-0" if conf.PINDB_CONSISTENCY == "position" else "default"]


@override_settings(PINDB_ENABLED=False)
def test_disabled_the_sender_of_a_chord_sends_no_pins(tasks: Any) -> None:
    Author.objects.create(name="of the sender")
    assert result_of(chord([tasks.read.si(), tasks.noop.si()])(tasks.noop.s()).parent[0])["pinned"] == []


# ---- other ways in which one task leads to another ---------------------------------------------


def test_a_linked_task_reads_what_the_task_before_it_wrote(tasks: Any) -> None:
    linked = tasks.read.si()
    linked.freeze()
    tasks.write.apply_async(("mine",), link=linked)
    seen = result_of(tasks.app.AsyncResult(linked.id))
    assert (seen["names"], seen["pinned"]) == (["mine"], ["default"])


def test_a_task_that_is_tried_again_reads_what_it_wrote(tasks: Any) -> None:
    assert result_of(tasks.write_and_retry.delay("mine"))["names"] == ["mine"]


@pytest.mark.parametrize("way", ["map", "starmap", "chunks", "group", "countdown"])
def test_however_a_task_is_sent_it_reads_what_its_sender_wrote(tasks: Any, way: str) -> None:
    Author.objects.create(name="mine")
    if way == "countdown":
        seen = [result_of(tasks.read.apply_async(countdown=0.1))]
    elif way == "group":
        seen = result_of(group(tasks.read.si(), tasks.read.si()).delay())
    elif way == "chunks":
        seen = [one for chunk in result_of(tasks.read.chunks([(1,), (2,)], 1).delay()) for one in chunk]
    else:
        seen = result_of(getattr(tasks.read, way)([(1,), (2,)]).delay())
    assert seen
    assert all((one["names"], one["pinned"]) == (["mine"], ["default"]) for one in seen)


def test_who_waits_for_a_result_is_not_pinned_by_it(tasks: Any) -> None:
    result_of(tasks.write.delay("by the task"))
    assert list(Author.objects.all()) == []
