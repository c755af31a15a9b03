"""A Celery application whose tasks are put into chords, on the broker that the test names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from celery import Celery

from tests.celeryapp import read as _read

#: The environment variable with the worker's Celery settings.
ENVIRONMENT = "PINDB_TEST_CHORDS"


def read(*results: Any) -> dict[str, Any]:
    return _read.run()  # type: ignore[no-any-return]


def write(name: str) -> None:
    from tests.testapp.models import Author

    Author.objects.create(name=name)


def noop(*results: Any) -> None:
    pass


def fail() -> None:
    raise ZeroDivisionError


def send_read(self: Any) -> str:
    """Sends a task of its own, as any task may."""
    return self.app.tasks["read"].delay().id  # type: ignore[no-any-return]


def write_and_retry(self: Any, name: str) -> Any:
    if self.request.retries:
        return read()
    write(name)
    raise self.retry(countdown=0)


def become_write(self: Any, name: str) -> None:
    self.replace(self.app.tasks["write"].si(name))


def become_group(self: Any, name: str) -> None:
    from celery import group

    tasks = self.app.tasks
    self.replace(group(tasks["write"].si(name), tasks["noop"].si()))


def note_failure(task_id: str, path: str) -> None:
    """An errback that is sent as a task."""
    _note(path)


def note_failure_here(request: Any, exc: Any, traceback: Any, path: str) -> None:
    """An errback that Celery calls where it is."""
    _note(path)


def _note(path: str) -> None:
    unfinished = Path(f"{path}.tmp")
    unfinished.write_text(json.dumps(read()))
    unfinished.rename(path)


PLAIN = (read, write, noop, fail, note_failure, note_failure_here)
BOUND = (send_read, write_and_retry, become_write, become_group)


def make_app(configuration: dict[str, Any]) -> SimpleNamespace:
    """An application and its tasks, by their functions' names."""
    app = Celery("chords", set_as_current=False)
    app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=False)
    app.conf.update(configuration)
    tasks = {f.__name__: app.task(f, name=f.__name__, shared=False) for f in PLAIN}
    tasks |= {f.__name__: app.task(f, name=f.__name__, shared=False, bind=True) for f in BOUND}
    patient = app.task(read, name="patient_read", shared=False, pindb_wait="20s")
    return SimpleNamespace(app=app, patient_read=patient, **tasks)


if os.environ.get("PINDB_TEST_CELERY_WORKER"):
    app = make_app(json.loads(os.environ[ENVIRONMENT])).app
