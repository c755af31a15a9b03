"""What a request asks of the servers: counted and timed in Django's ``execute_wrappers``."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any

from django.core.signals import got_request_exception
from django.db.backends.signals import connection_created

from benchmarks.consistency.servers import MASTER

__all__ = ["Tally", "count_statements", "tally"]


#: How pindb's own statements begin.
OWN = "/* pindb */"


class Tally(threading.local):
    """The statements of the request that this thread serves.

    Attributes:
        seconds: how long the site's own statement took.
        at: when it began (`time.monotonic`).
        alias: where it went.
        rule: how long the strategy took for what it does, with what it asked of servers.
        on_master: how many statements went to the master, whoever made them.
        questions: how many of pindb's own went to replicas.
        error: what the site raised.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin a request."""
        self.seconds = self.rule = self.at = 0.0
        self.alias = ""
        self.on_master = self.questions = 0
        self.error: BaseException | None = None


tally = Tally()


class _Inside:
    """The innermost wrapper of a connection: what others do is no part of the statement."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        if self.alias == MASTER:
            tally.on_master += 1
        elif sql.startswith(OWN):
            tally.questions += 1
        if sql.startswith(OWN):
            return execute(sql, params, many, context)
        tally.alias = self.alias
        tally.at = monotonic()
        start = perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            seconds = perf_counter() - start
            tally.seconds += seconds
            tally.rule -= seconds


def _outside(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """The outermost wrapper of a connection."""
    if sql.startswith(OWN):
        # A part of what a middleware or a router does, which has its own clock.
        return execute(sql, params, many, context)
    start = perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        tally.rule += perf_counter() - start


def _watch(connection: Any, **kwargs: object) -> None:
    wrappers = connection.execute_wrappers
    if _outside not in wrappers:
        wrappers.insert(0, _outside)
        wrappers.append(_Inside(connection.alias))


def _note_error(**kwargs: object) -> None:
    tally.error = sys.exc_info()[1]


def count_statements() -> None:
    """Count and time the statements of all connections that are opened from now on; note what goes wrong."""
    got_request_exception.connect(_note_error, dispatch_uid="benchmarks.consistency")
    connection_created.connect(_watch, dispatch_uid="benchmarks.consistency")
