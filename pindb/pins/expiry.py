"""The end of pins: by time and with clock skew, or early, when all replicas have caught up."""

from __future__ import annotations

import math
from collections.abc import Mapping

from django.db import connections

from pindb._stats import count
from pindb.conf import conf
from pindb.pins.context import Pin, PinningContext
from pindb.sets.connections import get_connection
from pindb.sets.definitions import get_sets
from pindb.sets.positions import has_reached
from pindb.sets.replay import is_known_to_have_replayed
from pindb.sets.servers import get_server
from pindb.signals import unpinned

__all__ = ["covers", "end_if_caught_up", "is_in_force", "time_to_live"]

#: How far the clocks of two servers may differ (seconds) before one rejects the other's pins by time.
CLOCK_SKEW = 5

#: The same for pins with a position. A position does not depend on clocks, and a task may wait in its queue
#: for hours, so such pins are accepted for a day longer. Usually the position ends them long before.
POSITION_CLOCK_SKEW = 86_400

#: How much longer than its pins a cookie lasts (seconds): some clients drop cookies up to a second early.
GRACE = 2


def is_in_force(pin: Pin, now: float) -> bool:
    """Return whether a pin from outside is in force at `now` (Unix time, seconds).

    A time too far in the future counts as not in force: the clock of the server that wrote the pin is wrong.
    """
    if pin.position is None:
        return now < pin.until <= now + conf.PINDB_PINNING_SECONDS + CLOCK_SKEW
    return abs(pin.until - now) <= conf.PINDB_POSITION_PIN_SECONDS + POSITION_CLOCK_SKEW


def end_if_caught_up(context: PinningContext, alias: str, position: str) -> None:
    """End a carried pin early if all replicas of its set are known to have replayed its position.

    Arguments:
        context: a context that carries the pin.
        alias: the master's alias.
        position: the pin's position.
    """
    for replica in get_sets().replicas[alias]:
        if not is_known_to_have_replayed(get_server(replica), get_connection(replica), position):
            return
    context.drop(alias)
    count("pins_dropped")
    unpinned.send_robust(PinningContext, alias=alias, position=position)


def time_to_live(pins: Mapping[str, Pin], now: float) -> int:
    """Return how long (seconds) a cookie or cache entry with `pins` has to last.

    Arguments:
        pins: the pins.
        now: Unix time, seconds.
    """
    longest = 0.0
    for pin in pins.values():
        seconds = pin.until - now
        if pin.position is not None and not 0 < seconds <= conf.PINDB_POSITION_PIN_SECONDS:
            # The clock of the server that made the pin differs from this one.
            seconds = conf.PINDB_POSITION_PIN_SECONDS
        longest = max(longest, seconds)
    return math.ceil(longest) + GRACE


def covers(alias: str, pin: Pin, other: Pin) -> bool:
    """Return whether `pin` covers all writes that `other` covers.

    Arguments:
        alias: the alias of their master.
        pin, other: two pins.
    """
    if pin.position is not None and other.position is not None:
        return has_reached(connections[alias], pin.position, other.position)
    return _made_at(pin) >= _made_at(other)


def _made_at(pin: Pin) -> float:
    """Return when a pin was made: Unix time, seconds."""
    by_time = pin.position is None
    return pin.until - (conf.PINDB_PINNING_SECONDS if by_time else conf.PINDB_POSITION_PIN_SECONDS)
