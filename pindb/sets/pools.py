"""Pools of PostgreSQL connections: ``OPTIONS["pool"]`` of Django's backend, by psycopg_pool.

A pool hides the state of its server. It hands out connections that died long ago, and where the server
refuses connections, it only raises a timeout after a while. So pindb connects past the pool to see whether a
server is up, and closes the pool of a server that failed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["drop_pool", "has_open_pool", "has_pool", "is_pool_error", "pool_timeout", "probe"]

#: How long (seconds) a read waits for a connection of a replica's pool, if no setting says otherwise.
POOL_TIMEOUT = 5.0

#: How long (seconds) to wait for each worker thread when a pool is closed. They also end by themselves.
CLOSE_TIMEOUT = 0.1


def pool_timeout(options: Mapping[str, Any]) -> float:
    """Return how long (seconds) to wait for a connection of a pool.

    Arguments:
        options: the ``OPTIONS`` of a database. The pool's own ``"timeout"`` comes first, then
            ``connect_timeout``, then `POOL_TIMEOUT`.
    """
    pool = options.get("pool")
    for value in (pool.get("timeout") if isinstance(pool, Mapping) else None, options.get("connect_timeout")):
        try:
            seconds = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        # libpq takes 0 and negative numbers as no timeout.
        if seconds > 0:
            return seconds
    return POOL_TIMEOUT


def has_pool(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a connection comes from a pool."""
    return connection.vendor == "postgresql" and bool(connection.settings_dict["OPTIONS"].get("pool"))


def has_open_pool(connection: BaseDatabaseWrapper) -> bool:
    """Return whether this process has an open pool for a connection's server."""
    pool = _pools(connection).get(connection.alias)
    return pool is not None and not pool.closed


def probe(connection: Any) -> None:
    """Connect to a server without its pool, and disconnect again.

    Raises:
        django.db.Error: the server refuses the connection, or does not answer within ``connect_timeout``.
    """
    parameters = connection.get_connection_params()
    parameters.setdefault("connect_timeout", math.ceil(pool_timeout(connection.settings_dict["OPTIONS"])))
    with connection.wrap_database_errors:
        connection.Database.connect(**parameters).close()


def is_pool_error(error: BaseException) -> bool:
    """Return whether an error is the pool's own: no connection in time, or the pool was closed."""
    return type(error.__cause__).__module__.partition(".")[0] == "psycopg_pool"


def drop_pool(connection: BaseDatabaseWrapper) -> None:
    """Close the pool of a server that failed; the next connection opens a new pool.

    Idle connections are closed now, connections in use when they are returned. A pool that was kept would
    reconnect with growing backoff, and still be empty when the server is up again.
    """
    pool = _pools(connection).pop(connection.alias, None)
    if pool is not None:
        pool.close(timeout=CLOSE_TIMEOUT)


def _pools(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    if not has_pool(connection):
        return {}
    pools: dict[str, Any] = getattr(connection, "_connection_pools", {})
    return pools
