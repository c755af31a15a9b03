"""psycopg's connection pools (``OPTIONS["pool"]``) to servers that fail."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

import pindb
from pindb.pins.context import Pin, current
from pindb.sets.pools import pool_timeout
from pindb.testing.postgres import PostgresReplicaSet
from tests.conftest import Lines, close_all, close_everywhere, databases_restored, start_all
from tests.testapp.models import Author
from tests.threads import meanwhile

pytest.importorskip("psycopg_pool")

MASTER, FIRST, SECOND = ALIASES = ("default", "default-0", "default-1")
REPLICAS = (FIRST, SECOND)

#: How long (seconds) nobody waits in these tests. By itself, a pool lets its callers wait for 30.
MOMENT = 10

pytestmark = pytest.mark.usefixtures("short_recovery")


def close_pools() -> None:
    for alias in ALIASES:
        connection: Any = connections[alias]
        connection.close()
        pool = connection._connection_pools.pop(alias, None)
        if pool is not None:
            pool.close()


@pytest.fixture(autouse=True)
def pooled(servers: PostgresReplicaSet) -> Iterator[PostgresReplicaSet]:
    """The servers, which a test may stop and kill; all aliases of the default set have pools."""
    Author.objects.using(MASTER).create(name="old")
    servers.wait_until_caught_up()
    close_everywhere()
    options = {"connect_timeout": 2, "pool": {"min_size": 2, "max_size": 4}}
    with databases_restored(ALIASES) as before:
        databases = pindb.populate_replicas(
            {MASTER: {**before[MASTER], "OPTIONS": {**before[MASTER]["OPTIONS"], **options}}},
            {MASTER: [{}, {}]},
        )
        for alias in ALIASES:
            connections[alias].settings_dict["OPTIONS"] = databases[alias]["OPTIONS"]
        with override_settings(PINDB_REPLICA_DOWNTIME=0.3, PINDB_POSITION_CHECK_MS=0):
            yield servers
            close_pools()
    start_all(servers)


def read(position: str | None = None) -> str:
    """Where a request reads, which gives its connections back to their pools."""
    with pindb.pinning_context():
        if position is not None:
            current().carry({MASTER: Pin(time.time() + 60, position)})
        started = time.monotonic()
        (author,) = Author.objects.all()
        assert time.monotonic() - started < MOMENT
        assert author.name == "old"
        for alias in ALIASES:
            connections[alias].close()
        used: str = author._state.db
        return used


def fill() -> None:
    """Let the pools of both replicas have several idle connections."""
    for alias in REPLICAS:
        connection: Any = connections[alias]
        connection.ensure_connection()
        connection.close()
        connection.pool.wait(MOMENT)


@pytest.mark.parametrize("consistency", ["time", "position"])
def test_the_idle_connections_of_a_dead_replica_are_gone_when_it_is_back(
    consistency: str, pooled: PostgresReplicaSet, lines: Lines
) -> None:
    with override_settings(PINDB_CONSISTENCY=consistency):
        position = pindb.current_position() if consistency == "position" else None
        fill()
        pooled.kill(0)
        # Some find out, and what they read runs elsewhere.
        read(position), read(position)
        # It is tried again several times meanwhile.
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert read(position) in (SECOND, MASTER)
            time.sleep(0.01)
        pooled.start(0)
        deadline = time.monotonic() + 20
        while read(position) != FIRST:
            assert time.monotonic() < deadline
        told = [re.split(":| after", line)[0] for line in lines()]
        assert told == ["replica default-0 down", "replica default-0 up"]
        # Whichever connection it is, it works.
        assert {read(position) for _ in range(12)} == {FIRST, SECOND}
        assert len(lines()) == 2


def test_a_replica_that_is_not_there_at_the_start_costs_no_wait_for_its_pool(
    pooled: PostgresReplicaSet, lines: Lines
) -> None:
    pooled.stop(1)
    started = time.monotonic()
    with override_settings(PINDB_REPLICA_DOWNTIME=0.05):
        for _ in range(10):
            assert read() == FIRST
            time.sleep(0.02)
    assert time.monotonic() - started < 2
    assert [line for line in lines() if "down: cannot connect;" in line] == lines()


def test_a_replica_that_hangs_costs_its_connect_timeout_at_most(pooled: PostgresReplicaSet) -> None:
    with override_settings(PINDB_REPLICA_DOWNTIME=600):
        folder = pooled._running_folder()
        folder.signal("replica-0", signal.SIGSTOP)
        try:
            started = time.monotonic()
            assert {read() for _ in range(6)} == {SECOND}
            assert time.monotonic() - started < 2 * MOMENT
        finally:
            folder.signal("replica-0", signal.SIGCONT)


def test_connections_that_others_have_are_not_used_again(pooled: PostgresReplicaSet, lines: Lines) -> None:
    with override_settings(PINDB_REPLICA_DOWNTIME=600):
        fill()
        has_read, may_return = threading.Barrier(2), threading.Event()

        def work() -> None:
            connections[FIRST].ensure_connection()
            with connections[FIRST].cursor() as cursor:
                cursor.execute("SELECT 1")
            has_read.wait()
            may_return.wait(MOMENT)
            found = {read() for _ in range(4)}
            close_all()
            assert found == {SECOND}

        with meanwhile(work):
            has_read.wait()
            pooled.kill(0)
            read(), read()
            assert {read() for _ in range(4)} == {SECOND}
            pooled.start(0)
            may_return.set()
        (line,) = lines()
        assert line.startswith("replica default-0 down: connection lost;")


def test_a_pool_without_a_free_connection_is_passed_over_and_its_replica_is_not_down(
    pooled: PostgresReplicaSet, lines: Lines
) -> None:
    for alias in REPLICAS:
        connections[alias].settings_dict["OPTIONS"]["pool"].update(timeout=0.2, max_size=2)
    fill()
    connection: Any = connections[FIRST]
    taken = [connection.pool.getconn() for _ in range(2)]
    assert {read() for _ in range(2)} == {SECOND}
    for raw in taken:
        connection.pool.putconn(raw)
    assert {read() for _ in range(2)} == {FIRST, SECOND}
    assert lines() == []


def test_a_pooled_connection_is_asked_once_for_the_life_of_its_server(pooled: PostgresReplicaSet) -> None:
    with override_settings(PINDB_CONSISTENCY="position"):
        fill()
        sent: list[str] = []

        def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            sent.append(sql)
            return execute(sql, params, many, context)

        for _ in range(12):
            read()
        with connections[FIRST].execute_wrapper(note), connections[SECOND].execute_wrapper(note):
            for _ in range(4):
                read()
        assert len(sent) == 4


# ---- the wait ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"pool": True}, 5),
        ({"pool": {"max_size": 3}, "connect_timeout": 2}, 2),
        ({"pool": {}, "connect_timeout": "3"}, 3),
        ({"pool": True, "connect_timeout": 0}, 5),
        ({"pool": {"timeout": 7.5}, "connect_timeout": 2}, 7.5),
    ],
)
def test_the_wait_for_the_pool_of_a_replica_is_bounded(options: dict[str, Any], seconds: float) -> None:
    master = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": options}
    databases = pindb.populate_replicas({"default": master}, {"default": [{}]})
    assert databases["default-0"]["OPTIONS"]["pool"]["timeout"] == seconds == pool_timeout(options)
    assert databases["default"]["OPTIONS"] == options


def test_pools_of_other_databases_are_left_alone() -> None:
    master = {"ENGINE": "django.db.backends.oracle", "OPTIONS": {"pool": {"max": 3}}}
    databases = pindb.populate_replicas({"default": master}, {"default": [{}]})
    assert databases["default-0"]["OPTIONS"] == {"pool": {"max": 3}}
    master = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {}}
    assert pindb.populate_replicas({"default": master}, {"default": [{}]})["default-0"]["OPTIONS"] == {}
