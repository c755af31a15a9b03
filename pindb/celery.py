"""Pins and Celery: each task is a pinning context, and pins travel with the tasks that a unit of work sends.

A task sent after a write starts with the sender's pins, so that it reads what was written. Switch it on with
``PINDB_CELERY = True`` (or a dict with the arguments of `install`) and ``"pindb"`` in ``INSTALLED_APPS``, or
call `install` where the Celery app is made.
"""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Any

from celery.signals import before_task_publish, task_postrun, task_prerun

from pindb.conf import conf
from pindb.contexts import PinningContext, get_context, set_context
from pindb.exceptions import PinDbConfigError
from pindb.outgoing import outgoing_pins
from pindb.tokens import dump_pins, load_pins

__all__ = ["install"]

#: The message header that carries the pins.
HEADER = "pindb_pinned_set"

_wait = 0.0


def install(wait: str | float | timedelta | None = None) -> None:
    """Connect pindb to Celery's signals, in the processes that send tasks and in those that run them.

    Calling it again changes nothing but `wait`. While ``PINDB_ENABLED`` is off, nothing is sent along or
    taken over. A task that is sent after a write asks the master where it is (with positions).

    Arguments:
        wait: with positions, how long from its start on a task waits for a replica that has what its sender
            wrote, before it reads the master: ``"200ms"``, ``"1.5s"``, seconds, or a timedelta. Where not
            given, not at all. A task's attribute ``pindb_wait`` overrides it.

    Raises:
        PinDbConfigError: `wait` is no such time.
    """
    global _wait
    _wait = _seconds(wait)
    before_task_publish.connect(_send_pins, weak=False, dispatch_uid="pindb.send")
    task_prerun.connect(_start, weak=False, dispatch_uid="pindb.start")
    task_postrun.connect(_end, weak=False, dispatch_uid="pindb.end")


def _seconds(wait: Any) -> float:
    seconds: float | None = None
    if wait is None:
        return 0.0
    if isinstance(wait, timedelta):
        seconds = wait.total_seconds()
    elif isinstance(wait, (int, float)) and not isinstance(wait, bool):
        seconds = float(wait)
    elif isinstance(wait, str) and (found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", wait.strip())):
        seconds = float(found[1]) / (1000 if found[2] == "ms" else 1)
    if seconds is None or not 0 <= seconds <= 3600:
        raise PinDbConfigError(
            f"The time that tasks wait for a replica is {wait!r}. Write '200ms', '1.5s', or seconds: up to "
            "an hour."
        )
    return seconds


def _send_pins(headers: dict[str, Any] | None = None, **kwargs: Any) -> None:
    context = get_context()
    if headers is None or context is None or not conf.PINDB_ENABLED:
        return
    pins = outgoing_pins(context)
    if pins:
        headers[HEADER] = dump_pins(pins)


def _start(task: Any, **kwargs: Any) -> None:
    """A clean slate for the task, with the pins of whoever sent it."""
    outer = get_context()
    context = PinningContext(outer)
    if conf.PINDB_ENABLED:
        if task.request.is_eager:
            # Nothing was published: the caller's context is the one around the task.
            context.carry(outgoing_pins(outer) if outer is not None else {})
        elif token := task.request.get(HEADER):
            context.carry(load_pins(token, time.time()))
        wait = getattr(task, "pindb_wait", None)
        seconds = _wait if wait is None else _seconds(wait)
        if seconds and context.positions:
            context.wait_until = time.monotonic() + seconds
    set_context(context)


def _end(task: Any, **kwargs: Any) -> None:
    """A clean slate after the task; for an eager one, the caller's context again."""
    context = get_context()
    eager = task.request.is_eager and context is not None
    set_context(context.parent if eager and context is not None else None)
