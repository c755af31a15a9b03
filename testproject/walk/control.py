"""The remote control of the database servers: pages of the site have buttons for it.

The servers belong to the demo's process. It listens on a Unix socket for the processes of the site.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, UnixStreamServer
from typing import Any

import psycopg

from pindb.testing.postgres import PostgresReplicaSet
from testproject.servers import ACTIONS

__all__ = ["listening"]

STATE = """
    SELECT timeline_id, lsn::text, state <> 'not paused'
    FROM pg_control_checkpoint(), LATERAL (
        SELECT CASE WHEN pg_is_in_recovery()
                THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END AS lsn,
            CASE WHEN pg_is_in_recovery()
                THEN pg_get_wal_replay_pause_state() ELSE 'not paused' END AS state
    ) AS now
"""


@contextmanager
def listening(databases: PostgresReplicaSet, socket: Path) -> Iterator[None]:
    """A block in which requests are carried out that come in at the socket, one at a time.

    A request is a line of JSON: an action and the name of a server; either may be empty. The answer is one,
    too: what went wrong (or nothing), and the state of each server, the master first.

    Arguments:
        databases: the servers.
        socket: where the socket is made. Its folder should be this user's alone.
    """

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            action, name = json.loads(self.rfile.readline())
            error = _carry_out(databases, action, name) if action else ""
            states = [_state(databases, member) for member in databases.members]
            self.wfile.write(json.dumps([error, states]).encode() + b"\n")

    with UnixStreamServer(str(socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            # What is being started must not outlive its folder.
            server.shutdown()
            thread.join()


def _carry_out(databases: PostgresReplicaSet, action: str, name: str) -> str:
    """Do something to a replica; the error, if there was one."""
    if action not in ACTIONS or name not in databases.members[1:]:
        return f"{action!r} is not possible."
    method: Callable[[str], None] = getattr(databases, action)
    try:
        method(name)
    except (RuntimeError, TimeoutError, psycopg.Error) as error:
        return str(error)
    return ""


def _state(databases: PostgresReplicaSet, name: str) -> dict[str, Any]:
    """Where a server is, and whether its replay is paused; no position: it is down."""
    position, is_paused = "", False
    if databases.is_running(name):
        try:
            timeline, lsn, is_paused = databases.execute(name, STATE)[0]
            position = f"{timeline}:{lsn}"
        except psycopg.OperationalError:
            pass
    return {"name": name, "position": position, "is_paused": is_paused}
