"""Reads while real servers are killed, stopped, and cut off during queries."""

from __future__ import annotations

import asyncio
import datetime
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connections,
    transaction,
)
from django.test import Client, override_settings

import pindb
from pindb.pins.context import Pin, current
from pindb.pins.propagation import export_pins
from pindb.signals import replica_down, replica_up
from pindb.testing.postgres import PostgresReplicaSet
from pindb.testing.processes import wait_for
from tests.conftest import Lines, close_all, close_everywhere, start_all
from tests.testapp.models import Author, Remark
from tests.threads import in_threads, meanwhile

MASTER, FIRST, SECOND = "default", "default-0", "default-1"
REPLICAS = (FIRST, SECOND)


pytestmark = pytest.mark.usefixtures("short_recovery")


@pytest.fixture(autouse=True)
def failing(servers: PostgresReplicaSet) -> Iterator[PostgresReplicaSet]:
    """The servers, which a test may stop and kill; they run again after it."""
    Author.objects.using(MASTER).create(name="old")
    servers.wait_until_caught_up()
    close_all()
    # Nothing is known of any server, and none is tried again while a test runs.
    with override_settings(PINDB_REPLICA_DOWNTIME=600, PINDB_POSITION_CHECK_MS=0):
        yield servers
        close_everywhere()
    start_all(servers)


def read() -> str:
    """Where a new unit of work reads."""
    with pindb.pinning_context():
        (author,) = Author.objects.all()
        assert author.name == "old"
        used: str = author._state.db
        return used


def replica_of_context() -> int:
    """The replica that this context reads, by its index; it has been read from."""
    return REPLICAS.index(Author.objects.get()._state.db)


def chosen() -> tuple[str, int]:
    """The replica that this context is going to read, by its alias and its index."""
    alias = pindb.get_replica()
    return alias, REPLICAS.index(alias)


@contextmanager
def carrying(pins: dict[str, Pin]) -> Iterator[None]:
    """A unit of work that pins were carried into."""
    with pindb.pinning_context():
        current().carry(pins)
        yield


def read_with(pins: dict[str, Pin]) -> str:
    """Where a new unit of work with these pins reads."""
    with carrying(pins):
        return Author.objects.get()._state.db or ""


def wait_until_read(alias: str) -> None:
    wait_for(lambda: alias in {read(), read()}, f"{alias} to be read", 20)


@contextmanager
def around(alias: str, action: Callable[[], None], *, after: bool = False) -> Iterator[None]:
    """Do something once around the next statement on `alias`: just before, or just after it."""
    done: list[bool] = []

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if after:
            result = execute(sql, params, many, context)
        if not done:
            done.append(True)
            action()
        return result if after else execute(sql, params, many, context)

    with connections[alias].execute_wrapper(wrapper):
        yield


# ---- connections that are refused --------------------------------------------------------------


def test_a_replica_that_refuses_connections_is_passed_over(failing: PostgresReplicaSet, lines: Lines) -> None:
    failing.kill(0)
    assert [read() for _ in range(6)] == [SECOND] * 6
    (line,) = lines()
    assert line.startswith("replica default-0 down: cannot connect; retrying in ")
    assert connections[FIRST].settings_dict["PASSWORD"] not in line


def test_a_dead_replica_does_not_take_the_reads_of_its_instances_with_it(failing: PostgresReplicaSet) -> None:
    """Generic foreign keys and neighbours by date read where their instance was read, says Django."""
    author = Author.objects.using(MASTER).get()
    for day, text in ((1, "first"), (2, "second")):
        written = datetime.date(2026, 1, day)
        Remark.objects.using(MASTER).create(text=text, written=written, about=author)
    failing.wait_until_caught_up()
    remark = Remark.objects.earliest()
    failing.kill(REPLICAS.index(remark._state.db or ""))
    assert remark.about.name == "old"
    assert remark.get_next_by_written().text == "second"
    assert remark.about.remarks.count() == 2


