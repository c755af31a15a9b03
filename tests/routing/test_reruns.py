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
from tests.conftest import close_all, close_everywhere
from tests.testapp.models import Author, Remark

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
    for member in servers.members:
        if not servers.is_running(member):
            servers.start(member)


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


def test_a_replica_that_refuses_connections_is_passed_over(
    failing: PostgresReplicaSet, lines: Callable[[], list[str]]
) -> None:
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
    failing: PostgresReplicaSet, lines: Callable[[], list[str]]
) -> None:
    with override_settings(PINDB_REPLICA_DOWNTIME=0.1):
        failing.kill(0)
        while FIRST in {read(), read()}:
            pass
        failing.start(0)
        deadline = time.monotonic() + 20
        while FIRST not in {read(), read()}:
            assert time.monotonic() < deadline
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
        deadline = time.monotonic() + 20
        while SECOND not in {read(), read()}:
            assert time.monotonic() < deadline
    assert told == [(SECOND, "cannot connect", "OperationalError"), (SECOND,)]


@pytest.mark.parametrize("threads", [1, 8])
def test_no_thread_reads_a_replica_that_is_down_while_another_is_up(
    threads: int, failing: PostgresReplicaSet
) -> None:
    failing.kill(1)
    read()
    read()
    found: list[str] = []
    errors: list[BaseException] = []
    start = threading.Barrier(threads)

    def work() -> None:
        try:
            start.wait()
            found.extend(read() for _ in range(20))
        except BaseException as error:
            errors.append(error)
        finally:
            close_all()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert errors == []
    assert set(found) == {FIRST}


def test_threads_that_meet_a_dead_replica_at_the_same_time_all_get_their_rows(
    failing: PostgresReplicaSet,
) -> None:
    found: list[str] = []
    meet = threading.Barrier(8, action=lambda: failing.kill(0))

    def work() -> None:
        read()
        read()
        meet.wait()
        # Each of them may be the first to find out, in the middle of a statement.
        for _ in range(2):
            read()
        found.extend(read() for _ in range(4))
        close_all()

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [SECOND] * 32


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
    alias = pindb.get_replica()
    with around(alias, lambda: failing.kill(REPLICAS.index(alias))):
        # Chosen anew: nothing was returned by the replica, so the other one may serve.
        author = Author.objects.get()
    assert author.name == "old"
    assert pindb.stats().failovers == before.failovers + 1
    other = REPLICAS[1 - REPLICAS.index(alias)]
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
    alias = pindb.get_replica()
    index = REPLICAS.index(alias)
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


