"""Position backends: positions in the replication stream, by database vendor.

A position is text that only its backend understands. It travels in cookies, headers and tasks. Derive a
backend of your own from `BasePositions`, and register it in ``PINDB_POSITIONS``.
"""

from __future__ import annotations

from pindb.positions._base import BasePositions
from pindb.positions._mysql import MariaDBPositions, MySQLPositions
from pindb.positions._postgresql import PostgreSQLPositions

__all__ = ["BasePositions", "MariaDBPositions", "MySQLPositions", "PostgreSQLPositions"]
