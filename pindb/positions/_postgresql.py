"""Positions of PostgreSQL with streaming replication."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from pindb.positions._base import BasePositions, ask

__all__ = ["PostgreSQLPositions"]


class PostgreSQLPositions(BasePositions):
    """Timeline and log sequence number, as in ``"1:0/16B3748"``.

    The timeline counts the promotions. A position of an earlier one lies in the past of all later ones (or
    was lost with the old master); one of a later timeline is nowhere in the earlier ones, whatever the
    numbers. A server that has left recovery follows nobody: it has what belongs to its own timeline only.

    Roles without ``pg_read_all_stats`` learn that a replica has changed its timeline at its next restart
    point, some minutes after a promotion; until then they read the master.
    """

    # The name of a segment begins with its timeline. Asked of a server in recovery, the functions would fail.
    MASTER = """
        SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn() END::text,
            CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_insert_lsn()) END,
            current_setting('wal_block_size')
    """

    # The timeline of what a replica receives (hidden from ordinary roles, missing while nothing is received)
    # and that of its last restart point: the later one.
    REPLICA = """
        SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END::text,
            (SELECT received_tli FROM pg_stat_get_wal_receiver()),
            (SELECT timeline_id FROM pg_control_checkpoint())
    """

    #: The lengths of a page's header: of most pages, and of the first one in a segment.
    HEADERS = (24, 40)

    def current(self, connection: BaseDatabaseWrapper) -> str:
        return self._of_master(connection) or self._of_replica(connection) or ""

    def replayed(self, connection: BaseDatabaseWrapper) -> str:
        return self._of_replica(connection) or f"{self._of_master(connection)}!"

    def _of_master(self, connection: BaseDatabaseWrapper) -> str | None:
        """Where a server is that writes; None: it is in recovery."""
        lsn, segment, page = ask(connection, self.MASTER)
        if lsn is None:
            return None
        number, page = _lsn(lsn), int(page)
        # Behind the header of a page on which nothing stands yet: no replica gets there before that.
        if number % page in self.HEADERS:
            number -= number % page
        return self._text(int(segment[:8], 16), number)

    def _of_replica(self, connection: BaseDatabaseWrapper) -> str | None:
        """Where a server is that is in recovery; None: it is not."""
        lsn, received, restarted = ask(connection, self.REPLICA)
        return None if lsn is None else self._text(max(received or 0, restarted), _lsn(lsn))

    def has_reached(self, replayed: str, position: str) -> bool:
        timeline, number, follows = self._parse(replayed)
        wanted_timeline, wanted, _ = self._parse(position)
        if number < wanted:
            return False
        return timeline == wanted_timeline or (follows and timeline > wanted_timeline)

    def incarnation(self, connection: BaseDatabaseWrapper) -> str | None:
        # When only its processes are started anew, after one of them has crashed, the server's time stays.
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
