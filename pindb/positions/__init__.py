"""Positions in the replication stream, by kind of database. Derive your own class from `BasePositions`.

A position is text that only its class understands; it travels in cookies and task headers. Sites register
classes of their own in ``PINDB_POSITIONS``.
"""

from __future__ import annotations

from pindb.positions._base import BasePositions
from pindb.positions._mysql import MariaDBPositions, MySQLPositions
from pindb.positions._postgresql import PostgreSQLPositions

__all__ = ["BasePositions", "MariaDBPositions", "MySQLPositions", "PostgreSQLPositions"]
