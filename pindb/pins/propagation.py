"""Propagation of pins: what a unit of work passes on to the next request, task or service."""

from __future__ import annotations

import time
from collections.abc import Iterable

from asgiref.sync import sync_to_async

from pindb.conf import conf
from pindb.pins.context import Pin, PinningContext
from pindb.sets.definitions import get_sets
from pindb.sets.positions import try_read_position

__all__ = ["aexport_pins", "export_pins", "make_time_pins", "pin_all_sets"]


def export_pins(context: PinningContext, more_to_come: bool = False) -> dict[str, Pin]:
    """Return the pins that leave a unit of work: its new pins, and carried pins that are still in force.

    With ``PINDB_CONSISTENCY = "position"`` this asks the master of each newly pinned set for its position,
    with one query per master. Call it after the unit's transactions: inside of one, and if the position
    cannot be read, the pin goes by time.

    Arguments:
        context: the unit's pinning context.
        more_to_come: the unit may still write. Then new pins go by time, since a position read now would not
            cover later writes.

    Returns:
        The pins by the master's alias.
    """
    by_position = conf.PINDB_CONSISTENCY == "position" and not more_to_come
    aliases = context.new | context.renewed
    positions = {alias: try_read_position(alias) if by_position else None for alias in aliases}
    now = time.time()
    pins = {alias: pin for alias, pin in context.carried.items() if pin.position or pin.until > now}
    for alias, position in positions.items():
        seconds = conf.PINDB_PINNING_SECONDS if position is None else conf.PINDB_POSITION_PIN_SECONDS
        pins[alias] = Pin(now + seconds, position)
    return pins


async def aexport_pins(context: PinningContext, more_to_come: bool = False) -> dict[str, Pin]:
    """Return what `export_pins` returns, in async code."""
    if (context.new or context.renewed) and conf.PINDB_CONSISTENCY == "position":
        return await sync_to_async(export_pins)(context, more_to_come)
    return export_pins(context, more_to_come)


def pin_all_sets() -> PinningContext:
    """Return a context in which every set that has replicas is newly pinned.

    The pins that leave it cover everything that was committed before, by anyone: for work that follows on
    work done in other processes.
    """
    context = PinningContext()
    # Not PinningContext.pin, which would count the pins and send signals.
    context.pinned = context.new = frozenset(alias for alias, names in get_sets().replicas.items() if names)
    return context


def make_time_pins(aliases: Iterable[str], since: float) -> dict[str, Pin]:
    """Return pins by time for what was written until `since` (Unix time, seconds)."""
    return {alias: Pin(since + conf.PINDB_PINNING_SECONDS) for alias in aliases}
