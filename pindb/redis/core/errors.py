"""Errors that name the server, and the command, that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pindb.redis.core.cluster_mode import NamedHost, name_mode
from pindb.redis.core.names import read_word
from pindb.redis.core.outages import FULL, find_outage, unavailable
from pindb.redis.exceptions import HostConnectionError, HostTimeoutError, PoolExhausted

__all__ = ["at_host", "explained", "located", "undecodable"]


def at_host(error: Exception, host: NamedHost) -> RedisError:
    """Return the error of a connection as one that names the host.

    Arguments:
        error: redis-py's error, or an `OSError`.
        host: the host.
    """
    outage = unavailable(error, host)
    if outage is not None:
        return outage
    if FULL in str(error):
        return PoolExhausted(
            f"{host}: the server takes no more connections ({error}). Raise its maxclients, or lower the "
            "max_connections of its clients."
        )
    if getattr(error, "is_exhausted", False):
        return PoolExhausted(
            f"{host}: all connections of its pool are in use. Raise max_connections, or use the host from "
            "fewer threads at once."
        )
    # Others keep their type: AuthenticationError, for example.
    kind: type[Any] = type(error)
    if isinstance(error, RedisTimeoutError):
        kind = HostTimeoutError
    elif kind in (RedisConnectionError, InvalidResponse) or not isinstance(error, RedisError):
        # After an invalid response, the position in the stream of replies is unknown.
        kind = HostConnectionError
    told: RedisError = kind(f"{host}: {error}")
    for name in ("sent", "by_caller"):
        if hasattr(told, name):
            setattr(told, name, getattr(error, name, getattr(told, name)))
    return told


def explained(error: RedisError, host: NamedHost, words: Sequence[Any]) -> RedisError:
    """Return the error of a single command of redis-py's as one that names the host."""
    if isinstance(error, ResponseError) and not find_outage(error):
        return located(error, host, words[:2])
    if not isinstance(error, (RedisConnectionError, RedisTimeoutError, InvalidResponse, ResponseError)):
        return error
    told = at_host(error, host)
    told.__cause__ = error.__cause__
    return told


def located(error: RedisError, host: NamedHost, words: Sequence[Any]) -> RedisError:
    """Put the command, by its first words, and its host in front of an error's message."""
    command = " ".join(read_word(word)[:60] if i == 0 else f"{word!r:.60}" for i, word in enumerate(words))
    if error.args and isinstance(error.args[0], str):
        error.args = (f"{command} on {host}: {name_mode(error, error.args[0], host)}", *error.args[1:])
    return error


def undecodable(error: UnicodeDecodeError) -> RedisError:
    """Return the error for a reply that is not in the encoding of its connection."""
    return InvalidResponse(f"decode_responses does not suit the reply: {error}")
