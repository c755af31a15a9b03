"""Position backends, by database vendor, and the positions of masters that they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from pindb import _events as events
from pindb._stats import count
from pindb._tracebacks import drop_tracebacks
from pindb.conf import conf, import_entry, on_change
from pindb.exceptions import PinDbConfigError, PositionUnavailable
from pindb.positions import BasePositions, MariaDBPositions, MySQLPositions, PostgreSQLPositions
from pindb.sets.aliases import DEFAULT_ALIAS
from pindb.sets.definitions import get_sets

__all__ = [
    "BACKENDS",
    "MAX_LENGTH",
    "current_position",
    "get_backend",
    "has_reached",
    "load_backends",
    "try_read_position",
]

#: The longest position (characters) that a pin carries: several of them have to fit into one cookie.
MAX_LENGTH = 1000

#: By Django's name of the vendor, and ``"mariadb"``, which Django counts as ``"mysql"``.
BACKENDS: Mapping[str, type[BasePositions]] = {
    "mariadb": MariaDBPositions,
    "mysql": MySQLPositions,
    "postgresql": PostgreSQLPositions,
}

_backends: dict[str, BasePositions] | None = None
# Masters that were logged as having no positions, and as unreachable: each is logged once.
_logged_without: set[str] = set()
_logged_unreadable: set[str] = set()


def load_backends() -> dict[str, BasePositions]:
    """Return the position backends by vendor: pindb's own, and the entries of ``PINDB_POSITIONS``.

    Raises:
        PinDbConfigError: the setting is not a dict, or an entry is not a position backend.
    """
    entries = conf.PINDB_POSITIONS
    if not isinstance(entries, Mapping):
        raise PinDbConfigError(
            f"PINDB_POSITIONS is {entries!r}, not a dict. Write a dict: "
            "{'postgresql': 'myapp.positions.Aurora'}."
        )
    return {vendor: _load(vendor, entry) for vendor, entry in {**BACKENDS, **entries}.items()}


def _load(vendor: str, entry: Any) -> BasePositions:
    found = import_entry(f"PINDB_POSITIONS[{vendor!r}]", entry, "a subclass of pindb.positions.BasePositions")
    if isinstance(found, type) and issubclass(found, BasePositions):
        return found()
    if isinstance(found, BasePositions):
        return found
    raise PinDbConfigError(
        f"PINDB_POSITIONS[{vendor!r}] is {entry!r}, not a position backend. Write a subclass of "
        "pindb.positions.BasePositions, or its dotted path."
    )


def get_backend(connection: BaseDatabaseWrapper) -> BasePositions | None:
    """Return the position backend for a connection's server; None if its vendor has none.

    Arguments:
        connection: a connection. A closed one to MySQL or MariaDB is opened, to tell these two apart.
    """
    global _backends
    if _backends is None:
        _backends = load_backends()
    vendor = connection.vendor
    if vendor == "mysql" and getattr(connection, "mysql_is_mariadb", False):
        vendor = "mariadb"
    return _backends.get(vendor)


def has_reached(connection: BaseDatabaseWrapper, replayed: str, position: str) -> bool:
    """Return whether `replayed` includes everything up to `position`.

    Positions that the connection's vendor cannot read count as not reached.
    """
    backend = get_backend(connection)
    try:
        return backend is not None and backend.has_reached(replayed, position)
    except ValueError:
        events.POSITIONS_NOT_COMPARABLE.log(alias=connection.alias, replayed=replayed, position=position)
        return False


def read_position(connection: BaseDatabaseWrapper) -> str:
    """Return the current position of a master.

    Raises:
        PositionUnavailable: the vendor has no position backend, or the server does not log its changes.
        django.db.Error: the query failed.
    """
    backend = get_backend(connection)
    if backend is None:
        raise PositionUnavailable(
            f"The database {connection.alias!r} has the vendor {connection.vendor!r}, for which there is "
            f"no position backend (there are: {', '.join(sorted(_backends or ()))}). Add one to "
            "PINDB_POSITIONS, or set PINDB_CONSISTENCY = 'time'."
        )
    count("position_queries")
    position = backend.current(connection)
    if not position:
        raise PositionUnavailable(
            f"The master {connection.alias!r} has no position: its binary log is off. Switch the log on, or "
            "set PINDB_CONSISTENCY = 'time'."
        )
    return position


def current_position(alias: str = DEFAULT_ALIAS) -> str:
    """Return the current position of a master in its replication stream. For scripts and tests.

    Arguments:
        alias: the alias of a master.

    Returns:
        A position: text that only the database's own position backend understands.

    Raises:
        PinDbConfigError: `alias` is not the alias of a master.
        PositionUnavailable: the database has no positions.
        django.db.Error: the query failed.
    """
    get_sets().check_master(alias)
    return read_position(connections[alias])


def try_read_position(alias: str) -> str | None:
    """Return the current position of a master; None if it cannot be read, which is logged.

    Also None, without a line in the log, while a transaction is open: what was not committed has no position.
    """
    connection = connections[alias]
    if connection.in_atomic_block:
        return None
    try:
        if not connection.get_autocommit():
            return None
        position = read_position(connection)
    except PositionUnavailable as error:
        _log_without_positions(alias, error)
        return None
    except Error as error:
        if connection.connection is not None and connection.is_usable():
            _log_without_positions(alias, error)
        else:
            connection.close()
            if alias not in _logged_unreadable:
                _logged_unreadable.add(alias)
                events.MASTER_POSITION_UNREADABLE.log(alias=alias, error=error)
        drop_tracebacks(error)
        return None
    _logged_unreadable.discard(alias)
    if len(position) > MAX_LENGTH:
        _log_without_positions(alias, f"a position of {len(position)} characters; the limit is {MAX_LENGTH}")
        return None
    return position


def _log_without_positions(alias: str, error: object) -> None:
    if alias not in _logged_without:
        _logged_without.add(alias)
        events.POSITIONS_UNAVAILABLE.log(alias=alias, error=error)


@on_change
def _forget(setting: str) -> None:
    global _backends
    _backends = None
    _logged_without.clear()
    _logged_unreadable.clear()
