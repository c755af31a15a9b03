"""Pins and Django's own tasks: each task is a pinning context, which reads what its sender wrote.

For ``django.tasks`` (Django 6.0), its backport ``django-tasks``, and whatever backend and worker send their
signals. Their messages have no room for pins. So each task that starts is pinned to where the masters are at
that moment, which covers all that was committed before, by its sender too.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from importlib import import_module
from typing import Any

from pindb.conf import conf
from pindb.pins.context import Pin, PinningContext, get_context, set_context
from pindb.pins.propagation import all_sets_pinned, begin, outgoing_pins, pins_by_time, read_wait

__all__ = ["install"]

_wait = 0.0


def install(wait: str | float | timedelta | None = None) -> None:
    """Connect pindb to the signals of Django's tasks; where there are none, do nothing.

    Calling it again changes nothing but `wait`. While ``PINDB_ENABLED`` is off, no task is pinned.

    Arguments:
        wait: with positions, how long from its start on a task waits for a replica that has what was
            committed before, before it reads the master: ``"200ms"``, ``"1.5s"``, seconds, or a timedelta.
            Where not given, not at all.

    Raises:
        PinDbConfigError: `wait` is no such time.
    """
    global _wait
    _wait = read_wait(wait)
    # Whatever stands on the backport has imported it by now.
    for package in ("django.tasks", *({"django_tasks"} & sys.modules.keys())):
        try:
            signals = import_module(f"{package}.signals")
        except ImportError:
            continue
        signals.task_started.connect(_start, weak=False, dispatch_uid="pindb.start")
        signals.task_finished.connect(_end, weak=False, dispatch_uid="pindb.end")


def _start(task_result: Any, **kwargs: Any) -> None:
    """A clean slate for the task, pinned to where the masters are."""
    context = PinningContext(get_context())
    context.scope = task_result.id
    if conf.PINDB_ENABLED:
        begin(context, _pins(task_result), _wait)
    set_context(context)


def _pins(task_result: Any) -> dict[str, Pin]:
    pins = outgoing_pins(all_sets_pinned())
    # By time, a pin is about what the sender wrote, and lasts as long as if it had come with the message.
    sent, now = task_result.enqueued_at, time.time()
    short = pins_by_time(pins, now if sent is None else min(sent.timestamp(), now))
    pins = {alias: pin if pin.position else short[alias] for alias, pin in pins.items()}
    return {alias: pin for alias, pin in pins.items() if pin.position or pin.until > now}


def _end(task_result: Any, **kwargs: Any) -> None:
    """The context around the task again: the worker's or, if the task ran at once, the sender's."""
    context = get_context()
    # A block that a generator left open may be in between.
    while context is not None and context.scope != task_result.id:
        context = context.parent
    if context is not None:
        set_context(context.parent)
