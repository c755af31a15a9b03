"""The start of background tasks with pins, for `pindb.celery` and `pindb.tasks`."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pindb.exceptions import PinDbConfigError
from pindb.pins.context import Pin, PinningContext

__all__ = ["parse_wait", "start_task"]

#: The longest time (seconds) that a task may wait for a replica.
MAX_WAIT = 3600


def start_task(context: PinningContext, pins: Mapping[str, Pin], wait: float) -> None:
    """Start a task.

    Arguments:
        context: the task's context, which is new.
        pins: the pins that the task takes over, by the master's alias.
        wait: how long (seconds) the task's reads wait for a replica to catch up, before they go to the
            master.
    """
    context.carry(pins)
    if wait and context.positions:
        context.wait_until = time.monotonic() + wait


def parse_wait(wait: Any) -> float:
    """Return the seconds of a setting ``wait``: ``"200ms"``, ``"1.5s"``, seconds, a timedelta, or None (0).

    Raises:
        PinDbConfigError: `wait` is not such a time.
    """
    seconds: float | None = None
    if wait is None:
        return 0.0
    if isinstance(wait, timedelta):
        seconds = wait.total_seconds()
    elif isinstance(wait, (int, float)) and not isinstance(wait, bool):
        seconds = float(wait)
    elif isinstance(wait, str) and (found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", wait.strip())):
        seconds = float(found[1]) / (1000 if found[2] == "ms" else 1)
    if seconds is None or not 0 <= seconds <= MAX_WAIT:
        raise PinDbConfigError(
            f"The time that tasks wait for a replica is {wait!r}. Write '200ms', '1.5s', or a number of "
            f"seconds up to {MAX_WAIT}."
        )
    return seconds
