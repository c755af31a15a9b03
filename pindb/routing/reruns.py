"""Statements that a replica failed are run again on another one, or on the master.

A `_Watch` stands around every statement of a set's members, in Django's ``execute_wrappers``. When a replica
breaks the connection, or cancels a query because of what it replays, the same statement runs elsewhere and
the caller's cursor goes on there. Never for a statement on a master, never inside a transaction, and only for
statements that read.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable
from typing import Any

from django.db import Error, IntegrityError, NotSupportedError, ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper
from django.db.utils import DataError

from pindb._stats import count, count_read
from pindb._tracebacks import drop_tracebacks
from pindb.conf import conf, on_change
from pindb.exceptions import PinDbConfigError
from pindb.pins.context import NONE, Choices, PinningContext, current, get_context
from pindb.routing.replicas import choose_again
from pindb.routing.streams import Stream, close_left_open
from pindb.sets.connections import close_lost, get_connection, in_transaction, is_closed, opened_at
from pindb.sets.definitions import get_sets
from pindb.sets.health import is_lost, note_failure
from pindb.sets.servers import get_member

__all__ = ["is_read", "watch_open_connections"]

logger = logging.getLogger("pindb")

#: A hot standby cancelled the query, to go on replaying: serialization_failure, deadlock_detected. (Appendix
#: A of PostgreSQL's manual; "Handling Query Conflicts" in its chapter on hot standby.)
CONFLICTS = frozenset({"40001", "40P01"})

#: Errors that are the statement's own fault.
OWN_FAULTS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)

_READS = re.compile(r"[\s(]*(?:SELECT|VALUES|TABLE|EXPLAIN|SHOW|WITH)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)


def is_read(sql: Any) -> bool:
    """Whether a statement only reads, as far as its words say.

    A master would run what a replica refuses, so that everything doubtful counts as a write.
    """
    if not isinstance(sql, str):
        return False
    # Nearly all that Django writes.
    if sql.startswith("SELECT "):
        return True
    return _READS.match(sql) is not None and _WRITES.search(sql) is None


class _Watch:
    """Stands around the statements of one connection. Used by the threads that use the connection.

    Arguments:
        connection: the connection.
        master: the alias of its set's master.
    """

    __slots__ = ("alias", "check_health", "connection", "in_turn", "is_master", "left_open", "master")

    def __init__(self, connection: BaseDatabaseWrapper, master: str) -> None:
        self.connection = connection
        self.alias = connection.alias
        self.master = master
        self.is_master = connection.alias == master
        self.in_turn = self.alias, "replica"
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
            # A server-side cursor: its rows are still to come.
            wrapper.cursor = Stream(self, wrapper, sql, params)
        if is_read(sql):
            unit = get_context() or current()
            choices = unit._choices or unit.choices
            if self.is_master or unit.positions or choices.tried:
                count_read((self.alias, self._reason(unit, choices)))
            else:
                count_read(self.in_turn)
            if not self.is_master and self.alias not in choices.served:
                choices.served |= {self.alias}
        return result

    def close_if_ended(self) -> None:
        """Close the connection if it has ended; Django asks before each statement.

        Stands in the place of ``close_if_health_check_failed``, which looks once in a request at most.
        """
        connection = self.connection
        if connection.connection is not None and is_closed(connection) and not in_transaction(connection):
            close_lost(connection)
        else:
            self.check_health()

    def _reason(self, unit: PinningContext, choices: Choices) -> str:
        """Why a statement came here; see `pindb._stats.Stats`."""
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
        """Whether a statement that failed may run elsewhere; what the error tells of the server is noted.

        Arguments:
            error: what it failed with.
            cursor: the driver's cursor that ran it.
            sql: the statement.
        """
        connection = self.connection
        if not conf.PINDB_ENABLED:
            return False
        cause = error.__cause__
        code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        in_block = in_transaction(connection)
        if connection.vendor == "postgresql" and cursor.connection is not connection.connection:
            # It outlived its connection, which says nothing about the server.
            if not cursor.connection.closed:
                return False
        elif code in CONFLICTS:
            # The server is well, also where it ended the connection for that.
            if is_lost(connection, error):
                close_lost(connection)
        elif is_lost(connection, error):
            self._note_lost(error)
        else:
            return False
        return not self.is_master and not in_block and is_read(sql)

    def _note_lost(self, error: Error) -> None:
        member, connection = get_member(self.alias), self.connection
        # One that is older than the last failure tells of that failure.
        is_news = opened_at(connection) >= member.failed_at
        close_lost(connection)
        if is_news:
            note_failure(member, connection, "it broke the connection", error)
        if self.is_master and conf.PINDB_READ_REPLICAS_WHEN_MASTER_DOWN:
            # The next pinned read looks whether it is there.
            current().reads.pop(self.master, None)

    def rerun(self, wrapper: CursorWrapper, sql: Any, params: Any) -> bool:
        """Run a statement elsewhere and let the caller's cursor go on there.

        Arguments:
            wrapper: the caller's cursor.
            sql, params: the statement.

        Returns:
            False where there is no other member to ask.

        Raises:
            django.db.Error: what the last member failed with.
        """
        unit = current()
        choices = unit.choices
        is_outermost = not choices.tried
        choices.tried |= {self.alias}
        try:
            chosen = choose_again(unit, self.master, self.alias)
            if chosen in choices.tried:
                return False
            count("failovers")
            logger.debug("A statement that %r failed runs on %r.", self.alias, chosen)
            connection = get_connection(chosen)
            old = wrapper.cursor
            is_named = bool(getattr(old, "name", None))
            new = connection.chunked_cursor() if is_named else connection.cursor()
            # Its own watch sees to it that it runs elsewhere again where it has to.
            new.execute(sql, params)
        finally:
            if is_outermost:
                choices.tried = NONE
        try:
            old.close()
        except Exception as error:
            drop_tracebacks(error)
        wrapper.cursor, wrapper.db = new.cursor, new.db
        if isinstance(wrapper.cursor, Stream):
            wrapper.cursor.wrapper = wrapper
        return True


def _watch(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    """Stand around a connection's statements, if it is to a member of a set."""
    if not conf.PINDB_ENABLED or conf.MASTER_DATABASES is None:
        return
    try:
        master = get_sets().masters.get(connection.alias)
    except PinDbConfigError:
        # The checks report it, some of which open a connection; the router raises it.
        return
    if master is None:
        return
    if master == connection.alias and get_member(master).down_since is not None:
        get_member(master).mark_up()
    wrappers = connection.execute_wrappers
    watches = [wrapper for wrapper in wrappers if isinstance(wrapper, _Watch)]
    if watches:
        # Those of the connection before this one.
        close_left_open(watches[0])
        return
    watch = _Watch(connection, master)
    # The first one is the outermost.
    wrappers.insert(0, watch)
    connection.__dict__["close_if_health_check_failed"] = watch.close_if_ended


def watch_open_connections() -> None:
    """Watch this thread's connections that were opened before pindb was there to see it, or was on."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            _watch(connection)


@on_change
def _switch(setting: str) -> None:
    """Watch this thread's connections while pindb is on, and only then."""
    if setting != "PINDB_ENABLED":
        return
    if conf.PINDB_ENABLED:
        # Wrong settings are told of where they are used.
        with contextlib.suppress(PinDbConfigError):
            watch_open_connections()
        return
    for connection in connections.all(initialized_only=True):
        for watch in [one for one in connection.execute_wrappers if isinstance(one, _Watch)]:
            connection.execute_wrappers.remove(watch)
            connection.__dict__.pop("close_if_health_check_failed", None)


connection_created.connect(_watch, dispatch_uid="pindb.routing.reruns")
