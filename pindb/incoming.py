"""The pins that a task begins with, and how long it waits for a replica that has what they are about."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pindb.contexts import Pin, PinningContext
from pindb.exceptions import PinDbConfigError

__all__ = ["begin", "read_wait"]


def begin(context: PinningContext, pins: Mapping[str, Pin], wait: float) -> None:
    """Begin a task.

    Arguments:
        context: the task's, which is new.
        pins: what it takes over, by master alias.
        wait: how long (seconds) its reads wait for a replica, before they go to the master.
    """
    context.carry(pins)
    if wait and context.positions:
        context.wait_until = time.monotonic() + wait


def read_wait(wait: Any) -> float:
    """The seconds that a site has written as ``"200ms"``, ``"1.5s"``, seconds, a timedelta, or None (0).

    Raises:
        PinDbConfigError: it is no such time.
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
    if seconds is None or not 0 <= seconds <= 3600:
        raise PinDbConfigError(
            f"The time that tasks wait for a replica is {wait!r}. Write '200ms', '1.5s', or seconds: up to "
            "an hour."
        )
    return seconds