def test_the_master_serves_where_no_replica_is_there(failing: PostgresReplicaSet) -> None:
    for replica in (0, 1):
        failing.stop(replica)
    assert [read() for _ in range(3)] == [MASTER] * 3


def test_a_replica_that_is_down_is_left_alone_and_then_tried_by_one(
    failing: PostgresReplicaSet, lines: Lines
) -> None:
    with override_settings(PINDB_REPLICA_DOWNTIME=0.1):
        failing.kill(0)
        while FIRST in {read(), read()}:
            pass
        failing.start(0)
        wait_until_read(FIRST)
    assert lines()[-1].startswith("replica default-0 up after ")


def test_signals_tell_of_replicas_that_go_and_come(failing: PostgresReplicaSet) -> None:
    told: list[tuple[str, ...]] = []

    def on_down(alias: str, reason: str, error: Exception, **kwargs: Any) -> None:
        told.append((alias, reason, type(error).__name__))

    def on_up(alias: str, seconds: float, **kwargs: Any) -> None:
        assert 0 < seconds < 60
        told.append((alias,))

    replica_down.connect(on_down)
    replica_up.connect(on_up)
    with override_settings(PINDB_REPLICA_DOWNTIME=0.05):
        failing.stop(1)
        assert {read() for _ in range(4)} == {FIRST}
        failing.start(1)
        wait_until_read(SECOND)
    assert told == [(SECOND, "cannot connect", "OperationalError"), (SECOND,)]


@pytest.mark.parametrize("threads", [1, 8])
def test_no_thread_reads_a_replica_that_is_down_while_another_is_up(
    threads: int, failing: PostgresReplicaSet
) -> None:
    failing.kill(1)
    read()
    read()

    def work(_: int) -> set[str]:
        try:
            return {read() for _ in range(20)}
        finally:
            close_all()

    assert in_threads(threads, work) == [{FIRST}] * threads


def test_threads_that_meet_a_dead_replica_at_the_same_time_all_get_their_rows(
    failing: PostgresReplicaSet,
) -> None:
    meet = threading.Barrier(8, action=lambda: failing.kill(0))

    def work(_: int) -> list[str]:
        read()
        read()
        meet.wait()
        # Each of them may be the first to find out, in the middle of a statement.
        for _ in range(2):
            read()
        found = [read() for _ in range(4)]
        close_all()
        return found

    assert in_threads(8, work) == [[SECOND] * 4] * 8


def test_a_replica_whose_connection_was_closed_is_looked_at_again(failing: PostgresReplicaSet) -> None:
    replica = replica_of_context()
    failing.kill(replica)
    connections[REPLICAS[replica]].close()
    # It had returned something: another replica may be behind that.
    assert Author.objects.get()._state.db == MASTER


def test_with_health_checks_a_connection_that_broke_between_requests_is_found_out(
    failing: PostgresReplicaSet,
) -> None:
    close_all()
    for alias in (MASTER, *REPLICAS):
        connections[alias].settings_dict.update(CONN_HEALTH_CHECKS=True, CONN_MAX_AGE=None)
    try:
        assert {read() for _ in range(4)} == {FIRST, SECOND}
        failing.kill(0)
        for _ in range(4):
            # As Django does when a request starts.
            close_old_connections()
            assert read() == SECOND
    finally:
        for alias in (MASTER, *REPLICAS):
            connections[alias].settings_dict.update(CONN_HEALTH_CHECKS=False, CONN_MAX_AGE=0)


def test_get_replica_names_one_that_is_there(failing: PostgresReplicaSet) -> None:
    failing.kill(0)
    for _ in range(4):
        with pindb.pinning_context():
            assert pindb.get_replica() == SECOND


# ---- statements that fail ----------------------------------------------------------------------


