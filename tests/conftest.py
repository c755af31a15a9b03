"""The servers that the whole suite runs on: a real master with two replicas. And fixtures."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import django
import hypothesis
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

import pindb
from pindb.testing.postgres import PostgresReplicaSet
from tests.redis.tools import Clock

# Times say nothing on a busy machine.
hypothesis.settings.register_profile(
    "pindb", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("pindb")

SERVERS = PostgresReplicaSet(replicas=2, databases=("pindb", "api"))
ALIASES = ("default", "default-0", "default-1", "api", "api-0")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        # This process only hands the tests out; each of those that run them has servers of its own.
        return
    SERVERS.__enter__()
    os.environ["PINDB_TEST_DATABASES"] = json.dumps(
        [
            {"default": SERVERS.master_database, "api": SERVERS.database("master", "api")},
            {"default": SERVERS.replica_databases, "api": [SERVERS.database(0, "api")]},
        ]
    )
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    for alias in ("default", "api", "unmanaged"):
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    SERVERS.wait_until_caught_up()


def pytest_unconfigure(config: pytest.Config) -> None:
    if settings.configured:
        connections.close_all()
    SERVERS.close()


#: What the fixture `lines` is.
Lines = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """Each test is a pinning context of its own."""
    with pindb.pinning_context():
        yield


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What the logger "pindb" has said so far, at INFO and above."""
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.name == "pindb" and record.levelno >= logging.INFO
    ]


@pytest.fixture
def servers() -> Iterator[PostgresReplicaSet]:
    """The running servers, with empty tables, replicas that replay, and replicas caught up."""
    yield SERVERS
    for replica in (0, 1):
        SERVERS.resume(replica)
    for alias in ("default", "api"):
        empty(alias)
    SERVERS.wait_until_caught_up()


def empty(alias: str) -> None:
    """Remove all rows of the models, but for what migrations put there."""
    # Tables that nobody has written to have no pages, and take as long to truncate as others.
    with connections[alias].cursor() as cursor:
        cursor.execute(
            """
            SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
            AND relname NOT IN ('django_migrations', 'django_content_type', 'auth_permission')
            """
        )
        (tables,) = cursor.fetchone()
        if tables:
            cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")


@pytest.fixture
def by_position(servers: PostgresReplicaSet) -> Iterator[None]:
    """Pins go by positions, and a replica that is behind is asked each time."""
    with override_settings(PINDB_CONSISTENCY="position", PINDB_POSITION_CHECK_MS=0):
        yield


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which servers that are down are tried again; it stands still."""
    clock = Clock()
    monkeypatch.setattr("pindb._circuit.time", clock)
    return clock


def start_all(servers: Any) -> None:
    """Start the members that a test has stopped or killed."""
    for member in servers.members:
        if not servers.is_running(member):
            servers.start(member)


@pytest.fixture(scope="module")
def short_recovery() -> None:
    """Replicas that are killed replay only what comes from now on, and start again at once."""
    SERVERS.execute("master", "CHECKPOINT")
    SERVERS.wait_until_caught_up()
    for replica in (0, 1):
        SERVERS.execute(replica, "CHECKPOINT")


def close_all() -> None:
    """Close this thread's connections to the servers."""
    for alias in ALIASES:
        connections[alias].close()


def close_everywhere() -> None:
    """Close those of the thread that asynchronous code has for its queries, too."""
    close_all()
    asyncio.run(sync_to_async(close_all)())


@contextmanager
def databases_restored(aliases: Iterable[str]) -> Iterator[dict[str, dict[str, Any]]]:
    """A block that may change what aliases connect to; it is given what that was."""
    before = {alias: dict(connections[alias].settings_dict) for alias in aliases}
    yield before
    for alias, settings_dict in before.items():
        connections[alias].settings_dict.clear()
        connections[alias].settings_dict.update(settings_dict)


def pause_all(servers: PostgresReplicaSet) -> None:
    """Let the replicas catch up, and pause them: what is committed from now on is on the master only."""
    servers.wait_until_caught_up()
    for replica in (0, 1):
        servers.pause(replica)


def resume_all(servers: Any) -> None:
    """Let the replicas replay again, and wait until they have all."""
    for replica in (0, 1):
        servers.resume(replica)
    servers.wait_until_caught_up()


@pytest.fixture
def paused(servers: PostgresReplicaSet) -> PostgresReplicaSet:
    """The servers with both replicas paused: what is committed from now on is on the master only."""
    pause_all(servers)
    return servers
