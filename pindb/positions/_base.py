"""What a class of positions has to say, for one kind of database."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["BasePositions", "ask"]


class BasePositions:
    """How one kind of database says where it is. Without state; safe under threads."""

    def current(self, connection: BaseDatabaseWrapper) -> str:
        """Where a master is now: a replica that got there has all that was committed before the call.

        Arguments:
            connection: an open connection to the master.

        Returns:
            The position; an empty text where the server has none (its replication is off).

        Raises:
            django.db.Error: the server cannot say.
        """
        raise NotImplementedError

    def replayed(self, connection: BaseDatabaseWrapper) -> str:
        """How far a replica is: everything up to there is visible to queries.

        Arguments:
            connection: an open connection to the replica.

        Raises:
            django.db.Error: the server cannot say.
        """
        raise NotImplementedError

    def has_reached(self, replayed: str, position: str) -> bool:
        """Whether a replica that is at `replayed` has everything up to the master's `position`.

        Raises:
            ValueError: a text is no position.
        """
        raise NotImplementedError

    def incarnation(self, connection: BaseDatabaseWrapper) -> str | None:
        """What is another text when a replica has restarted, and may have to replay again what it had shown.

        None: nothing is lost by a restart. Asked once for each connection.

        Arguments:
            connection: an open connection to the replica.

        Raises:
            django.db.Error: the server cannot say.
        """
        return None

    def replay_age(self, connection: BaseDatabaseWrapper) -> float | None:
        """How long ago (seconds) the last transaction that a replica replayed was committed, by the clocks.

        None where that is not known. Believed only of a replica that is behind its master.
        """
        return None


def ask(connection: BaseDatabaseWrapper, sql: str) -> tuple[Any, ...]:
    """The one row that a statement of pindb's own returns, which says so to whoever watches the server."""
    with connection.cursor() as cursor:
        # It is not among the reads of `pindb.stats` either: see pindb.routing.reruns.is_read.
        cursor.execute(f"/* pindb */ {sql}")
        row: tuple[Any, ...] = cursor.fetchone()
        return row
