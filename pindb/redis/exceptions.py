"""Exceptions of `pindb.redis`, in addition to redis-py's own."""

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
    """Invalid configuration of a cluster; the message says what to write instead."""


class BadHostSetup(ClusterConfigError):
    """Hosts that do not suit the router of the cluster."""


class UnroutableCommand(RedisError):
    """Command that does not belong to exactly one host; the message says what to write instead."""


class CommandCancelled(RedisError):
    """Command that was cancelled before it was sent, or interrupted."""


class HostConnectionError(RedisConnectionError):
    """Host that cannot be reached, or connection that broke; the message names the host.

    Attributes:
        sent: whether the command may have been sent. If False, the command did not run, and a retry is safe.
    """

    sent = True


class HostTimeoutError(RedisTimeoutError):
    """Timeout of a host; the message names the host.

    Attributes:
        sent: see `HostConnectionError`.
        by_caller: whether the caller's own time limit was over (``map(timeout=...)``), which does not mean
            that the host is down.
    """

    sent = True
    by_caller = False


class PoolExhausted(HostConnectionError):
    """Connection pool of a host, or server, without free connections; the message names the host.

    It does not mark the host as down.
    """

    sent = False


class HostUnavailableError(HostConnectionError):
    """Host that answers, but cannot serve commands now, for example while it loads its data.

    The command did not run.

    Attributes:
        code: the code of the error reply: ``"LOADING"``, ``"MASTERDOWN"``, ``"CLUSTERDOWN"`` or ``"BUSY"``;
            with Sentinel also ``"READONLY"``, if no sentinel has named another master within a second.
    """

    sent = False
    code = ""


class HostListExhausted(HostConnectionError):
    """Command that no host can take, since all hosts of the router are down."""

    sent = False


class MaxRetriesExceededError(HostConnectionError):
    """Command whose hosts have all refused the connection, one after the other."""

    sent = False


class CommandError(RedisError):
    """Failed commands of a map; all other commands have run.

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
    """Use of a deferred result before the end of the map's block."""


class Call(NamedTuple):
    """Call of a method on a cluster.

    Attributes:
        name: the Redis command, or the dotted path of a method that is not a Redis command.
        args: the positional arguments.
        kwargs: the keyword arguments.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __str__(self) -> str:
        # The name and the first argument, usually the key. Values may be secret or large.
        return " ".join([str(self.name)[:60], *(f"{word!r:.60}" for word in self.args[:1])])
