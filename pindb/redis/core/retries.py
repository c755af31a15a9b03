"""Rules for sending a command again, to another host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from redis.exceptions import RedisError

from pindb.redis.core.commands import READONLY
from pindb.redis.core.names import read_word
from pindb.redis.exceptions import (
    HostConnectionError,
    HostTimeoutError,
    MaxRetriesExceededError,
    PoolExhausted,
)

__all__ = ["LOST", "Retries", "is_callers", "reads_only"]

#: The errors of a host that did not answer.
LOST = (HostConnectionError, HostTimeoutError)


def reads_only(command: Any) -> bool:
    """Return whether a command, by its name, only reads."""
    return read_word(command).upper() in READONLY


def is_callers(error: BaseException) -> bool:
    """Return whether the caller's own limits are the reason, so that another host would not help."""
    return isinstance(error, PoolExhausted) or getattr(error, "by_caller", False)


class MarkingRouter(Protocol):
    """The part of a router that marks hosts as down."""

    @property
    def retryable(self) -> bool: ...

    @property
    def down_connections(self) -> Mapping[int, float]: ...

    def mark_connection_down(self, host_id: int) -> None: ...


class Retries:
    """The retries of one call, or of all commands of a map.

    Arguments:
        router: marks hosts, and chooses other ones.
        number: how often commands are sent again, if the router has other hosts.
    """

    def __init__(self, router: MarkingRouter, number: int) -> None:
        self._router = router
        self._number = self._left = number if router.retryable else 0
        self._round = 0
        self._late_round: int | None = None
        self._refused: set[int] = set()

    def end(
        self,
        host_id: int,
        error: RedisError,
        may_repeat: bool,
        is_out: bool = False,
        round: int | None = None,
    ) -> RedisError | None:
        """Return the error with which commands fail that a host did not answer; None: another host gets them.

        Arguments:
            host_id: the host, which is marked down if it refused the connection.
            error: why it did not answer. The caller's own limits say nothing about the host.
            may_repeat: whether the commands did not run, or only read.
            is_out: whether the host serves nobody, so that reads that were late there are sent again, once.
            round: the number of the exchange, which several hosts may fail in; None: the next one.
        """
        round = round or self._round + 1
        if not self._number or is_callers(error) or not isinstance(error, LOST):
            return error
        if is_out or not error.sent:
            self._router.mark_connection_down(host_id)
            self._refused.add(host_id)
        if isinstance(error, HostTimeoutError) and error.sent:
            # Two timeouts are enough: the next host may take as long.
            if not is_out or self._late_round not in (None, round):
                return error
            self._late_round = round
        if not may_repeat:
            return error
        if self._round != round:
            if not self._left:
                text = f"Gave up after {self._number} retries (max_connection_retries). Last: {error}"
                told = MaxRetriesExceededError(text)
                told.__cause__ = error
                return told
            self._left -= 1
            self._round = round
            # A host that has refused these commands is not tried again for them, however long they take.
            for refused in self._refused.intersection(self._router.down_connections):
                self._router.mark_connection_down(refused)
        return None
