"""Pins and Celery: each task is a pinning context, and pins travel with the tasks that a unit of work sends.

A task sent after a write starts with the sender's pins, so that it reads what was written. Switch it on with
``PINDB_CELERY = True`` and ``"pindb"`` in ``INSTALLED_APPS``, or call `install` where the Celery app is made.
"""

from __future__ import annotations

import time
from typing import Any

from celery.signals import before_task_publish, task_postrun, task_prerun

from pindb.conf import conf
from pindb.pinning import PinningContext, get_context, set_context
from pindb.stores import dump_pins, load_pins, pins_of

__all__ = ["install"]

#: The message header that carries the pins.
HEADER = "pindb_pinned_set"


def install() -> None:
    """Connect pindb to Celery's signals, in the processes that send tasks and in those that run them.

    Calling it again changes nothing. While ``PINDB_ENABLED`` is off, nothing is sent along or taken over.
    """
    before_task_publish.connect(_send_pins, weak=False, dispatch_uid="pindb.send")
    task_prerun.connect(_start, weak=False, dispatch_uid="pindb.start")
    task_postrun.connect(_end, weak=False, dispatch_uid="pindb.end")


def _send_pins(headers: dict[str, Any] | None = None, **kwargs: Any) -> None:
    context = get_context()
    if headers is None or context is None or not conf.PINDB_ENABLED:
        return
    pins = pins_of(context, time.time())
    if pins:
        headers[HEADER] = dump_pins(pins)


def _start(task: Any, **kwargs: Any) -> None:
    """A clean slate for the task, with the pins of whoever sent it."""
    outer = get_context()
    context = PinningContext(outer)
    if conf.PINDB_ENABLED:
        now = time.time()
        if task.request.is_eager:
            # Nothing was published: the caller's context is the one around the task.
            context.carry(pins_of(outer, now) if outer is not None else {})
        elif token := task.request.get(HEADER):
            context.carry(load_pins(token, now))
    set_context(context)


def _end(task: Any, **kwargs: Any) -> None:
    """A clean slate after the task; for an eager one, the caller's context again."""
    context = get_context()
    eager = task.request.is_eager and context is not None
    set_context(context.parent if eager and context is not None else None)
