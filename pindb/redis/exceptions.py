"""What `pindb.redis` raises beside redis-py's own exceptions."""

from __future__ import annotations

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = [
    "BadHostSetup",
    "ClusterConfigError",
    "CommandCancelled",
    "HostConnectionError",
    "HostTimeoutError",
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
    """A host could not be reached, or its connection broke; the message names the host."""


class HostTimeoutError(RedisTimeoutError):
    """A host did not answer in time; the message names the host."""
