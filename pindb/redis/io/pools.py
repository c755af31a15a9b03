"""Connection pools that survive interruptions, and mark errors that mean "pool exhausted"."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from inspect import Parameter, signature
from typing import Any
from weakref import ref

from redis.connection import BlockingConnectionPool, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from pindb.redis.io.connections import get_end

__all__ = ["adapt_pool", "close_pool", "get_connection"]

# Before 5.3, redis-py requires the name of the command that the connection is for.
_name = signature(ConnectionPool.get_connection).parameters.get("command_name")
POOL_ARGUMENTS = ("pindb",) if _name is not None and _name.default is Parameter.empty else ()


def get_connection(pool: Any) -> Any:
    """Take a connection from a pool of any redis-py."""
    return pool.get_connection(*POOL_ARGUMENTS)


class _Lent:
    """The connections in use. A connection that was lost leaves when nothing refers to it any more."""

    def __init__(self) -> None:
        self._references: set[ref[Any]] = set()

    def __len__(self) -> int:
        return len(self._references)

    def __iter__(self) -> Iterator[Any]:
        return iter([connection for each in list(self._references) if (connection := each()) is not None])

    def make_reference(self, connection: Any) -> ref[Any]:
        """Return the weak reference that stands for a connection here."""
        reference = ref(connection, self._references.discard)
        # It caches its hash, by which it is found when the connection is gone.
        hash(reference)
        return reference

    def add(self, connection: Any) -> None:
        """Add a connection that the pool has made."""
        self._references.add(connection.lent)

    def remove(self, connection: Any) -> None:
        """Remove a connection; raises `KeyError` if it is not here."""
        self._references.remove(connection.lent)


class _PoolMixin:
    """What pindb adds to redis-py's pools.

    A connection that is returned while an exception propagates that is not redis-py's own (a soft time limit,
    KeyboardInterrupt) may still get a reply, so it is closed. If such an exception strikes while a connection
    is being returned, the connection is lost; it no longer counts as one in use when nothing refers to it.

    A connection that is returned twice has one user all the same. redis-py's pipelines return it again if an
    exception strikes between its return and their noting that, and redis-py's blocking pools (before 5.3, all
    of its pools) would then lend it to two callers at once.
    """

    _generation = 0
    #: `get_connection` of the adapted class.
    _get: Callable[..., Any]

    def reset(self) -> None:
        super().reset()  # type: ignore[misc]
        if hasattr(self, "_in_use_connections"):
            self._in_use_connections: Any = _Lent()

    def make_connection(self) -> Any:
        pool: Any = self
        is_counted = hasattr(self, "_in_use_connections")
        if is_counted and pool._created_connections >= pool.max_connections:
            pool._created_connections = len(pool._available_connections) + len(pool._in_use_connections)
        try:
            connection = super().make_connection()  # type: ignore[misc]
        except RedisConnectionError as error:
            error.is_exhausted = True  # type: ignore[attr-defined]
            raise
        if is_counted:
            connection.lent = self._in_use_connections.make_reference(connection)
        return connection

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        try:
            connection = self._get(*args, **kwargs)
        except RedisConnectionError as error:
            if isinstance(error.__context__, queue.Empty):
                error.is_exhausted = True  # type: ignore[attr-defined]
            raise
        connection.taken = sys.exc_info()[1], self._generation
        return connection

    def release(self, connection: Any) -> None:
        taken, connection.taken = getattr(connection, "taken", None), None
        if taken is None and connection in self._idle:
            return
        # A connection that could not be connected was never handed out.
        earlier, generation = taken or (None, self._generation)
        raised = sys.exc_info()[1]
        if generation != self._generation or (
            raised is not earlier and raised is not None and not isinstance(raised, RedisError)
        ):
            connection.disconnect()
        super().release(connection)  # type: ignore[misc]

    @property
    def _idle(self) -> Any:
        pool: Any = self
        if hasattr(self, "_available_connections"):
            return pool._available_connections
        # A blocking pool has a queue, of any class.
        return getattr(pool.pool, "queue", ())

    def close_idle(self, and_others_later: bool) -> None:
        """Close the idle connections, and if wanted the others as they are returned."""
        self._generation += and_others_later
        pool: Any = self
        if hasattr(self, "_available_connections"):
            with pool._lock:
                for connection in pool._available_connections:
                    connection.disconnect()
            return
        # No other thread gets a connection while it is being closed.
        idle = []
        try:
            while True:
                idle.append(pool.pool.get_nowait())
        except queue.Empty:
            pass
        for connection in reversed(idle):
            if connection is not None:
                connection.disconnect()
            pool.pool.put_nowait(connection)


class _BlockingMixin(_PoolMixin):
    """A blocking pool that waits no longer than the caller."""

    @property
    def timeout(self) -> float | None:
        end, timeout = get_end(), self._timeout
        if end is None:
            return timeout
        left = max(end - time.monotonic(), 0)
        return left if timeout is None else min(left, timeout)

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._timeout = seconds


def adapt_pool(kind: type[Any]) -> type[Any]:
    """Return a subclass of one of redis-py's pools with what pindb adds; other classes unchanged."""
    if not isinstance(kind, type) or not issubclass(kind, ConnectionPool) or issubclass(kind, _PoolMixin):
        return kind
    return _adapted(kind)


@cache
def _adapted(kind: type[Any]) -> type[Any]:
    mixin = _BlockingMixin if issubclass(kind, BlockingConnectionPool) else _PoolMixin
    names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "_get": _plain(kind.get_connection)}
    return type(kind.__name__, (mixin, kind), names)


def _plain(method: Any) -> Any:
    """Return a method without redis-py's wrapper, which checks for deprecated arguments at each call."""
    is_redis_pys = getattr(method, "__globals__", {}).get("__name__") == "redis.utils"
    return getattr(method, "__wrapped__", method) if is_redis_pys else method


def close_pool(pool: Any, idle_only: bool) -> None:
    """Close the connections of a pool; see `Cluster.disconnect_pools`."""
    if isinstance(pool, _PoolMixin):
        pool.close_idle(and_others_later=not idle_only)
    else:
        pool.disconnect()
