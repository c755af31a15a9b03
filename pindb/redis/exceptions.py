"""What `pindb.redis` raises beside redis-py's own exceptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = [
    "BadHostSetup",
    "Call",
    "ClusterConfigError",
    "CommandCancelled",
    "CommandError",
    "HostConnectionError",
    "HostListExhausted",
    "HostTimeoutError",
    "HostUnavailableError",
    "MaxRetriesExceededError",
    "PoolExhausted",
    "ResultPending",
    "UnroutableCommand",
]


class ClusterConfigError(RedisError, ValueError):
    """A cluster was configured with something that cannot be; the message says what to write."""


class BadHostSetup(ClusterConfigError):
    """The hosts do not suit the router."""


class UnroutableCommand(RedisError):
    """A command does not belong to exactly one host; the message says the ways out."""


class CommandCancelled(RedisError):
    """The promise's command was cancelled before it was sent."""


class HostConnectionError(RedisConnectionError):
    """A host could not be reached, or its connection broke; the message names the host.

    Attributes:
        sent: False where there was no connection to be had: nothing was sent, and trying again does no harm.
    """

    sent = True


class HostTimeoutError(RedisTimeoutError):
    """A host did not answer in time; the message names the host.

    Attributes:
        sent: see `HostConnectionError`.
        by_caller: the time that was up was the caller's own (``map(timeout=...)``), which says nothing about
            the host.
    """

    sent = True
    by_caller = False


class PoolExhausted(HostConnectionError):
    """All connections of a host's pool, or of its server, are in use; the message names the host.

    That is no reason to take the host for one that is down.
    """

    sent = False


class HostUnavailableError(HostConnectionError):
    """A host answered that it serves nobody now: it loads its data, say. The command did not run.

    Attributes:
        code: the first word of the reply: ``"LOADING"``, ``"MASTERDOWN"``, ``"CLUSTERDOWN"`` or ``"BUSY"``.
    """

    sent = False
    code = ""


class HostListExhausted(HostConnectionError):
    """All hosts that a router knows are down."""

    sent = False


class MaxRetriesExceededError(HostConnectionError):
    """A command was given to one host after another, and each refused the connection."""

    sent = False


class CommandError(RedisError):
    """Commands of a map failed; everything that could run has run.

    Attributes:
        errors: a list of (`Call`, exception), in the order of the calls.
    """

    def __init__(self, errors: Sequence[tuple[Call, BaseException]]) -> None:
        self.errors = list(errors)
        (call, error), more = self.errors[0], len(self.errors) - 1
        text = f"{call}: {type(error).__name__}: {error}"
        super().__init__(f"{text} (and {more} more; see .errors)" if more else text)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errors,)


class ResultPending(RedisError, RuntimeError):
    """The result of a command in a map was used as a value before the end of the block."""


class Call(NamedTuple):
    """What was called on a cluster.

    Attributes:
        name: the command; or the method, with its path, where that is no Redis command.
        args: its arguments.
        kwargs: its arguments by name.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __str__(self) -> str:
        # The name and what is the key, as a rule; not the values.
        return " ".join([str(self.name)[:60], *(f"{word!r:.60}" for word in self.args[:1])])
