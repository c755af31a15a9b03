"""Support for Django's tasks: each task has a pinning context of its own, and reads what its sender wrote.

For ``django.tasks`` (Django 6.0), its backport ``django-tasks``, and every backend whose worker sends their
signals. Messages of such tasks cannot carry pins. So each task is pinned, when it starts, to the positions
that the masters have then, which cover everything that was committed before, by its sender too.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from importlib import import_module
from typing import Any

from pindb.conf import conf
from pindb.pins.context import Pin, PinningContext, get_context, set_context
from pindb.pins.propagation import export_pins, make_time_pins, pin_all_sets
from pindb.pins.tasks import parse_wait, start_task

__all__ = ["install"]

_wait = 0.0


def install(wait: str | float | timedelta | None = None) -> None:
    """Connect pindb to the signals of Django's tasks. Does nothing if this Django has no tasks.

    A second call only changes `wait`. While ``PINDB_ENABLED`` is off, no task is pinned.

    Arguments:
        wait: with positions, how long after its start a task waits for a replica that has everything that
            was committed before the start, before it reads the master: ``"200ms"``, ``"1.5s"``, seconds, or a
            timedelta. By default a task does not wait.

    Raises:
        PinDbConfigError: `wait` is not such a time.
    """
    global _wait
    _wait = parse_wait(wait)
    # A site that uses the backport has imported it by now.
    for package in ("django.tasks", *({"django_tasks"} & sys.modules.keys())):
        try:
            signals = import_module(f"{package}.signals")
        except ImportError:
            continue
        signals.task_started.connect(_start, weak=False, dispatch_uid="pindb.start")
        signals.task_finished.connect(_end, weak=False, dispatch_uid="pindb.end")


def _start(task_result: Any, **kwargs: Any) -> None:
    """Open a pinning context for a task, pinned to the positions of the masters."""
    context = PinningContext(get_context())
    context.scope = task_result.id
    if conf.PINDB_ENABLED:
        start_task(context, _pins(task_result), _wait)
    set_context(context)


def _pins(task_result: Any) -> dict[str, Pin]:
    pins = export_pins(pin_all_sets())
    # A pin by time covers what the sender wrote, so it lasts as long as if the message had carried it.
    sent, now = task_result.enqueued_at, time.time()
    short = make_time_pins(pins, now if sent is None else min(sent.timestamp(), now))
    pins = {alias: pin if pin.position else short[alias] for alias, pin in pins.items()}
    return {alias: pin for alias, pin in pins.items() if pin.position or pin.until > now}


def _end(task_result: Any, **kwargs: Any) -> None:
    """Restore the context around the task: the worker's or, if the task ran immediately, the sender's."""
    context = get_context()
    # A suspended generator may have left a block open.
    while context is not None and context.scope != task_result.id:
        context = context.parent
    if context is not None:
        set_context(context.parent)