def test_a_statement_runs_again_when_its_replica_is_killed(failing: PostgresReplicaSet) -> None:
    for _ in range(2):
        read()
    before = pindb.stats()
    alias, index = chosen()
    with around(alias, lambda: failing.kill(index)):
        # Chosen anew: nothing was returned by the replica, so the other one may serve.
        author = Author.objects.get()
    assert author.name == "old"
    assert pindb.stats().failovers == before.failovers + 1
    other = REPLICAS[1 - index]
    assert Author.objects.get()._state.db == other
    rerun = [reasons.get("rerun", 0) for reasons in (pindb.stats().reads[other], before.reads[other])]
    assert rerun[0] == rerun[1] + 1


def test_after_a_first_answer_the_master_takes_the_place_of_a_replica(failing: PostgresReplicaSet) -> None:
    replica = replica_of_context()
    with around(REPLICAS[replica], lambda: failing.kill(replica)):
        assert Author.objects.get().name == "old"
    assert Author.objects.get()._state.db == MASTER


def test_a_statement_runs_on_the_master_when_all_replicas_are_killed(failing: PostgresReplicaSet) -> None:
    alias = pindb.get_replica()

    def kill_both() -> None:
        for replica in (0, 1):
            failing.kill(replica)

    with around(alias, kill_both):
        assert Author.objects.get().name == "old"
    assert Author.objects.get()._state.db == MASTER


def test_a_replica_that_fails_while_it_takes_over_is_passed_over_too(failing: PostgresReplicaSet) -> None:
    for _ in range(2):
        read()
    alias, index = chosen()
    with (
        around(alias, lambda: failing.kill(index)),
        around(REPLICAS[1 - index], lambda: failing.kill(1 - index)),
    ):
        assert Author.objects.get().name == "old"
    assert Author.objects.get()._state.db == MASTER


def sleepy(port: int) -> str:
    """Reads the authors; on the server at `port` it takes a minute."""
    return (
        f"SELECT name FROM testapp_author WHERE pg_sleep(CASE inet_server_port() WHEN {port} "
        "THEN 60 ELSE 0 END) IS NOT NULL"
    )


def in_mid_query(servers: PostgresReplicaSet, member: int | str, action: Callable[[int], Any]) -> None:
    """Give `action` the process id of the session that sleeps on a member, once there is one."""
    sql = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND state = 'active'"
    action(wait_for(lambda: servers.execute(member, sql), "a session that sleeps", 20)[0][0])


def terminate(servers: PostgresReplicaSet, index: int) -> None:
    in_mid_query(servers, index, lambda pid: servers.execute(index, f"SELECT pg_terminate_backend({pid})"))


def crash(servers: PostgresReplicaSet, index: int) -> None:
    in_mid_query(servers, index, lambda pid: servers.kill(index))


def shut_down(servers: PostgresReplicaSet, index: int) -> None:
    in_mid_query(servers, index, lambda pid: servers.stop(index))


def lock_table(servers: PostgresReplicaSet) -> None:
    """Whoever reads the authors on a replica is in the way of what it has to replay now."""
    servers.execute("master", "ALTER TABLE testapp_author ALTER name SET NOT NULL", database="pindb")


@pytest.mark.parametrize("how", [terminate, crash, shut_down])
def test_a_query_that_is_cut_off_in_the_middle_gets_its_rows_elsewhere(
    how: Callable[..., None], failing: PostgresReplicaSet, lines: Lines
) -> None:
    alias, index = chosen()
    with meanwhile(how, failing, index):
        authors = list(Author.objects.raw("SELECT *" + sleepy(failing.port(index))[len("SELECT name") :]))
    assert [author.name for author in authors] == ["old"]
    (line,) = lines()
    assert line.startswith(f"replica {alias} down: connection lost;")
    assert {read() for _ in range(4)} == {REPLICAS[1 - index]}


