"""A Celery application; in the worker, on the broker that the environment names."""

from __future__ import annotations

import json
import os
from typing import Any

import django
from celery import Celery, chain, shared_task

app = Celery("tests")
app.conf.update(
    json.loads(os.environ.get("PINDB_TEST_CELERY", "{}")),
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=False,
)

if __name__ != "__main__" and os.environ.get("PINDB_TEST_CELERY_WORKER"):
    django.setup()


@shared_task
def read() -> dict[str, Any]:
    """What a task sees and where it looks."""
    from tests.testapp.models import Author
    from tests.testapp.views import report

    return report(list(Author.objects.all()))


@shared_task
def patient_read() -> dict[str, Any]:
    """Waits for a replica first."""
    return read()  # type: ignore[no-any-return]


patient_read.pindb_wait = "20s"


@shared_task
def write(name: str) -> dict[str, Any]:
    from tests.testapp.models import Author

    Author.objects.create(name=name)
    return read()  # type: ignore[no-any-return]


@shared_task
def fail() -> None:
    import pindb

    pindb.pin("default")
    raise ZeroDivisionError


def write_then_read(name: str) -> Any:
    """A chain: its second task is sent by the first one, from inside the worker."""
    return chain(write.si(name), read.si())