def in_mid_query(servers: PostgresReplicaSet, member: int | str, action: Callable[[int], None]) -> None:
    """Give `action` the process id of the session that sleeps on a member, once there is one."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = servers.execute(
            member, "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND state = 'active'"
        )
        if found:
            action(found[0][0])
            return
        time.sleep(0.005)
    raise AssertionError("nobody sleeps")


@contextmanager
def meanwhile(function: Callable[..., None], *arguments: Any) -> Iterator[None]:
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def terminate(servers: PostgresReplicaSet, index: int) -> None:
    def end(pid: int) -> None:
        servers.execute(index, f"SELECT pg_terminate_backend({pid})")

    in_mid_query(servers, index, end)


def crash(servers: PostgresReplicaSet, index: int) -> None:
    in_mid_query(servers, index, lambda pid: servers.kill(index))


def shut_down(servers: PostgresReplicaSet, index: int) -> None:
    in_mid_query(servers, index, lambda pid: servers.stop(index))


def lock_table(servers: PostgresReplicaSet) -> None:
    """Whoever reads the authors on a replica is in the way of what it has to replay now."""
    servers.execute("master", "ALTER TABLE testapp_author ALTER name SET NOT NULL", database="pindb")


@pytest.mark.parametrize("how", [terminate, crash, shut_down])
def test_a_query_that_is_cut_off_in_the_middle_gets_its_rows_elsewhere(
    how: Callable[..., None], failing: PostgresReplicaSet, lines: Callable[[], list[str]]
) -> None:
    alias = pindb.get_replica()
    index = REPLICAS.index(alias)
    with meanwhile(how, failing, index):
        authors = list(Author.objects.raw("SELECT *" + sleepy(failing.port(index))[len("SELECT name") :]))
    assert [author.name for author in authors] == ["old"]
    (line,) = lines()
    assert line.startswith(f"replica {alias} down: connection lost;")
    assert {read() for _ in range(4)} == {REPLICAS[1 - index]}


def test_a_cursor_goes_on_elsewhere(failing: PostgresReplicaSet) -> None:
    alias = pindb.get_replica()
    index = REPLICAS.index(alias)
    with meanwhile(terminate, failing, index), connections[alias].cursor() as cursor:
        cursor.execute(sleepy(failing.port(index)))
        assert cursor.fetchall() == [("old",)]
        assert [column.name for column in cursor.description] == ["name"]


def test_a_query_that_recovery_cancels_runs_elsewhere_and_its_replica_stays_in_use(
    failing: PostgresReplicaSet, lines: Callable[[], list[str]]
) -> None:
    alias = pindb.get_replica()
    index = REPLICAS.index(alias)

    def conflict(pid: int) -> None:
        lock_table(failing)

    with meanwhile(in_mid_query, failing, index, conflict), connections[alias].cursor() as cursor:
        cursor.execute(sleepy(failing.port(index)))
        assert cursor.fetchall() == [("old",)]
    assert lines() == []
    assert {read() for _ in range(4)} == {FIRST, SECOND}
    # This unit of work reads on where it got its rows.
    assert Author.objects.get()._state.db == REPLICAS[1 - index]


def test_a_conflict_on_every_replica_ends_on_the_master(failing: PostgresReplicaSet) -> None:
    alias = pindb.get_replica()
    sleep = f"WHEN {failing.port(0)} THEN 60"
    sql = sleepy(failing.port(0)).replace(sleep, f"{sleep} WHEN {failing.port(1)} THEN 60")
    conflicts = threading.Event()

    def cancel_twice() -> None:
        for index in (REPLICAS.index(alias), 1 - REPLICAS.index(alias)):
            in_mid_query(
                failing,
                index,
                lambda pid: lock_table(failing),
            )
        conflicts.set()

    with meanwhile(cancel_twice), connections[alias].cursor() as cursor:
        cursor.execute(sql)
        assert cursor.fetchall() == [("old",)]
    assert conflicts.is_set()
    assert Author.objects.get()._state.db == MASTER


@pytest.mark.parametrize("after", [False, True])
def test_an_iterator_runs_elsewhere_before_its_first_row_is_out(
    after: bool, failing: PostgresReplicaSet
) -> None:
    alias = pindb.get_replica()
    index = REPLICAS.index(alias)
    with around(alias, lambda: failing.kill(index), after=after):
        authors = list(Author.objects.order_by("id").iterator(chunk_size=2))
    assert [author.name for author in authors] == ["old"]


@pytest.mark.parametrize("after", [False, True])
def test_an_asynchronous_iterator_runs_elsewhere_too(after: bool, failing: PostgresReplicaSet) -> None:
    async def run() -> list[str]:
        alias = await sync_to_async(pindb.get_replica)()

        def kill() -> None:
            failing.kill(REPLICAS.index(alias))

        stack = ExitStack()
        await sync_to_async(stack.enter_context)(around(alias, kill, after=after))
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
    alias = pindb.get_replica()

    @transaction.atomic(using=alias)
    def read_twice() -> None:
        assert Author.objects.using(alias).get().name == "old"
        failing.kill(REPLICAS.index(alias))
        Author.objects.using(alias).get()

    with pytest.raises(OperationalError):
        read_twice()
    # The server is known to be down now.
    assert read() == REPLICAS[1 - REPLICAS.index(alias)]


def test_a_statement_that_writes_is_never_run_again(failing: PostgresReplicaSet) -> None:
    before = pindb.stats().failovers
    alias = pindb.get_replica()
    statements = ("DELETE FROM testapp_author", "WITH x AS (DELETE FROM testapp_author RETURNING 1) TABLE x")
    for sql in statements:
        connections[alias].ensure_connection()
        with (
            around(alias, lambda: None),
            pytest.raises(DatabaseError),
            connections[alias].cursor() as cursor,
        ):
            cursor.execute(sql)
    with (
        around(alias, lambda: failing.kill(REPLICAS.index(alias))),
        pytest.raises(OperationalError),
        connections[alias].cursor() as cursor,
    ):
        cursor.execute(statements[1])
    assert pindb.stats().failovers == before
    assert Author.objects.using(MASTER).count() == 1


def test_errors_that_are_the_statements_own_are_left_alone(lines: Callable[[], list[str]]) -> None:
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


def test_a_cursor_that_was_closed_says_nothing_about_its_server(lines: Callable[[], list[str]]) -> None:
    alias = pindb.get_replica()
    with connections[alias].cursor() as cursor:
        pass
    with pytest.raises(InterfaceError):
        cursor.execute("SELECT 1")
    assert read() in REPLICAS
    assert lines() == []


def test_an_error_inside_a_transaction_on_the_master_says_nothing_about_the_master(
    lines: Callable[[], list[str]],
) -> None:
    with transaction.atomic(), connections[MASTER].cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 50")
        with pytest.raises(DatabaseError):
            cursor.execute("SELECT pg_sleep(9)")
        transaction.set_rollback(True)
    assert lines() == []


# ---- the master --------------------------------------------------------------------------------


def pin_by_time() -> None:
    current().carry({MASTER: Pin(time.time() + 60)})


def test_without_a_master_pinned_reads_and_writes_fail_and_others_go_on(
    failing: PostgresReplicaSet,
) -> None:
    failing.stop("master")
    assert {read() for _ in range(4)} == {FIRST, SECOND}
    with pindb.pinning_context():
        pin_by_time()
        with pytest.raises(OperationalError):
            Author.objects.get()
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
    failing: PostgresReplicaSet, lines: Callable[[], list[str]]
) -> None:
    with pindb.pinning_context():
        pin_by_time()
        assert Author.objects.get()._state.db == MASTER
        failing.stop("master")
        for _ in range(3):
            with pindb.pinning_context():
                pin_by_time()
                try:
                    assert Author.objects.get()._state.db in REPLICAS
                except OperationalError:
                    # The first to find out: never is a statement of a master run again.
                    continue
    (line,) = [line for line in lines() if "pinned reads" in line]
    assert line.startswith("master default down: pinned reads go to replica default-")
    with pindb.pinning_context():
        pin_by_time()
        assert Author.objects.get()._state.db in REPLICAS
    failing.start("master")
    Author.objects.create(name="new")
    with pindb.pinning_context():
        pin_by_time()
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
        with pindb.pinning_context():
            current().carry(pins)
            assert Author.objects.get()._state.db == MASTER
        failing.resume(1)
        failing.wait_until_caught_up(1)
        connections[MASTER].close()
        failing.stop("master")
        for _ in range(3):
            with pindb.pinning_context():
                current().carry(pins)
                assert Author.objects.get()._state.db == SECOND


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
        deadline = time.monotonic() + 20
        while FIRST not in {read(), read()}:
            assert time.monotonic() < deadline


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

        def read_pinned() -> str:
            with pindb.pinning_context():
                current().carry(pins)
                return Author.objects.get()._state.db or ""

        assert {read_pinned() for _ in range(2)} == {FIRST, SECOND}
        asked = pindb.stats().position_queries
        assert {read_pinned() for _ in range(4)} == {FIRST, SECOND}
        assert pindb.stats().position_queries == asked


def test_what_a_replica_had_before_it_failed_is_not_believed_afterwards(
    failing: PostgresReplicaSet,
) -> None:
    with override_settings(PINDB_CONSISTENCY="position", PINDB_REPLICA_DOWNTIME=0):
        pins = {MASTER: Pin(time.time() + 60, pindb.current_position())}
        for _ in range(2):
            with pindb.pinning_context():
                current().carry(pins)
                Author.objects.get()
        before = pindb.stats().position_queries
        with pindb.pinning_context():
            current().carry(pins)
            alias = pindb.get_replica()
            index = REPLICAS.index(alias)
            failing.kill(index)
            assert Author.objects.get().name == "old"
        failing.start(index)
        deadline = time.monotonic() + 20
        used = ""
        while used != alias:
            with pindb.pinning_context():
                current().carry(pins)
                used = Author.objects.get()._state.db or ""
            assert time.monotonic() < deadline
        assert pindb.stats().position_queries > before
