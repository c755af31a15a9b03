"""Circuit breakers: a server that is down is left alone for a while, then one caller tries it again."""

from __future__ import annotations

import time

from pindb._forks import Lock

__all__ = ["CircuitBreaker", "now"]


def now() -> float:
    """Return the time by which servers are tried again: that of `time.monotonic`."""
    return time.monotonic()


class CircuitBreaker:
    """Circuit breaker of one server: whether it is down, and when it may be tried again.

    While the breaker is open, the server is left alone. After `seconds`, one caller tries the server, and the
    others keep leaving it alone until that caller reports the outcome. Safe under threads; each process has
    its own.

    Arguments:
        seconds: how long a server is left alone after it failed.
        lock: guards the breaker; a lock of its own where None.
    """

    __slots__ = ("_lock", "_until", "seconds")

    def __init__(self, seconds: float, lock: Lock | None = None) -> None:
        self.seconds = seconds
        self._until: float | None = None
        self._lock = lock or Lock()

    @property
    def is_open(self) -> bool:
        """Whether nobody may use the server now. Takes no turn to try it."""
        until = self._until
        return until is not None and now() < until

    def wait(self) -> float:
        """Ask whether the server may be used.

        Returns:
            0 if the caller may use it: it is up, or it is this caller's turn to try. Otherwise the seconds
            until it is tried again.
        """
        if self._until is None:
            return 0
        with self._lock.get():
            return self._wait()

    def _wait(self) -> float:
        until, at = self._until, now()
        if until is None:
            return 0
        if at < until:
            return until - at
        # If the caller that tries never reports the outcome, another one tries after this.
        self._set(at + self.seconds)
        return 0

    def fail(self, seconds: float | None = None) -> None:
        """Report that the server failed: leave it alone for so many seconds, or for its own `seconds`."""
        self._set(now() + (self.seconds if seconds is None else seconds))

    def give_back(self) -> None:
        """Report that the server was not tried after all: the next caller may try it."""
        if self._until is not None:
            self._set(now())

    def succeed(self) -> None:
        """Report that the server works."""
        self._set(None)

    def _set(self, until: float | None) -> None:
        """Leave the server alone until a time; None: it is up."""
        self._until = until