def test_a_cursor_goes_on_elsewhere(failing: PostgresReplicaSet) -> None:
    alias, index = chosen()
    with meanwhile(terminate, failing, index), connections[alias].cursor() as cursor:
        cursor.execute(sleepy(failing.port(index)))
        assert cursor.fetchall() == [("old",)]
        assert [column.name for column in cursor.description] == ["name"]


def test_a_query_that_recovery_cancels_runs_elsewhere_and_its_replica_stays_in_use(
    failing: PostgresReplicaSet, lines: Lines
) -> None:
    alias, index = chosen()
    lock = meanwhile(in_mid_query, failing, index, lambda pid: lock_table(failing))
    with lock, connections[alias].cursor() as cursor:
        cursor.execute(sleepy(failing.port(index)))
        assert cursor.fetchall() == [("old",)]
    assert lines() == []
    assert {read() for _ in range(4)} == {FIRST, SECOND}
    # This unit of work reads on where it got its rows.
    assert Author.objects.get()._state.db == REPLICAS[1 - index]


def test_a_conflict_on_every_replica_ends_on_the_master(failing: PostgresReplicaSet) -> None:
    alias, first = chosen()
    sleep = f"WHEN {failing.port(0)} THEN 60"
    sql = sleepy(failing.port(0)).replace(sleep, f"{sleep} WHEN {failing.port(1)} THEN 60")

    def cancel_twice() -> None:
        for index in (first, 1 - first):
            in_mid_query(failing, index, lambda pid: lock_table(failing))

    with meanwhile(cancel_twice), connections[alias].cursor() as cursor:
        cursor.execute(sql)
        assert cursor.fetchall() == [("old",)]
    assert Author.objects.get()._state.db == MASTER


@pytest.mark.parametrize("after", [False, True])
def test_an_iterator_runs_elsewhere_before_its_first_row_is_out(
    after: bool, failing: PostgresReplicaSet
) -> None:
    alias, index = chosen()
    with around(alias, lambda: failing.kill(index), after=after):
        authors = list(Author.objects.order_by("id").iterator(chunk_size=2))
    assert [author.name for author in authors] == ["old"]


@pytest.mark.parametrize("after", [False, True])
def test_an_asynchronous_iterator_runs_elsewhere_too(after: bool, failing: PostgresReplicaSet) -> None:
    async def run() -> list[str]:
        alias, index = await sync_to_async(chosen)()
        killed = around(alias, lambda: failing.kill(index), after=after)
        stack = ExitStack()
        await sync_to_async(stack.enter_context)(killed)
        try:
            return [author.name async for author in Author.objects.order_by("id").aiterator(chunk_size=2)]
        finally:
            await sync_to_async(stack.close)()

    assert asyncio.run(run()) == ["old"]


def test_an_iterator_that_has_returned_rows_fails_with_the_databases_error(
    failing: PostgresReplicaSet,
) -> None:
    Author.objects.bulk_create(Author(name=str(number)) for number in range(10))
    pindb.wait_for_replicas()
    with pindb.pinning_context():
        alias = pindb.get_replica()
        iterator = Author.objects.order_by("id").iterator(chunk_size=2)
        assert [next(iterator).name, next(iterator).name] == ["old", "0"]
        failing.kill(REPLICAS.index(alias))
        with pytest.raises(OperationalError):
            list(iterator)


def test_an_iterator_that_is_not_disturbed_returns_all_rows() -> None:
    Author.objects.bulk_create(Author(name=str(number)) for number in range(10))
    pindb.wait_for_replicas()
    with pindb.pinning_context():
        names = [author.name for author in Author.objects.order_by("id").iterator(chunk_size=3)]
    assert names == ["old", *map(str, range(10))]


def test_a_transaction_on_a_replica_fails_as_a_whole(failing: PostgresReplicaSet) -> None:
    alias, index = chosen()
    with pytest.raises(OperationalError), transaction.atomic(using=alias):  # noqa: PT012
        assert Author.objects.using(alias).get().name == "old"
        failing.kill(index)
        Author.objects.using(alias).get()
    # The server is known to be down now.
    assert read() == REPLICAS[1 - index]


