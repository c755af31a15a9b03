"""This thread's connections to database servers, and what pindb notes on each of them."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from pindb._tracebacks import drop_tracebacks

__all__ = [
    "close_lost",
    "connections_here",
    "get_connection",
    "in_transaction",
    "is_closed",
    "opened_at",
]

#: This thread's connections by alias: Django's own registry takes 20 times as long to ask. Its ``__dict__``
#: is read, which is faster than an attribute that holds a dict.
connections_here = threading.local()


def get_connection(alias: str) -> BaseDatabaseWrapper:
    """This thread's connection to the server `alias`, open or not."""
    connection: BaseDatabaseWrapper | None = connections_here.__dict__.get(alias)
    if connection is None:
        # A plain text: what Django keeps as the connection's alias is not to be routed again.
        connection = connections_here.__dict__[alias] = connections[str(alias)]
    return connection


def is_closed(connection: BaseDatabaseWrapper) -> bool:
    """Whether the driver knows that a connection has ended. Asks nobody else."""
    raw: Any = connection.connection
    if raw is None:
        return True
    if connection.vendor == "postgresql":
        return bool(raw.closed)
    if connection.vendor == "mysql":
        return not getattr(raw, "open", True)
    return False


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether a transaction is open, by ``atomic`` or by ``set_autocommit(False)``."""
    return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)


def close_lost(connection: BaseDatabaseWrapper) -> None:
    """Close a connection that has ended, so that the next statement opens another.

    Not in a transaction: what comes next in it must not be committed by itself.
    """
    # Where this is another thread, the connection's own looks at it by that.
    connection.errors_occurred = True
    if in_transaction(connection):
        return
    try:
        connection.close()
    except Error as error:
        drop_tracebacks(error)


def opened_at(connection: BaseDatabaseWrapper) -> float:
    """When a connection was opened (`time.monotonic`); always, where that is not known."""
    opened: float = connection.__dict__.get("_pindb_opened_at", float("-inf"))
    return opened


def _note_opened(connection: Any, **kwargs: object) -> None:
    # Django takes the alias from whoever was first to ask for the connection: the router's may be one that it
    # would route again.
    connection.alias = str(connection.alias)
    # It may have taken the place of another one: connections[alias] can be deleted and set.
    connections_here.__dict__.pop(connection.alias, None)
    raw = connection.connection
    # A pool's connection was opened before it was handed out, and may have been asked before.
    connection._pindb_opened_at = getattr(raw, "_created_at", None) or time.monotonic()
    connection._pindb_trust = None
    connection._pindb_incarnation = getattr(raw, "_pindb_incarnation", None)


connection_created.connect(_note_opened, dispatch_uid="pindb.sets.connections")
