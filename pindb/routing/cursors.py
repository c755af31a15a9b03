"""Server-side cursors, as ``iterator()`` opens them: guarded from the first row to the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from django.db import Error
from django.db.backends.utils import CursorWrapper

from pindb._tracebacks import drop_tracebacks
from pindb.sets.connections import in_transaction

__all__ = ["Guard", "ServerSideCursor", "close_left_open"]

#: How many rows to fetch at once, if neither the caller nor the driver says.
ROWS = 2000


class Guard(Protocol):
    """The part of `pindb.routing.reruns._Guard` that cursors need."""

    connection: Any
    left_open: list[Any]

    def may_rerun(self, error: Error, cursor: Any, sql: Any) -> bool: ...

    def rerun(self, wrapper: CursorWrapper, sql: Any, params: Any) -> bool: ...


class ServerSideCursor:
    """A driver's server-side cursor whose fetches can be run again on another server.

    If the first fetch fails, the statement runs again elsewhere. A later fetch raises the driver's error,
    since the rows of another server might not continue those that the caller has; a lost connection is
    recorded even then.

    Arguments:
        guard: the guard of the cursor's connection.
        wrapper: the caller's cursor, which wraps this one.
        sql, params: the statement.
    """

    def __init__(self, guard: Guard, wrapper: CursorWrapper, sql: Any, params: Any) -> None:
        self.guard = guard
        self.wrapper = wrapper
        # A caller may execute a second statement with the same cursor.
        is_second = isinstance(wrapper.cursor, ServerSideCursor)
        self.cursor: Any = wrapper.cursor.cursor if is_second else wrapper.cursor
        self.statement: tuple[Any, Any] = sql, params
        self.has_begun = False
        # psycopg's lock of the connection, which closing the cursor takes.
        self.lock: Any = getattr(guard.connection.connection, "lock", None)
        if guard.left_open:
            close_left_open(guard)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, name)

    def __iter__(self) -> Iterator[Any]:
        rows = getattr(self.cursor, "itersize", ROWS)
        # Not self.fetchmany: after a rerun, the caller's cursor wraps another one.
        while found := self.wrapper.cursor.fetchmany(rows):
            yield from found

    def fetchone(self) -> Any:
        return self._fetch("fetchone")

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        return self._fetch("fetchmany", *args, **kwargs)

    def fetchall(self) -> Any:
        return self._fetch("fetchall")

    def _fetch(self, name: str, *args: Any, **kwargs: Any) -> Any:
        guard, wrapper = self.guard, self.wrapper
        fetch: Callable[..., Any] = getattr(self.cursor, name)
        try:
            with guard.connection.wrap_database_errors:
                rows = fetch(*args, **kwargs)
        except Error as error:
            may_rerun = guard.may_rerun(error, self.cursor, self.statement[0])
            if self.has_begun or wrapper.cursor is not self or not may_rerun:
                raise
            if not guard.rerun(wrapper, *self.statement):
                raise
            drop_tracebacks(error)
        else:
            self.has_begun = True
            return rows
        return getattr(wrapper.cursor, name)(*args, **kwargs)

    def close(self) -> None:
        """Close the cursor on the server too. The garbage collector also calls this, at any moment."""
        if self.wrapper.cursor is self:
            # Break the reference cycle of the two cursors.
            self.wrapper.cursor = self.cursor
        if self.lock is not None and self.lock.locked():
            # If the garbage collector interrupts a statement, this thread holds the lock already, and
            # closing the cursor would be a deadlock.
            self.guard.left_open.append(self.cursor)
            return
        connection = self.guard.connection
        try:
            self.cursor.close()
        except connection.Database.Error:
            if not self.cursor.connection.closed:
                raise
            # The caller needs no more rows, so the error is not raised. The connection's own thread closes
            # the connection before its next statement.
            connection.errors_occurred = True


def close_left_open(guard: Guard) -> None:
    """Close the cursors that could not be closed when their iterators ended."""
    if in_transaction(guard.connection):
        # Closing a cursor that no longer exists would abort the transaction.
        return
    while guard.left_open:
        try:
            guard.left_open.pop().close()
        except guard.connection.Database.Error as error:
            drop_tracebacks(error)