def test_a_statement_that_writes_is_never_run_again(failing: PostgresReplicaSet) -> None:
    before = pindb.stats().failovers
    alias = pindb.get_replica()
    statements = ("DELETE FROM testapp_author", "WITH x AS (DELETE FROM testapp_author RETURNING 1) TABLE x")
    for sql in statements:
        connections[alias].ensure_connection()
        with around(alias, lambda: None), pytest.raises(DatabaseError), connections[alias].cursor() as cursor:
            cursor.execute(sql)
    with (
        around(alias, lambda: failing.kill(REPLICAS.index(alias))),
        pytest.raises(OperationalError),
        connections[alias].cursor() as cursor,
    ):
        cursor.execute(statements[1])
    assert pindb.stats().failovers == before
    assert Author.objects.using(MASTER).count() == 1


def test_errors_that_are_the_statements_own_are_left_alone(lines: Lines) -> None:
    before = pindb.stats().failovers
    alias = pindb.get_replica()
    with connections[alias].cursor() as cursor:
        cursor.execute("SET statement_timeout = 50")
        for sql in ("SELECT no_such_column FROM testapp_author", "SELECT 1 / 0", "SELECT pg_sleep(9)"):
            with pytest.raises(DatabaseError):
                cursor.execute(sql)
    connections[alias].close()
    assert pindb.stats().failovers == before
    assert lines() == []


def test_a_cursor_that_was_closed_says_nothing_about_its_server(lines: Lines) -> None:
    alias = pindb.get_replica()
    with connections[alias].cursor() as cursor:
        pass
    with pytest.raises(InterfaceError):
        cursor.execute("SELECT 1")
    assert read() in REPLICAS
    assert lines() == []


def test_an_error_inside_a_transaction_on_the_master_says_nothing_about_the_master(
    lines: Lines,
) -> None:
    with transaction.atomic(), connections[MASTER].cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 50")
        with pytest.raises(DatabaseError):
            cursor.execute("SELECT pg_sleep(9)")
        transaction.set_rollback(True)
    assert lines() == []


# ---- the master --------------------------------------------------------------------------------


def by_time() -> dict[str, Pin]:
    return {MASTER: Pin(time.time() + 60)}


def test_without_a_master_pinned_reads_and_writes_fail_and_others_go_on(failing: PostgresReplicaSet) -> None:
    failing.stop("master")
    assert {read() for _ in range(4)} == {FIRST, SECOND}
    with pytest.raises(OperationalError):
        read_with(by_time())
    with pytest.raises(OperationalError):
        Author.objects.create(name="new")
    assert {read() for _ in range(4)} == {FIRST, SECOND}


def test_a_replica_that_is_taken_to_be_down_serves_where_nobody_else_is_there(
    failing: PostgresReplicaSet,
) -> None:
    failing.kill(0)
    assert {read() for _ in range(4)} == {SECOND}
    failing.start(0)
    failing.stop("master")
    failing.stop(1)
    for _ in range(2):
        # The first ones find out.
        read()
    assert {read() for _ in range(4)} == {FIRST}


@override_settings(PINDB_READ_REPLICAS_WHEN_MASTER_DOWN=True)
def test_a_site_may_let_pinned_reads_go_to_replicas_without_a_master(
    failing: PostgresReplicaSet, lines: Lines
) -> None:
    with carrying(by_time()):
        assert Author.objects.get()._state.db == MASTER
        failing.stop("master")
        for _ in range(3):
            try:
                assert read_with(by_time()) in REPLICAS
            except OperationalError:
                # The first to find out: never is a statement of a master run again.
                continue
    (line,) = [line for line in lines() if "pinned reads" in line]
    assert line.startswith("master default down: pinned reads go to replica default-")
    assert read_with(by_time()) in REPLICAS
    failing.start("master")
    Author.objects.create(name="new")
    with carrying(by_time()):
        assert {author._state.db for author in Author.objects.all()} == {MASTER}


