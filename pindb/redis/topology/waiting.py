"""Pauses of one call before commands are sent again that servers did not run."""

from __future__ import annotations

import time
from math import inf

from pindb.redis.core.redirects import pause_before

__all__ = ["Waiting"]

#: For how long a command waits for a new master after the old one has refused it, in seconds.
FOR_MASTER = 1.0


class Waiting:
    """Pauses of one call: each is longer than the one before, and all begin within a limit.

    Arguments:
        seconds: the time between the first call of `begin` and the last that may have a pause.
    """

    __slots__ = ("_is_due", "_pauses", "_seconds", "_until")

    def __init__(self, seconds: float = FOR_MASTER) -> None:
        self._seconds = seconds
        self._until: float | None = None
        self._pauses = 0
        self._is_due = False

    def begin(self, until: float = inf) -> bool:
        """Ask for a pause, and return whether there may be one; not after `until`, by `time.monotonic`."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._seconds
        self._is_due = now < min(self._until, until)
        return self._is_due

    def pause(self, end: float | None = None) -> bool:
        """Wait, until `end` at the latest, if `begin` was called before. Return whether it was."""
        if not self._is_due:
            return False
        self._is_due = False
        self._pauses += 1
        pause = pause_before(self._pauses)
        time.sleep(pause if end is None else max(0.0, min(pause, end - time.monotonic())))
        return True
