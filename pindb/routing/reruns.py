"""Reruns: a read that fails on a replica runs again on another replica or on the master.

A `_Guard` wraps every statement on the servers of the DB sets (Django's ``execute_wrappers``). If a replica
breaks the connection, or cancels a query because of a recovery conflict, the statement runs again on another
server, and the caller's cursor continues there. Statements on a master, statements in a transaction, and
writes are never run again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

from django.db import Error, IntegrityError, NotSupportedError, ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper
from django.db.utils import DataError

from pindb import _events as events
from pindb._stats import count, count_read
from pindb._tracebacks import drop_tracebacks
from pindb.conf import conf, on_change
from pindb.exceptions import PinDbConfigError
from pindb.pins.context import NO_ALIASES, PinningContext, ReplicaChoices, current, get_context
from pindb.routing.cursors import ServerSideCursor, close_left_open
from pindb.routing.selection import select_after_failure
from pindb.sets.connections import (
    close_lost,
    get_connection,
    in_transaction,
    is_closed,
    is_lost,
    opened_at,
)
from pindb.sets.definitions import get_sets
from pindb.sets.servers import get_server, note_failure

__all__ = ["guard_open_connections", "is_read"]

#: PostgreSQL's codes for queries that a hot standby cancels because of a recovery conflict:
#: serialization_failure, deadlock_detected.
CONFLICTS = frozenset({"40001", "40P01"})

#: Errors that the statement would raise on every server.
OWN_FAULTS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)

_READS = re.compile(r"[\s(]*(?:SELECT|VALUES|TABLE|EXPLAIN|SHOW|WITH)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)


def is_read(sql: Any) -> bool:
    """Return whether a statement only reads, judging by its words.

    In doubt a statement counts as a write: a rerun on the master would really execute the write that a
    replica refused.
    """
    if not isinstance(sql, str):
        return False
    # Nearly all statements of the ORM.
    if sql.startswith("SELECT "):
        return True
    return _READS.match(sql) is not None and _WRITES.search(sql) is None


class _Guard:
    """A wrapper of all statements of one connection. Only the threads that use the connection use it.

    Arguments:
        connection: the connection.
        master: the alias of its set's master.
    """

    __slots__ = ("alias", "check_health", "connection", "is_master", "left_open", "master", "replica_read")

    def __init__(self, connection: BaseDatabaseWrapper, master: str) -> None:
        self.connection = connection
        self.alias = connection.alias
        self.master = master
        self.is_master = connection.alias == master
        self.replica_read = self.alias, "replica"
        # Server-side cursors that could not be closed when their iterators ended.
        self.left_open: list[Any] = []
        self.check_health = connection.close_if_health_check_failed

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        try:
            result = execute(sql, params, many, context)
        except OWN_FAULTS:
            raise
        except Error as error:
            wrapper = context["cursor"]
            if many or not self.may_rerun(error, wrapper.cursor, sql) or not self.rerun(wrapper, sql, params):
                raise
            drop_tracebacks(error)
            return None
        if many:
            return result
        wrapper = context["cursor"]
        if getattr(wrapper.cursor, "name", None):
            # A server-side cursor, whose rows are fetched later.
            wrapper.cursor = ServerSideCursor(self, wrapper, sql, params)
        if is_read(sql):
            unit = get_context() or current()
            choices = unit._choices or unit.choices
            if self.is_master or unit.positions or choices.tried:
                count_read((self.alias, self._reason(unit, choices)))
            else:
                count_read(self.replica_read)
            if not self.is_master and self.alias not in choices.served:
                choices.served |= {self.alias}
        return result

    def close_if_ended(self) -> None:
        """Close the connection if it has ended. Django calls this before each statement.

        It replaces ``close_if_health_check_failed``, which checks the connection once per request at most.
        """
        connection = self.connection
        if connection.connection is not None and is_closed(connection) and not in_transaction(connection):
            close_lost(connection)
        else:
            self.check_health()

    def _reason(self, unit: PinningContext, choices: ReplicaChoices) -> str:
        """Return why this server was read, as `pindb.Stats` names it."""
        if choices.tried:
            return "rerun"
        if not self.is_master:
            caught_up = self.master in unit.positions and self.master not in unit.from_replica
            return "caught_up" if caught_up else "replica"
        if self.master in unit.pinned:
            return "pinned"
        if self.connection.in_atomic_block:
            return "transaction"
        return "unavailable" if choices.replicas.get(self.master) == self.master else "direct"

    def may_rerun(self, error: Error, cursor: Any, sql: Any) -> bool:
        """Return whether a statement that failed may run on another server. Records a failure of the server.

        Arguments:
            error: the statement's error.
            cursor: the driver's cursor that ran the statement.
            sql: the statement.
        """
        connection = self.connection
        if not conf.PINDB_ENABLED:
            return False
        cause = error.__cause__
        code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        in_block = in_transaction(connection)
        if connection.vendor == "postgresql" and cursor.connection is not connection.connection:
            # The cursor belongs to an earlier connection; its end says nothing about the server now.
            if not cursor.connection.closed:
                return False
        elif code in CONFLICTS:
            # A recovery conflict is no failure of the server, even if it ends the connection.
            if is_lost(connection, error):
                close_lost(connection)
        elif is_lost(connection, error):
            self._note_lost(error)
        else:
            return False
        return not self.is_master and not in_block and is_read(sql)

    def _note_lost(self, error: Error) -> None:
        server, connection = get_server(self.alias), self.connection
        # An older connection broke with the failure that was recorded already.
        is_news = opened_at(connection) >= server.failed_at
        close_lost(connection)
        if is_news:
            note_failure(server, connection, "connection lost", error)
        if self.is_master and conf.PINDB_READ_REPLICAS_WHEN_MASTER_DOWN:
            # The next pinned read must check whether the master is up.
            current().routes.pop(self.master, None)

    def rerun(self, wrapper: CursorWrapper, sql: Any, params: Any) -> bool:
        """Run a statement on another server, and let the caller's cursor continue there.

        Arguments:
            wrapper: the caller's cursor.
            sql, params: the statement.

        Returns:
            False if there is no other server to try.

        Raises:
            django.db.Error: the error of the last server.
        """
        unit = current()
        choices = unit.choices
        is_outermost = not choices.tried
        choices.tried |= {self.alias}
        try:
            chosen = select_after_failure(unit, self.master, self.alias)
            if chosen in choices.tried:
                return False
            count("failovers")
            events.STATEMENT_RERUN.log(failed=self.alias, alias=chosen)
            connection = get_connection(chosen)
            old = wrapper.cursor
            is_named = bool(getattr(old, "name", None))
            new = connection.chunked_cursor() if is_named else connection.cursor()
            # If this server fails too, the guard of its connection runs the statement on the next one.
            new.execute(sql, params)
        finally:
            if is_outermost:
                choices.tried = NO_ALIASES
        try:
            old.close()
        except Exception as error:
            drop_tracebacks(error)
        wrapper.cursor, wrapper.db = new.cursor, new.db
        if isinstance(wrapper.cursor, ServerSideCursor):
            wrapper.cursor.wrapper = wrapper
        return True


def _guard(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    """Guard a connection's statements, if it leads to a server of a DB set."""
    if not conf.PINDB_ENABLED or conf.MASTER_DATABASES is None:
        return
    try:
        master = get_sets().masters.get(connection.alias)
    except PinDbConfigError:
        # Some system checks open a connection. They and the router report the wrong setting.
        return
    if master is None:
        return
    if master == connection.alias and get_server(master).down_since is not None:
        get_server(master).mark_up()
    wrappers = connection.execute_wrappers
    guards = [wrapper for wrapper in wrappers if isinstance(wrapper, _Guard)]
    if guards:
        # Django has reconnected; these cursors are of the connection before.
        close_left_open(guards[0])
        return
    guard = _Guard(connection, master)
    # The first wrapper is the outermost.
    wrappers.insert(0, guard)
    connection.__dict__["close_if_health_check_failed"] = guard.close_if_ended


def guard_open_connections() -> None:
    """Guard this thread's connections that were opened before pindb was imported or enabled."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            _guard(connection)


@on_change
def _switch(setting: str) -> None:
    """Guard this thread's connections while ``PINDB_ENABLED`` is on, and only then."""
    if setting != "PINDB_ENABLED":
        return
    if conf.PINDB_ENABLED:
        # Wrong settings are reported where they are used.
        with contextlib.suppress(PinDbConfigError):
            guard_open_connections()
        return
    for connection in connections.all(initialized_only=True):
        for guard in [one for one in connection.execute_wrappers if isinstance(one, _Guard)]:
            connection.execute_wrappers.remove(guard)
            connection.__dict__.pop("close_if_health_check_failed", None)


connection_created.connect(_guard, dispatch_uid="pindb.routing.reruns")
