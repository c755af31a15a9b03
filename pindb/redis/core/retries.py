"""When a command may be sent once more, to another host."""

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
    """Whether a host let nobody in, so that nothing was sent.

    A pool without a connection left says nothing about its host, nor does a caller whose time is up.
    """
    return (
        isinstance(error, (HostConnectionError, HostTimeoutError))
        and not error.sent
        and not is_callers(error)
    )


def is_callers(error: BaseException | None) -> bool:
    """Whether the caller's own limits are the reason, so that another host would not help."""
    return isinstance(error, PoolExhausted) or (isinstance(error, HostTimeoutError) and error.by_caller)


def may_retry(error: BaseException | None, command: Any) -> bool:
    """Whether a command that failed with `error` may be sent once more.

    Any command may that was not sent. One that only reads may also after its connection broke; not after a
    timeout, since what took too long once would take as long again.
    """
    if is_callers(error):
        return False
    return was_refused(error) or (isinstance(error, HostConnectionError) and reads_only(command))


def reads_only(command: Any) -> bool:
    """Whether a command, by its name, changes nothing."""
    return read_word(command).upper() in READONLY


def too_many_retries(number: int, error: BaseException) -> MaxRetriesExceededError:
    """The error for a command that was refused by so many hosts, after the last one's `error`."""
    return MaxRetriesExceededError(f"Gave up after {number} retries (max_connection_retries). Last: {error}")
