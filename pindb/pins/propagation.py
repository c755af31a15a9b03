"""Pins on their way from one unit of work to the next: a request, a task, another service."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async

from pindb.conf import conf
from pindb.exceptions import PinDbConfigError
from pindb.pins.context import Pin, PinningContext
from pindb.sets.definitions import get_sets
from pindb.sets.positions import take_position

__all__ = ["all_sets_pinned", "aoutgoing_pins", "begin", "outgoing_pins", "pins_by_time", "read_wait"]


def outgoing_pins(context: PinningContext, more_to_come: bool = False) -> dict[str, Pin]:
    """What leaves a unit of work: its new pins, and what it was given and is still in force.

    With ``PINDB_CONSISTENCY = "position"`` the master of each newly pinned set is asked where it is, with one
    query. Call it after the unit's transactions: in the middle of one, and where the master cannot say, the
    pin goes by time.

    Arguments:
        context: the unit's pinning context.
        more_to_come: the unit may write more after this: new pins go by time, since a position of now would
            not cover that.

    Returns:
        The pins by master alias.
    """
    by_position = conf.PINDB_CONSISTENCY == "position" and not more_to_come
    found = {alias: take_position(alias) if by_position else None for alias in context.new | context.renewed}
    now = time.time()
    pins = {alias: pin for alias, pin in context.carried.items() if pin.position or pin.until > now}
    for alias, position in found.items():
        seconds = conf.PINDB_PINNING_SECONDS if position is None else conf.PINDB_POSITION_PIN_SECONDS
        pins[alias] = Pin(now + seconds, position)
    return pins


async def aoutgoing_pins(context: PinningContext, more_to_come: bool = False) -> dict[str, Pin]:
    """`outgoing_pins`, in async code."""
    if (context.new or context.renewed) and conf.PINDB_CONSISTENCY == "position":
        return await sync_to_async(outgoing_pins)(context, more_to_come)
    return outgoing_pins(context, more_to_come)


def all_sets_pinned() -> PinningContext:
    """A context in which every set that has replicas is newly pinned.

    What leaves it covers all that was committed before, by whomever: for what comes after work that was done
    elsewhere.
    """
    context = PinningContext()
    # Nobody pinned them, so that nothing is counted and no signal sent.
    context.pinned = context.new = frozenset(alias for alias, names in get_sets().replicas.items() if names)
    return context


def pins_by_time(aliases: Iterable[str], since: float) -> dict[str, Pin]:
    """Pins that go by time, of what was written until `since` (Unix time, seconds)."""
    return {alias: Pin(since + conf.PINDB_PINNING_SECONDS) for alias in aliases}


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
