"""Keeps a server that is down from being tried again and again."""

from __future__ import annotations

import time

from pindb._forks import Lock

__all__ = ["Circuit"]


class Circuit:
    """What a process knows of one server: whether it failed, and from when on it may be tried again.

    While it is open, the server is left alone. When the time has come, one caller tries, and the others go
    on leaving it alone until that one says how it went. Safe under threads; each process has its own.

    Arguments:
        seconds: how long nobody tries a server that failed.
    """

    __slots__ = ("_lock", "_until", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until: float | None = None
        self._lock = Lock()

    @property
    def is_open(self) -> bool:
        """Whether the server is taken to be down."""
        return self._until is not None

    @property
    def is_shut(self) -> bool:
        """Whether nobody may use the server now; asks for nothing."""
        until = self._until
        return until is not None and time.monotonic() < until

    def wait(self) -> float:
        """Ask for leave to use the server.

        Returns:
            0 where the caller may use it: nothing is wrong with it, or it is the caller's to try. Else the
            seconds after which it may be asked again.
        """
        if self._until is None:
            return 0
        with self._lock.get():
            until, now = self._until or 0.0, time.monotonic()
            if now < until:
                return until - now
            if self._until is not None:
                # This caller tries. The others wait once more, in case it is never heard of again.
                self._until = now + self.seconds
            return 0

    def fail(self, seconds: float | None = None) -> None:
        """The server failed: leave it alone for so many seconds, `Circuit.seconds` where not given."""
        self._until = time.monotonic() + (self.seconds if seconds is None else seconds)

    def give_back(self) -> None:
        """The caller that was to try has not: the next one may, if the server is not up again."""
        if self._until is not None:
            self._until = time.monotonic()

    def succeed(self) -> None:
        """The server works."""
        self._until = None
