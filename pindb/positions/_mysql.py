"""Position backends for MariaDB and MySQL: two different kinds of global transaction ids (GTID)."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from pindb.positions._base import BasePositions, ask

__all__ = ["MariaDBPositions", "MySQLPositions"]


class MariaDBPositions(BasePositions):
    """The position backend for MariaDB.

    A position has one GTID per domain, as in ``"0-1-100"``: domain, server, sequence number. Within a domain
    the sequence numbers grow. If the last transaction on the replica comes from another server than the
    position, there was a failover in between. MariaDB cannot tell whether the histories of both servers
    agree, so the replica counts as behind.
    """

    def current(self, connection: BaseDatabaseWrapper) -> str:
        text: str = ask(connection, "SELECT @@global.gtid_current_pos")[0]
        return text

    def replayed(self, connection: BaseDatabaseWrapper) -> str:
        # A promoted server replicates from no other, and has only a position of its own.
        sql = "SELECT IF(@@global.gtid_slave_pos = '', @@global.gtid_current_pos, @@global.gtid_slave_pos)"
        text: str = ask(connection, sql)[0]
        return text

    def has_reached(self, replayed: str, position: str) -> bool:
        have, want = _gtids(replayed), _gtids(position)
        return all(
            domain in have and have[domain][0] == server and have[domain][1] >= number
            for domain, (server, number) in want.items()
        )


def _gtids(text: str) -> dict[int, tuple[int, int]]:
    """Return the server and sequence number by domain."""
    found = {}
    for gtid in filter(None, text.split(",")):
        domain, server, number = map(int, gtid.split("-"))
        found[domain] = server, number
    return found


class MySQLPositions(BasePositions):
    """The position backend for MySQL.

    A position is a set of GTIDs, as in ``"3e11fa47-...:1-5:7,..."``. Positions are compared like
    ``GTID_SUBSET`` does. All servers need ``gtid_mode=ON``.
    """

    SQL = "SELECT @@global.gtid_executed"

    def current(self, connection: BaseDatabaseWrapper) -> str:
        text: str = ask(connection, self.SQL)[0]
        return "".join(text.split())

    replayed = current

    def has_reached(self, replayed: str, position: str) -> bool:
        have = _gtid_set(replayed)
        return all(
            any(low <= first and last <= high for low, high in have.get(source, ()))
            for source, ranges in _gtid_set(position).items()
            for first, last in ranges
        )


def _gtid_set(text: str) -> dict[str, list[tuple[int, int]]]:
    """Return ranges of transactions (first, last) by their source: a server's UUID, with or without a tag."""
    found: dict[str, list[tuple[int, int]]] = {}
    for entry in filter(None, text.split(",")):
        server, *parts = entry.strip().lower().split(":")
        source = server
        for part in parts:
            if not part[:1].isdigit():
                source = f"{server}:{part}"
                continue
            first, _, last = part.partition("-")
            found.setdefault(source, []).append((int(first), int(last or first)))
        if source not in found:
            raise ValueError(f"no transactions in {entry!r}")
    return found
