"""Several users at once, on replicas that lag, die and come back: each reads their own writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import hypothesis
from django.test import override_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

import pindb
from pindb.pins.context import current
from pindb.pins.propagation import export_pins
from pindb.pins.tokens import dump_pins, load_pins
from pindb.testing.postgres import PostgresReplicaSet
from tests.conftest import SERVERS, close_all, close_everywhere, start_all
from tests.testapp.models import Tag

T = TypeVar("T")

SESSIONS = 3
#: The row that counts the writes of all sessions; each session has one of its own.
ALL = SESSIONS

sessions = st.integers(0, SESSIONS - 1)
replicas = st.integers(0, 1)


def count(row: int) -> int:
    return int(Tag.objects.get(pk=row).name)


class Session:
    """A visitor, and the thread that serves them: with connections of its own, as in a server with threads.

    Attributes:
        token: what their cookie holds.
        written: how often they have written.
        seen: how many writes of everybody they have seen in this request.
        request: the block that their request is, while one is running.
    """

    def __init__(self, row: int) -> None:
        self.row = row
        self.token = ""
        self.written = 0
        self.seen = 0
        self.request: pindb.pinning_context | None = None
        self.thread = ThreadPoolExecutor(1)

    def run(self, function: Callable[[], T]) -> T:
        return self.thread.submit(function).result(timeout=60)

    def begin(self) -> None:
        """What the middleware does before a request."""
        self.request = pindb.pinning_context()
        self.request.__enter__()
        current().carry(load_pins(self.token, time.time()))
        self.seen = 0

    def write(self, everybody: int) -> None:
        for row, number in ((self.row, self.written + 1), (ALL, everybody)):
            Tag.objects.filter(pk=row).update(name=str(number))
        self.written += 1

    def read(self) -> None:
        """Sees all that the session has written, and within a request nothing that is older than before."""
        assert count(self.row) == self.written
        seen = count(ALL)
        assert seen >= self.seen
        self.seen = seen

    def end(self) -> None:
        """What the middleware does after a request."""
        context = current()
        if context.new or context.changed:
            self.token = dump_pins(export_pins(context))
        assert self.request is not None
        self.request.__exit__(None, None, None)
        self.request = None

    def close(self) -> None:
        self.run(close_all)
        self.thread.shutdown()


class Machine(RuleBasedStateMachine):
    """Requests of all sessions, mixed with each other and with what happens to the replicas."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.sessions = [Session(row) for row in range(SESSIONS)]
        start_all(SERVERS)
        for replica in (0, 1):
            SERVERS.resume(replica)
        close_all()
        # Nothing is known of the servers, as in a new process.
        self.settings = override_settings(
            PINDB_CONSISTENCY="position", PINDB_POSITION_CHECK_MS=0, PINDB_REPLICA_DOWNTIME=0.01
        )
        self.settings.enable()
        Tag.objects.using("default").all().delete()
        Tag.objects.using("default").bulk_create(Tag(pk=row, name="0") for row in range(SESSIONS + 1))
        SERVERS.wait_until_caught_up()

    def teardown(self) -> None:
        for session in self.sessions:
            session.close()
        self.settings.disable()

    @rule(index=sessions)
    def begin_or_end(self, index: int) -> None:
        session = self.sessions[index]
        session.run(session.begin if session.request is None else session.end)

    @rule(index=sessions)
    def write(self, index: int) -> None:
        session = self.sessions[index]
        self.written += 1
        if session.request is None:
            session.run(session.begin)
        session.run(lambda: session.write(self.written))

    @rule(index=sessions)
    def read(self, index: int) -> None:
        session = self.sessions[index]
        if session.request is None:
            session.run(session.begin)
        session.run(session.read)

    @rule(index=sessions)
    def hang_up(self, index: int) -> None:
        """Without persistent connections, every request opens its own."""
        if self.sessions[index].request is None:
            self.sessions[index].run(close_all)

    @rule(replica=replicas)
    def pause_or_resume(self, replica: int) -> None:
        if SERVERS.is_running(replica):
            paused = SERVERS.execute(replica, "SELECT pg_is_wal_replay_paused()") == [(True,)]
            (SERVERS.resume if paused else SERVERS.pause)(replica)

    @rule(replica=replicas)
    def catch_up(self, replica: int) -> None:
        if SERVERS.is_running(replica):
            SERVERS.resume(replica)
            SERVERS.wait_until_caught_up(replica)

    @rule(replica=replicas)
    def kill_or_start(self, replica: int) -> None:
        (SERVERS.kill if SERVERS.is_running(replica) else SERVERS.start)(replica)

    @rule(replica=replicas)
    def crash(self, replica: int) -> None:
        """Killed and started again before anybody has noticed."""
        if SERVERS.is_running(replica):
            SERVERS.kill(replica)
            SERVERS.start(replica)


def test_every_session_sees_what_it_wrote_and_no_request_sees_time_run_backwards(
    servers: PostgresReplicaSet, short_recovery: None
) -> None:
    try:
        run_state_machine_as_test(
            Machine,
            settings=hypothesis.settings(
                max_examples=12,
                stateful_step_count=30,
                deadline=None,
                # Real servers do not do the same thing twice, so that nothing is gained by trying to.
                phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
            ),
        )
    finally:
        close_everywhere()
        start_all(SERVERS)
