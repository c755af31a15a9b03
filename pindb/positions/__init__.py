"""Where a master is in its replication stream, and whether a replica has got there.

One small class for each kind of database. A position is text that only its class understands; it travels in
cookies and task headers. Sites register classes of their own in ``PINDB_POSITIONS``.
"""

from __future__ import annotations

from pindb.positions.asking import (
    MAX_LENGTH,
    POSITIONS,
    covers,
    current_position,
    find_positions,
    load_positions,
    take_position,
)
from pindb.positions.base import BasePositions
from pindb.positions.mysql import MariaDBPositions, MySQLPositions
from pindb.positions.postgresql import PostgreSQLPositions

__all__ = [
    "MAX_LENGTH",
    "POSITIONS",
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
