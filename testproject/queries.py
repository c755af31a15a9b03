"""Which database served each query of a request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from django.db import connections

import pindb

__all__ = ["HEADER", "Query", "QueryLog", "read_header", "shorten"]

#: The response header with the queries, for programs.
HEADER = "X-Pindb-Queries"

LONGEST = 110

#: How pindb's own questions to a server begin: where it is in its replication stream.
OWN = "/* pindb */"

_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE) (\w+)")
_COLUMNS = re.compile(r"^SELECT .*? FROM ")


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        database: the alias of the database that it was sent to.
        pinned: whether the database's set was pinned at that time.
        sql: the statement, shortened.
    """

    database: str
    pinned: bool
    sql: str

    @property
    def verb(self) -> str:
        """The statement's first word."""
        return self.sql.partition(" ")[0]

    @property
    def table(self) -> str:
        """The table that it reads or writes; empty where there is none."""
        found = _TABLE.search(self.sql)
        return found[1] if found else ""


def shorten(sql: str) -> str:
    """A statement on one short line, without quotes and without the columns that it reads."""
    line = _COLUMNS.sub("SELECT … FROM ", " ".join(sql.replace('"', "").split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 2]} …"


class QueryLog:
    """The queries of one request, in their order, without pindb's own. Of one thread."""

    def __init__(self) -> None:
        self.queries: list[Query] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """A block whose queries are recorded, on every database of the settings."""
        with ExitStack() as stack:
            for connection in connections.all():
                stack.enter_context(connection.execute_wrapper(self._record))
            yield

    def _record(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        if str(sql).startswith(OWN):
            return execute(sql, params, many, context)
        connection = context["connection"]
        # Pins go by the master's alias, and a replica is a test mirror of its master.
        master = connection.settings_dict["TEST"]["MIRROR"] or connection.alias
        self.queries.append(Query(connection.alias, pindb.is_pinned(master), shorten(str(sql))))
        return execute(sql, params, many, context)

    def served(self, table: str) -> set[str]:
        """The databases that answered the last query of a table: one, or none."""
        aliases = [query.database for query in self.queries if query.table == table]
        return set(aliases[-1:])

    def as_header(self) -> str:
        """The value of the header `HEADER`."""
        return json.dumps([asdict(query) for query in self.queries])


def read_header(value: str) -> list[Query]:
    """The queries in a value that `QueryLog.as_header` made."""
    return [Query(**query) for query in json.loads(value)]
