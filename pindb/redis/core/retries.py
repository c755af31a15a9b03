"""Rules for sending a command again, to another host."""

from __future__ import annotations

from typing import Any

from pindb.redis.core.commands import READONLY
from pindb.redis.core.names import read_word
from pindb.redis.exceptions import (
    HostConnectionError,
    HostTimeoutError,
    MaxRetriesExceededError,
    PoolExhausted,
)

__all__ = ["is_callers", "may_retry", "reads_only", "too_many_retries", "was_refused"]


def was_refused(error: BaseException | None) -> bool:
    """Return whether the host refused the connection, so that nothing was sent.

    An exhausted pool, and a caller whose time is up, say nothing about the host.
    """
    return (
        isinstance(error, (HostConnectionError, HostTimeoutError))
        and not error.sent
        and not is_callers(error)
    )


def is_callers(error: BaseException | None) -> bool:
    """Return whether the caller's own limits are the reason, so that another host would not help."""
    return isinstance(error, PoolExhausted) or (isinstance(error, HostTimeoutError) and error.by_caller)


def may_retry(error: BaseException | None, command: Any) -> bool:
    """Return whether a command that failed with `error` may be sent again.

    Any command may be sent again if it was not sent. One that only reads may also be sent again after its
    connection broke, but not after a timeout: it would take as long again.
    """
    if is_callers(error):
        return False
    return was_refused(error) or (isinstance(error, HostConnectionError) and reads_only(command))


def reads_only(command: Any) -> bool:
    """Return whether a command, by its name, only reads."""
    return read_word(command).upper() in READONLY


def too_many_retries(number: int, error: BaseException) -> MaxRetriesExceededError:
    """Return the error for a command that so many other hosts refused; the last with `error`."""
    return MaxRetriesExceededError(f"Gave up after {number} retries (max_connection_retries). Last: {error}")