def test_a_client_of_the_site_notices_nothing_of_a_replica_that_dies(failing: PostgresReplicaSet) -> None:
    clients = [Client() for _ in range(3)]
    for client in clients:
        client.get("/read/")
    failing.kill(0)
    for client in clients * 3:
        assert client.get("/read/").json()["names"] == ["old"]


def test_without_a_master_a_pinned_read_finds_a_replica_that_has_caught_up_since_it_was_asked(
    failing: PostgresReplicaSet,
) -> None:
    with override_settings(PINDB_CONSISTENCY="position", PINDB_POSITION_CHECK_MS=60_000):
        for replica in (0, 1):
            failing.pause(replica)
        with pindb.pinning_context():
            Author.objects.update(name="old")
            pins = export_pins(current())
        assert read_with(pins) == MASTER
        failing.resume(1)
        failing.wait_until_caught_up(1)
        connections[MASTER].close()
        failing.stop("master")
        assert [read_with(pins) for _ in range(3)] == [SECOND] * 3


# ---- positions of servers that fail ------------------------------------------------------------


def test_a_replica_that_comes_back_behind_is_not_read_before_it_has_caught_up(
    failing: PostgresReplicaSet,
) -> None:
    with override_settings(PINDB_CONSISTENCY="position", PINDB_REPLICA_DOWNTIME=0.05):
        failing.stop(0)
        assert {read() for _ in range(4)} == {SECOND}
        failing.start(0)
        failing.pause(0)
        Author.objects.using(MASTER).update(name="new")
        Author.objects.using(MASTER).update(name="old")
        failing.wait_until_caught_up(1)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert read() == SECOND
        failing.resume(0)
        wait_until_read(FIRST)


def test_answers_count_on_connections_from_before_a_replica_was_cut_off_from_its_master(
    failing: PostgresReplicaSet,
) -> None:
    receivers = "SELECT pid FROM pg_stat_wal_receiver"
    with override_settings(PINDB_CONSISTENCY="position", PINDB_POSITION_CHECK_MS=0):
        assert {read() for _ in range(2)} == {FIRST, SECOND}
        before = [failing.execute(replica, receivers) for replica in (0, 1)]
        failing.execute("master", "SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
        for replica in (0, 1):
            wait_for(
                lambda replica=replica: (  # type: ignore[misc]
                    failing.execute(replica, receivers) not in ([], before[replica])
                ),
                "another receiver",
                20,
            )

        # Or they would be left alone until they have.
        pindb.wait_for_replicas()

        def read_on_new_connections() -> None:
            assert {read() for _ in range(2)} == {FIRST, SECOND}
            close_all()

        with meanwhile(read_on_new_connections):
            pass
        with pindb.pinning_context():
            Author.objects.update(name="old")
            pins = export_pins(current())
        pindb.wait_for_replicas()
        assert {read_with(pins) for _ in range(2)} == {FIRST, SECOND}
        asked = pindb.stats().position_queries
        assert {read_with(pins) for _ in range(4)} == {FIRST, SECOND}
        assert pindb.stats().position_queries == asked


def test_what_a_replica_had_before_it_failed_is_not_believed_afterwards(failing: PostgresReplicaSet) -> None:
    with override_settings(PINDB_CONSISTENCY="position", PINDB_REPLICA_DOWNTIME=0):
        pins = {MASTER: Pin(time.time() + 60, pindb.current_position())}
        for _ in range(2):
            read_with(pins)
        before = pindb.stats().position_queries
        with carrying(pins):
            alias, index = chosen()
            failing.kill(index)
            assert Author.objects.get().name == "old"
        failing.start(index)
        wait_for(lambda: read_with(pins) == alias, f"{alias} to be read", 20)
        assert pindb.stats().position_queries > before
