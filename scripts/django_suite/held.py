"""Replicas that replay only when a test lets them."""

from __future__ import annotations

import time
from typing import Any

import psycopg

__all__ = ["HeldReplicas"]

#: How long (seconds) a replica may take to catch up.
PATIENCE = 30


class HeldReplicas:
    """The replicas of a master, on connections of their own, which no test counts or closes.

    In a block, they show what was committed before it and nothing of what is committed in it.

    Arguments:
        servers: settings as in ``DATABASES``, the master's first.
    """

    def __init__(self, servers: list[dict[str, Any]]) -> None:
        self.servers = servers
        self.connections: list[psycopg.Connection[Any]] = []
        self.is_held = False

    def __enter__(self) -> None:
        self.catch_up()
        self.hold()

    def __exit__(self, *args: object) -> None:
        self.release()

    def renew(self) -> None:
        """Let held replicas show what was committed until now."""
        if self.is_held:
            self.release()
            self.catch_up()
            self.hold()

    def hold(self) -> None:
        self.ask_replicas("SELECT pg_wal_replay_pause()")
        self.is_held = True
        self.wait("SELECT pg_get_wal_replay_pause_state() = 'paused'")

    def release(self) -> None:
        self.is_held = False
        self.ask_replicas("SELECT pg_wal_replay_resume()")

    def catch_up(self) -> None:
        ((position,),) = self.open()[0].execute("SELECT pg_current_wal_flush_lsn()::text")
        self.wait("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position)

    def ask_replicas(self, sql: str) -> None:
        for replica in self.open()[1:]:
            replica.execute(sql)

    def wait(self, sql: str, *parameters: Any) -> None:
        until = time.monotonic() + PATIENCE
        for replica in self.open()[1:]:
            while True:
                row = replica.execute(sql, parameters or None).fetchone()
                if row is not None and row[0]:
                    break
                if time.monotonic() > until:
                    raise TimeoutError(f"After {PATIENCE} s, a replica still says no to: {sql}")
                time.sleep(0.0005)

    def open(self) -> list[psycopg.Connection[Any]]:
        if not self.connections:
            self.connections = [
                psycopg.connect(
                    host=server["HOST"],
                    port=server["PORT"],
                    user=server["USER"],
                    password=server["PASSWORD"],
                    dbname="postgres",
                    autocommit=True,
                )
                for server in self.servers
            ]
        return self.connections
