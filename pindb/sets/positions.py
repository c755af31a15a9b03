"""Which class says the positions of a database, and what a master says of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from pindb._stats import count
from pindb._tracebacks import drop_tracebacks
from pindb.conf import conf, import_entry, on_change
from pindb.exceptions import PinDbConfigError, PositionUnavailable
from pindb.positions import BasePositions, MariaDBPositions, MySQLPositions, PostgreSQLPositions
from pindb.sets.definitions import DEFAULT_ALIAS, get_sets

__all__ = [
    "MAX_LENGTH",
    "POSITIONS",
    "covers",
    "current_position",
    "find_positions",
    "load_positions",
    "take_position",
]

logger = logging.getLogger("pindb")

#: A longer position (characters) would not fit into a cookie with others; the pin goes by time instead.
MAX_LENGTH = 1000

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
    found = import_entry(f"PINDB_POSITIONS[{kind!r}]", entry, "a subclass of pindb.positions.BasePositions")
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
        if not connection.get_autocommit():
            return None
        position = read_position(connection)
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
        drop_tracebacks(error)
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


@on_change
def _forget(setting: str) -> None:
    global _loaded
    _loaded = None
    _told.clear()
    _absent.clear()
