"""Keeps a host that refuses connections from being tried again and again."""

from __future__ import annotations

import threading
import time

from redis.exceptions import ConnectionError as RedisConnectionError

__all__ = ["Circuit"]


class Circuit:
    """What all connections to one host know of it: whether it refused the last one, and until when.

    While it is open, connections fail at once. When the time has come, one caller tries, and the others go on
    failing until that one has a connection. Safe under threads; each process has its own.

    Arguments:
        seconds: how long nobody tries again after a refused connection.
    """

    __slots__ = ("_lock", "_until", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until: float | None = None
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the host is taken to be down."""
        return self._until is not None

    def enter(self) -> None:
        """Somebody wants to connect.

        Raises:
            redis.ConnectionError: it is not time yet.
        """
        until = self._until
        if until is None:
            return
        with self._lock:
            until, now = self._until or 0.0, time.monotonic()
            if now < until:
                error = RedisConnectionError(
                    f"It refused the last connection; it is tried again in {until - now:.1f} s."
                )
                error.sent = False  # type: ignore[attr-defined]
                raise error
            if self._until is not None:
                # This caller tries. The others wait once more, in case it is never heard of again.
                self._until = now + self.seconds

    def refused(self) -> None:
        """A connection could not be made."""
        self._until = time.monotonic() + self.seconds

    def connected(self) -> None:
        """A connection was made."""
        self._until = None
