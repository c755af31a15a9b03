"""The base class of position backends."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["BasePositions", "ask"]


class BasePositions:
    """A position backend: it reads and compares the positions of one database vendor.

    Stateless; safe under threads.
    """

    def current(self, connection: BaseDatabaseWrapper) -> str:
        """Return the current position of a master.

        A replica that has reached it has everything that was committed before the call.

        Arguments:
            connection: an open connection to the master.

        Returns:
            The position; an empty text if the server has none, since its replication log is off.

        Raises:
            django.db.Error: the query failed.
        """
        raise NotImplementedError

    def replayed(self, connection: BaseDatabaseWrapper) -> str:
        """Return the position that a replica has replayed: queries see everything up to it.

        Arguments:
            connection: an open connection to the replica.

        Raises:
            django.db.Error: the query failed.
        """
        raise NotImplementedError

    def has_reached(self, replayed: str, position: str) -> bool:
        """Return whether a replica that has replayed `replayed` has everything up to `position`.

        Arguments:
            replayed: what `replayed` returned for the replica.
            position: what `current` returned for the master.

        Raises:
            ValueError: a text is not a position.
        """
        raise NotImplementedError

    def incarnation(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return an identifier that changes when a replica restarts.

        After a restart, the replica may have to replay again what queries have already seen. pindb asks once
        per connection.

        Arguments:
            connection: an open connection to the replica.

        Returns:
            The identifier; None if a restart loses nothing.

        Raises:
            django.db.Error: the query failed.
        """
        return None

    def replay_age(self, connection: BaseDatabaseWrapper) -> float | None:
        """Return how long ago (seconds) the last transaction that a replica has replayed was committed.

        It is measured by the clocks of both servers, and used only for a replica that is behind its master.

        Arguments:
            connection: an open connection to the replica.

        Returns:
            The age; None if it is unknown.

        Raises:
            django.db.Error: the query failed.
        """
        return None


def ask(connection: BaseDatabaseWrapper, sql: str) -> tuple[Any, ...]:
    """Run a statement that returns one row. A comment marks the statement as pindb's in the server's logs."""
    with connection.cursor() as cursor:
        # The comment also keeps the statement out of the reads of `pindb.stats`, which begin with SELECT.
        cursor.execute(f"/* pindb */ {sql}")
        row: tuple[Any, ...] = cursor.fetchone()
        return row
