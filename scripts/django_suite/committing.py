"""Clean databases after tests that commit, faster than the command ``flush``."""

from __future__ import annotations

from typing import Any

import psycopg
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from psycopg import sql

__all__ = ["Tidier"]


class Tidier:
    """Brings test databases back to their state before the first test.

    Truncating the hundreds of tables of the suite takes most of a second; this empties those that have rows.
    """

    def __init__(self) -> None:
        self.databases: dict[str, _Database] = {}

    def remember(self, alias: str) -> None:
        """Take the present rows of a database as its state before the first test."""
        self.databases[alias] = _Database(connections[alias].settings_dict)

    def tidy(self, alias: str) -> None:
        """Bring a database back to that state."""
        if self.databases[alias].tidy():
            ContentType.objects.clear_cache()


class _Database:
    """One database, on a connection that no test counts or closes.

    Arguments:
        settings: as in ``DATABASES``.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.connection = psycopg.connect(
            host=settings["HOST"],
            port=settings["PORT"],
            user=settings["USER"],
            password=settings["PASSWORD"],
            dbname=settings["NAME"],
            autocommit=True,
        )
        self.kept = self.with_rows()
        self.connection.execute("CREATE SCHEMA kept")
        for table in self.kept:
            copied = sql.SQL("CREATE TABLE {} AS TABLE {}").format(_in("kept", table), _in("public", table))
            self.connection.execute(copied)
        self.digests = self.digest()

    def tidy(self) -> bool:
        """Empty all tables but for what they had at first; True where that had been changed."""
        changed = self.digest() != self.digests
        full = [table for table in self.with_rows() if changed or table not in self.kept]
        if not full:
            return changed
        # Cascades empty only what has no rows of its own, or is filled again.
        names = sql.SQL(", ").join(_in("public", table) for table in full)
        with self.connection.transaction():
            self.connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))
            # What refers to the others comes last.
            self.connection.execute("SET LOCAL session_replication_role = replica")
            for table in self.kept:
                row = self.connection.execute(
                    sql.SQL("SELECT EXISTS (SELECT 1 FROM {})").format(_in("public", table))
                ).fetchone()
                if row == (False,):
                    self.connection.execute(
                        sql.SQL("INSERT INTO {} OVERRIDING SYSTEM VALUE TABLE {}").format(
                            _in("public", table), _in("kept", table)
                        )
                    )
        return changed

    def with_rows(self) -> list[str]:
        """The tables that have rows."""
        tables = [
            row[0]
            for row in self.connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
        questions = (
            sql.SQL("SELECT {} WHERE EXISTS (SELECT 1 FROM {})").format(
                sql.Literal(table), _in("public", table)
            )
            for table in tables
        )
        return [row[0] for row in self.connection.execute(sql.SQL(" UNION ALL ").join(questions))]

    def digest(self) -> list[tuple[Any, ...]]:
        """Something that changes with the kept tables."""
        questions = (
            sql.SQL("SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t").format(
                _in("public", table)
            )
            for table in self.kept
        )
        return [self.connection.execute(question).fetchall()[0] for question in questions]


def _in(schema: str, table: str) -> sql.Identifier:
    return sql.Identifier(schema, table)
