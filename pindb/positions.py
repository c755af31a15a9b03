"""Where a master is in its replication stream, and whether a replica has got there.

One small class for each kind of database. A position is text that only its class understands; it travels in
cookies and task headers. Sites register classes of their own in ``PINDB_POSITIONS``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.core.signals import setting_changed
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.module_loading import import_string

from pindb.conf import conf
from pindb.counters import count
from pindb.exceptions import PinDbConfigError, PositionUnavailable
from pindb.sets import DEFAULT_ALIAS, get_sets

__all__ = [
    "BasePositions",
    "MariaDBPositions",
    "MySQLPositions",
    "PostgreSQLPositions",
    "covers",
    "current_position",
    "find_positions",
    "load_positions",
    "take_position",
]

logger = logging.getLogger("pindb")

#: A longer position (characters) would not fit into a cookie with others; the pin goes by time instead.
MAX_LENGTH = 1000


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
        # It is not among the reads of `pindb.stats` either: see pindb.reruns.is_read.
        cursor.execute(f"/* pindb */ {sql}")
        row: tuple[Any, ...] = cursor.fetchone()
        return row


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


class MariaDBPositions(BasePositions):
    """Global transaction ids, as in ``"0-1-100"``: domain, server, sequence number; commas between domains.

    Within a domain the numbers grow. Where the last transaction on the replica came from another server than
    the one of the position, there was a failover in between, and whether the histories agree cannot be seen:
    such a replica counts as not there.
    """

    def current(self, connection: BaseDatabaseWrapper) -> str:
        text: str = ask(connection, "SELECT @@global.gtid_current_pos")[0]
        return text

    def replayed(self, connection: BaseDatabaseWrapper) -> str:
        # A server that replicates from nobody (it was promoted) has only a position of its own.
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
    """Server and sequence number by domain."""
    found = {}
    for gtid in filter(None, text.split(",")):
        domain, server, number = map(int, gtid.split("-"))
        found[domain] = server, number
    return found


class MySQLPositions(BasePositions):
    """Sets of global transaction ids, as in ``"3e11fa47-...:1-5:7,..."``, compared as ``GTID_SUBSET`` does.

    Needs ``gtid_mode=ON`` on all members.
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
    """The ranges of transactions (first, last) by their source: a server's UUID, with a tag or without."""
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


#: By kind of database: Django's name of the vendor, and ``"mariadb"``, which Django counts as MySQL.
POSITIONS: Mapping[str, type[BasePositions]] = {
    "mariadb": MariaDBPositions,
    "mysql": MySQLPositions,
    "postgresql": PostgreSQLPositions,
}

_loaded: dict[str, BasePositions] | None = None
# Aliases of which was said that they have no positions, and those of masters that were not there.
_told: set[str] = set()
_absent: set[str] = set()


def load_positions() -> dict[str, BasePositions]:
    """What says positions, by kind of database: pindb's own, and those of ``PINDB_POSITIONS``.

    Raises:
        PinDbConfigError: the setting is no dict, or an entry is no such class.
    """
    entries = conf.PINDB_POSITIONS
    if not isinstance(entries, Mapping):
        raise PinDbConfigError(
            f"PINDB_POSITIONS is {entries!r}. Write a dict: {{'postgresql': 'myapp.positions.Aurora'}}."
        )
    return {kind: _load(kind, entry) for kind, entry in {**POSITIONS, **entries}.items()}


def _load(kind: str, entry: Any) -> BasePositions:
    found = entry
    if isinstance(found, str):
        try:
            found = import_string(found)
        except ImportError as error:
            raise PinDbConfigError(
                f"PINDB_POSITIONS[{kind!r}] names {entry!r}, which cannot be imported: {error}."
            ) from error
    if isinstance(found, type) and issubclass(found, BasePositions):
        return found()
    if isinstance(found, BasePositions):
        return found
    raise PinDbConfigError(
        f"PINDB_POSITIONS[{kind!r}] is {entry!r}. Write a subclass of pindb.positions.BasePositions, or its "
        "dotted path."
    )


def find_positions(connection: BaseDatabaseWrapper) -> BasePositions | None:
    """What says the positions of a connection's server; None where nothing does.

    Arguments:
        connection: a connection; to a server of MySQL or MariaDB, it is opened to tell which.
    """
    global _loaded
    if _loaded is None:
        _loaded = load_positions()
    kind = connection.vendor
    if kind == "mysql" and getattr(connection, "mysql_is_mariadb", False):
        kind = "mariadb"
    return _loaded.get(kind)


def covers(connection: BaseDatabaseWrapper, replayed: str, position: str) -> bool:
    """Whether `replayed` has everything up to `position`; no, where one is none of this database's."""
    positions = find_positions(connection)
    try:
        return positions is not None and positions.has_reached(replayed, position)
    except ValueError:
        logger.debug("%r or %r is no position of %r", replayed, position, connection.alias)
        return False


def read_position(connection: BaseDatabaseWrapper) -> str:
    """Where a master is.

    Raises:
        PositionUnavailable: its kind of database has no positions, or this server has none.
        django.db.Error: the server cannot be asked.
    """
    positions = find_positions(connection)
    if positions is None:
        raise PositionUnavailable(
            f"pindb knows no positions of {connection.vendor!r}, the database {connection.alias!r}. It knows "
            f"those of {', '.join(sorted(_loaded or ()))}; others are added with PINDB_POSITIONS."
        )
    count("position_queries")
    position = positions.current(connection)
    if not position:
        raise PositionUnavailable(
            f"The master {connection.alias!r} has no position: its binary log is off. Switch it on, or set "
            "PINDB_CONSISTENCY = 'time'."
        )
    return position


def current_position(alias: str = DEFAULT_ALIAS) -> str:
    """Where the master of a set is in its replication stream. For scripts and tests.

    Arguments:
        alias: the alias of a master.

    Returns:
        A position, as text that says something to its kind of database only.

    Raises:
        PinDbConfigError: `alias` is not a master's.
        PositionUnavailable: the database has no positions.
        django.db.Error: the master cannot be asked.
    """
    get_sets().check_master(alias)
    return read_position(connections[alias])


def take_position(alias: str) -> str | None:
    """The position that a pin of a set carries; None where it has to go by time, which is logged.

    None without a word where the connection has an open transaction: what is not committed has no position.
    """
    connection = connections[alias]
    if connection.in_atomic_block:
        return None
    try:
        position = read_position(connection)
        if connection.connection is not None and not connection.get_autocommit():
            return None
    except PositionUnavailable as error:
        _tell_once(alias, f"{error} Pins of {alias!r} go by time.")
        return None
    except Error as error:
        if connection.connection is not None and connection.is_usable():
            _tell_once(alias, f"The master {alias!r} has no positions ({error}). Its pins go by time.")
        else:
            connection.close()
            if alias not in _absent:
                _absent.add(alias)
                text = " ".join(str(error).split())
                logger.warning("The master %r is not there to say its position: %s", alias, text)
        return None
    _absent.discard(alias)
    if len(position) > MAX_LENGTH:
        _tell_once(alias, f"The position of {alias!r} has {len(position)} characters. Its pins go by time.")
        return None
    return position


def _tell_once(alias: str, text: str) -> None:
    if alias not in _told:
        _told.add(alias)
        logger.warning("%s", text)


def _forget(**kwargs: object) -> None:
    global _loaded
    _loaded = None
    _told.clear()
    _absent.clear()


setting_changed.connect(_forget, dispatch_uid="pindb.positions")
