"""Server-side cursors, as ``iterator()`` has them: watched from the first row to the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from django.db import Error
from django.db.backends.utils import CursorWrapper

from pindb._tracebacks import drop_tracebacks
from pindb.sets.connections import in_transaction

__all__ = ["Stream", "Watch"]

#: How many rows to fetch at once where neither the caller nor the driver says.
ROWS = 2000


class Watch(Protocol):
    """What stands around the statements of a connection, as far as streams need it."""

    connection: Any
    left_open: list[Any]

    def may_rerun(self, error: Error, cursor: Any, sql: Any) -> bool: ...

    def rerun(self, wrapper: CursorWrapper, sql: Any, params: Any) -> bool: ...


class Stream:
    """A server-side cursor, in the place of the driver's own.

    A fetch that fails before rows were handed out runs its statement elsewhere. Later it fails as the driver
    says, since what comes next elsewhere might not go with them; that the connection was lost is noted.

    Arguments:
        watch: the watch of its connection.
        wrapper: the caller's cursor, around this one.
        sql, params: its statement.
    """

    def __init__(self, watch: Watch, wrapper: CursorWrapper, sql: Any, params: Any) -> None:
        self.watch = watch
        self.wrapper = wrapper
        # One that is executed again is watched already.
        self.cursor: Any = wrapper.cursor.cursor if isinstance(wrapper.cursor, Stream) else wrapper.cursor
        self.statement: tuple[Any, Any] = sql, params
        self.has_begun = False
        # Whoever closes this cursor holds no lock of the connection's.
        self.lock: Any = getattr(watch.connection.connection, "lock", None)
        if watch.left_open:
            close_left_open(watch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, name)

    def __iter__(self) -> Iterator[Any]:
        rows = getattr(self.cursor, "itersize", ROWS)
        # The caller's cursor may go on elsewhere.
        while found := self.wrapper.cursor.fetchmany(rows):
            yield from found

    def fetchone(self) -> Any:
        return self._fetch("fetchone")

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        return self._fetch("fetchmany", *args, **kwargs)

    def fetchall(self) -> Any:
        return self._fetch("fetchall")

    def _fetch(self, name: str, *args: Any, **kwargs: Any) -> Any:
        watch, wrapper = self.watch, self.wrapper
        fetch: Callable[..., Any] = getattr(self.cursor, name)
        try:
            with watch.connection.wrap_database_errors:
                rows = fetch(*args, **kwargs)
        except Error as error:
            may_rerun = watch.may_rerun(error, self.cursor, self.statement[0])
            if self.has_begun or wrapper.cursor is not self or not may_rerun:
                raise
            if not watch.rerun(wrapper, *self.statement):
                raise
            drop_tracebacks(error)
        else:
            self.has_begun = True
            return rows
        return getattr(wrapper.cursor, name)(*args, **kwargs)

    def close(self) -> None:
        """Close the cursor on the server too. Also called by the garbage collector, anywhere."""
        if self.wrapper.cursor is self:
            # Each would keep the other alive.
            self.wrapper.cursor = self.cursor
        if self.lock is not None and self.lock.locked():
            # psycopg would wait for its own caller, if the garbage collector interrupts a statement.
            self.watch.left_open.append(self.cursor)
            return
        connection = self.watch.connection
        try:
            self.cursor.close()
        except connection.Database.Error:
            if not self.cursor.connection.closed:
                raise
            # Nobody waits for more rows. The connection's own thread closes it when it next needs it.
            connection.errors_occurred = True


def close_left_open(watch: Watch) -> None:
    """Close the cursors that could not be closed when their iterators ended."""
    if in_transaction(watch.connection):
        # A cursor that is gone already would spoil the transaction.
        return
    while watch.left_open:
        try:
            watch.left_open.pop().close()
        except watch.connection.Database.Error as error:
            drop_tracebacks(error)
