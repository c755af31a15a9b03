"""Django's connections to database servers: this thread's connections, and whether they are still alive."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.db import Error, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from pindb._tracebacks import drop_tracebacks

__all__ = [
    "close_lost",
    "get_connection",
    "in_transaction",
    "is_closed",
    "is_lost",
    "opened_at",
    "thread_connections",
]

#: This thread's connections by alias: a look-up in Django's own registry takes 20 times as long. Callers read
#: its ``__dict__``, which is faster than a dict in an attribute.
thread_connections = threading.local()

#: MySQL's and MariaDB's error codes that mean a lost connection: the server shuts down, the connection was
#: killed, server has gone away, connection lost, connection lost with a reason, closed after inactivity.
LOST_CODES = frozenset({1053, 1927, 2006, 2013, 2055, 4031})


def get_connection(alias: str) -> BaseDatabaseWrapper:
    """Return this thread's connection to a server, open or not."""
    connection: BaseDatabaseWrapper | None = thread_connections.__dict__.get(alias)
    if connection is None:
        # str: Django keeps the key as the connection's alias, and a RoutedAlias there would be routed again.
        connection = thread_connections.__dict__[alias] = connections[str(alias)]
    return connection


def is_closed(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the driver knows that a connection has ended. Sends nothing to the server."""
    raw: Any = connection.connection
    if raw is None:
        return True
    if connection.vendor == "postgresql":
        return bool(raw.closed)
    if connection.vendor == "mysql":
        return not getattr(raw, "open", True)
    return False


def is_lost(connection: BaseDatabaseWrapper, error: BaseException) -> bool:
    """Return whether a statement's error means that the connection was lost."""
    if is_closed(connection):
        return True
    if connection.vendor == "mysql":
        # PyMySQL raises a bare InterfaceError for every statement after the connection was lost.
        code = error.args[0] if error.args else None
        return isinstance(error, InterfaceError) or code in LOST_CODES
    if connection.vendor == "postgresql":
        return False
    return not connection.in_atomic_block and not connection.is_usable()


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a transaction is open, by ``atomic()`` or by ``set_autocommit(False)``."""
    return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)


def close_lost(connection: BaseDatabaseWrapper) -> None:
    """Close a lost connection, so that the next statement opens a new one.

    Does nothing in a transaction: the rest of the transaction must not be committed on its own.
    """
    # In another thread than the connection's own, close() fails; this makes its own thread check it.
    connection.errors_occurred = True
    if in_transaction(connection):
        return
    try:
        connection.close()
    except Error as error:
        drop_tracebacks(error)


def opened_at(connection: BaseDatabaseWrapper) -> float:
    """Return when a connection was opened (`time.monotonic`); minus infinity if unknown."""
    opened: float = connection.__dict__.get("_pindb_opened_at", float("-inf"))
    return opened


def _reset_notes(connection: Any, **kwargs: object) -> None:
    # Django gives a connection the alias that it was first looked up by, which may be a RoutedAlias.
    connection.alias = str(connection.alias)
    # The site may have replaced an entry of `connections`; look it up again.
    thread_connections.__dict__.pop(connection.alias, None)
    raw = connection.connection
    # A pool may have opened the connection, and pindb may have used it, before it was handed out now.
    connection._pindb_opened_at = getattr(raw, "_created_at", None) or time.monotonic()
    connection._pindb_verified = None
    connection._pindb_incarnation = getattr(raw, "_pindb_incarnation", None)


connection_created.connect(_reset_notes, dispatch_uid="pindb.sets.connections")
