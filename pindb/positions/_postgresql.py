"""The position backend for PostgreSQL with streaming replication."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from pindb.positions._base import BasePositions, ask

__all__ = ["PostgreSQLPositions"]


class PostgreSQLPositions(BasePositions):
    """The position backend for PostgreSQL.

    A position has a timeline and a log sequence number (LSN), as in ``"1:0/16B3748"``. Each promotion begins
    a new timeline. A position of an earlier timeline is in the past of all later ones, or was lost with the
    old master. A position of a later timeline is on no server of an earlier one, whatever its LSN. A server
    that was promoted follows no other server, so it has positions of its own timeline only.

    Roles without ``pg_read_all_stats`` see the new timeline of a replica only at its next restart point, some
    minutes after a promotion. Until then their pinned reads go to the master.
    """

    # The name of a WAL segment begins with its timeline. In recovery these functions would raise an error.
    MASTER = """
        SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn() END::text,
            CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_insert_lsn()) END,
            current_setting('wal_block_size')
    """

    # The timeline is the later one of two: that of the WAL receiver (hidden from ordinary roles, and missing
    # while nothing is received), and that of the last restart point.
    REPLICA = """
        SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END::text,
            (SELECT received_tli FROM pg_stat_get_wal_receiver()),
            (SELECT timeline_id FROM pg_control_checkpoint())
    """

    #: The lengths of the header of a WAL page: of most pages, and of the first page of a segment.
    HEADERS = (24, 40)

    def current(self, connection: BaseDatabaseWrapper) -> str:
        return self._of_master(connection) or self._of_replica(connection) or ""

    def replayed(self, connection: BaseDatabaseWrapper) -> str:
        return self._of_replica(connection) or f"{self._of_master(connection)}!"

    def _of_master(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the position of a server that accepts writes; None if it is in recovery."""
        lsn, segment, page = ask(connection, self.MASTER)
        if lsn is None:
            return None
        number, page = _lsn(lsn), int(page)
        # If the page is still empty, the LSN points behind its header, and no replica reaches that LSN before
        # the next write. So use the beginning of the page.
        if number % page in self.HEADERS:
            number -= number % page
        return self._text(int(segment[:8], 16), number)

    def _of_replica(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the position of a server in recovery; None if it is not in recovery."""
        lsn, received, restarted = ask(connection, self.REPLICA)
        return None if lsn is None else self._text(max(received or 0, restarted), _lsn(lsn))

    def has_reached(self, replayed: str, position: str) -> bool:
        timeline, number, follows = self._parse(replayed)
        wanted_timeline, wanted, _ = self._parse(position)
        if number < wanted:
            return False
        return timeline == wanted_timeline or (follows and timeline > wanted_timeline)

    def incarnation(self, connection: BaseDatabaseWrapper) -> str | None:
        # The start time alone does not change when PostgreSQL restarts its processes after one has crashed.
        sql = "SELECT pg_postmaster_start_time()::text, (SELECT pid FROM pg_stat_get_wal_receiver())::text"
        return "/".join(map(str, ask(connection, sql)))

    def replay_age(self, connection: BaseDatabaseWrapper) -> float | None:
        sql = "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float"
        age: float | None = ask(connection, sql)[0]
        return age

    def _text(self, timeline: int, number: int) -> str:
        return f"{timeline}:{number >> 32:X}/{number & 0xFFFFFFFF:X}"

    def _parse(self, text: str) -> tuple[int, int, bool]:
        timeline, _, lsn = text.removesuffix("!").partition(":")
        return int(timeline), _lsn(lsn), not text.endswith("!")


def _lsn(text: str) -> int:
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)
