"""Connections that break while rows are read from a server-side cursor, with both drivers."""

from __future__ import annotations

import gc
import importlib.util
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.db import Error, OperationalError, connections
from django.db.backends.utils import CursorWrapper
from django.test import override_settings

import pindb
from pindb._tracebacks import drop_tracebacks
from pindb.routing.reruns import _Guard
from pindb.testing.postgres import PostgresReplicaSet
from tests.breaking import NAMES
from tests.conftest import close_all, close_everywhere, start_all
from tests.testapp.models import Author

MASTER, FIRST, SECOND = ALIASES = ("default", "default-0", "default-1")
REPLICAS = (FIRST, SECOND)

pytestmark = pytest.mark.usefixtures("short_recovery")


@pytest.fixture(autouse=True)
def failing(servers: PostgresReplicaSet) -> Iterator[PostgresReplicaSet]:
    """The servers, which a test may kill; they run again after it."""
    Author.objects.using(MASTER).bulk_create(Author(name=name) for name in NAMES)
    servers.wait_until_caught_up()
    close_all()
    with override_settings(PINDB_REPLICA_DOWNTIME=600):
        yield servers
        close_everywhere()
    start_all(servers)


class Programs:
    """A process with one of the drivers, which runs programs of `tests.breaking`."""

    def __init__(self, driver: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.run_breaking", driver],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, servers: PostgresReplicaSet, program: str) -> None:
        """Run a program, and do to the servers what it asks for."""
        members: dict[str, str | int] = {MASTER: "master", FIRST: 0, SECOND: 1}
        self._say(program)
        said = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "ok\n":
                break
            if line.startswith("terminate "):
                _, alias, pid = line.split()
                servers.execute(members[alias], f"SELECT pg_terminate_backend({int(pid)}, 5000)")
                self._say("done")
            else:
                said.append(line)
                if line == "failed\n":
                    break
        else:
            said.append("it ended")
        text = "".join(said)
        assert "failed" not in text, text
        assert "ended" not in text, text
        assert "ignored" not in text, text

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module", params=["psycopg", "psycopg2"])
def programs(request: pytest.FixtureRequest) -> Iterator[Programs]:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    programs = Programs(request.param)
    yield programs
    programs.close()


PROGRAMS = [
    *("objects", "values", "prefetched", "cursor_iterated", "in_a_manual_transaction", "on_the_master"),
    *("in_a_transaction_on_the_master", "nested", "left_alone", "asynchronous", "closed_by_hand"),
    *("raw_cursor", "connection_closed_below_a_cursor", "undisturbed"),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_connection_that_breaks_fails_one_read_at_most(
    program: str, programs: Programs, failing: PostgresReplicaSet
) -> None:
    programs.run(failing, program)


@pytest.mark.parametrize("program", ["collected", "collected_by_the_hand_of_the_site"])
def test_the_garbage_collector_closes_no_iterator_in_the_middle_of_a_statement(
    program: str, failing: PostgresReplicaSet
) -> None:
    programs = Programs("psycopg")
    try:
        programs.run(failing, program)
    finally:
        programs.close()


@pytest.mark.parametrize("fetching", [False, True])
def test_nothing_of_a_failed_statement_outlives_it(fetching: bool, failing: PostgresReplicaSet) -> None:
    used = pindb.get_replica()
    wrapper, before = ending(failing, used, after=fetching), pindb.stats().failovers
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        with connections[used].execute_wrapper(wrapper):
            assert next(Author.objects.order_by("name").iterator(chunk_size=5)).name == NAMES[0]
        gc.collect()
        kinds = (Error, psycopg.Error, types.FrameType, types.GeneratorType, CursorWrapper, psycopg.Cursor)
        left = [thing for thing in gc.garbage if isinstance(thing, kinds)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert pindb.stats().failovers == before + 1
    assert left == []


def ending(servers: PostgresReplicaSet, alias: str, *, after: bool) -> Callable[..., Any]:
    """An execute wrapper that ends the connection once, before the next statement or after it."""
    with connections[alias].cursor() as cursor:
        cursor.execute("/* */ SELECT pg_backend_pid()")
        pids = [cursor.fetchone()[0]]

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context) if after else None
        if pids:
            servers.execute(REPLICAS.index(alias), f"SELECT pg_terminate_backend({pids.pop()}, 5000)")
        return result if after else execute(sql, params, many, context)

    return wrapper


def test_what_is_handled_further_out_keeps_its_traceback() -> None:
    inner: list[BaseException] = []

    def fail_and_swallow() -> None:
        try:
            raise OperationalError("a statement's")
        except OperationalError as error:
            drop_tracebacks(error)
            inner.append(error)

    def fail() -> None:
        try:
            raise LookupError("the site's")
        except LookupError:
            fail_and_swallow()
            raise

    with pytest.raises(LookupError) as caught:
        fail()
    assert inner[0].__context__ is caught.value
    assert inner[0].__traceback__ is None
    assert len(caught.traceback) == 2


# ---- what pindb stands around ------------------------------------------------------------------


def is_watched(alias: str) -> bool:
    connection = connections[alias]
    return any(isinstance(wrapper, _Guard) for wrapper in connection.execute_wrappers)


def test_nothing_is_watched_while_pindb_is_off() -> None:
    for alias in ALIASES:
        del connections[alias]
    try:
        with override_settings(PINDB_ENABLED=False):
            assert Author.objects.count() == len(NAMES)
            for alias in ALIASES:
                connections[alias].ensure_connection()
                assert not is_watched(alias)
                assert "close_if_health_check_failed" not in vars(connections[alias])
            with override_settings(PINDB_ENABLED=True):
                # Connections that are open already are watched from now on.
                assert all(is_watched(alias) for alias in ALIASES)
                used = pindb.get_replica()
                connections[used].ensure_connection()
            assert not any(is_watched(alias) for alias in ALIASES)
    finally:
        for alias in ALIASES:
            connections[alias].close()


def test_pindb_that_is_turned_on_runs_again_what_a_replica_fails(failing: PostgresReplicaSet) -> None:
    for alias in ALIASES:
        connections[alias].close()
    with override_settings(PINDB_ENABLED=False):
        for alias in ALIASES:
            connections[alias].ensure_connection()
    used = pindb.get_replica()
    with connections[used].execute_wrapper(ending(failing, used, after=False)):
        assert Author.objects.count() == len(NAMES)
