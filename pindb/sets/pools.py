"""Pools of psycopg's connections: ``OPTIONS["pool"]`` of Django's PostgreSQL backend.

A pool hides what its server does: it hands out connections that are long dead, and instead of "connection
refused" it says after a while that it has none. So pindb asks a server itself where the pool would not say,
and gives up the pool of a server that failed.
"""

from __future__ import annotations

import math
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from pindb.sets.definitions import pool_timeout

__all__ = ["drop_pool", "has_open_pool", "has_pool", "is_pool_error", "knock"]

#: How long (seconds) to wait for each thread of a pool that is given up. They end by themselves.
PATIENCE = 0.1


def has_pool(connection: BaseDatabaseWrapper) -> bool:
    """Whether a connection comes from a pool."""
    return connection.vendor == "postgresql" and bool(connection.settings_dict["OPTIONS"].get("pool"))


def has_open_pool(connection: BaseDatabaseWrapper) -> bool:
    """Whether the pool of a connection's server is at work in this process."""
    pool = _pools(connection).get(connection.alias)
    return pool is not None and not pool.closed


def knock(connection: Any) -> None:
    """Connect to a server past its pool, and hang up.

    Raises:
        django.db.Error: it refuses, or does not answer within ``connect_timeout``.
    """
    parameters = connection.get_connection_params()
    parameters.setdefault("connect_timeout", math.ceil(pool_timeout(connection.settings_dict["OPTIONS"])))
    with connection.wrap_database_errors:
        connection.Database.connect(**parameters).close()


def is_pool_error(error: BaseException) -> bool:
    """Whether it was the pool that gave no connection: it has none left, or was just given up."""
    return type(error.__cause__).__module__.partition(".")[0] == "psycopg_pool"


def drop_pool(connection: BaseDatabaseWrapper) -> None:
    """Give up the pool of a server that failed; the next connection comes from a new one.

    Idle connections are closed, those in use when they come back. A pool that stays would try to connect
    again at longer and longer intervals, and have none when the server is back.
    """
    pool = _pools(connection).pop(connection.alias, None)
    if pool is not None:
        pool.close(timeout=PATIENCE)


def _pools(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    if not has_pool(connection):
        return {}
    pools: dict[str, Any] = getattr(connection, "_connection_pools", {})
    return pools
