"""Tasks of Django's own framework, or of its backport where Django has none."""

from __future__ import annotations

from collections.abc import Generator
from importlib import import_module
from typing import Any

import django

import pindb
from tests.testapp.models import Author
from tests.testapp.views import report

task = import_module("django.tasks" if django.VERSION >= (6, 0) else "django_tasks").task

left_open: list[Generator[None]] = []


@task
def read() -> dict[str, Any]:
    """What a task sees and where it looks."""
    return see()


@task
async def aread() -> dict[str, Any]:
    return see([author async for author in Author.objects.all()])


def see(authors: list[Author] | None = None) -> dict[str, Any]:
    if authors is None:
        authors = list(Author.objects.all())
    return report(authors)


@task
def write(name: str) -> dict[str, Any]:
    pindb.pin("default")
    Author.objects.create(name=name)
    return see()


@task
def fail() -> None:
    pindb.pin("default")
    raise ZeroDivisionError


@task
def send_write(name: str) -> dict[str, Any]:
    """Runs another task inside of itself."""
    write.using(backend="immediate").enqueue(name)
    return see()


@task
def leave_block_open() -> None:
    def generate() -> Generator[None]:
        with pindb.master("default"):
            yield

    left_open.append(generate())
    next(left_open[0])
