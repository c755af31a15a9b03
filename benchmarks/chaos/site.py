"""The database servers, and the demo site on them in several processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.chaos.schedule import REPLICAS
from pindb.testing.postgres import PostgresReplicaSet
from pindb.testing.processes import ServerFolder, free_port, wait_for
from testproject.addresses import VARIABLE
from testproject.programs import ROOT, prepare

__all__ = ["DOWNTIME", "PASSWORD", "PROCESSES", "THREADS", "USER", "Site", "site_started"]

PROCESSES = 2
#: In each process.
THREADS = 8

#: ``PINDB_REPLICA_DOWNTIME``.
DOWNTIME = 1.0

#: Who may log in, and edit all notices.
USER, PASSWORD = "ada", "lovelace"

#: Connections that stay open, and are looked at before each request that uses them: nothing else notices that
#: the master was restarted.
OPTIONS = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True, "OPTIONS": {"connect_timeout": 2}}


class Site:
    """The servers and the processes of the site. Use `site_started`.

    Attributes:
        servers: the master and its replicas.
        ports: where each process listens.
    """

    def __init__(self, servers: PostgresReplicaSet, folder: ServerFolder) -> None:
        self.servers = servers
        self.ports: list[int] = []
        self._folder = folder
        addresses = {
            "masters": {"default": {**servers.master_database, **OPTIONS}},
            "sets": {"default": servers.replica_databases},
        }
        self._environment = {
            **os.environ,
            VARIABLE: json.dumps(addresses),
            "DJANGO_SETTINGS_MODULE": "benchmarks.chaos.settings",
            "PINDB_CHAOS_DOWNTIME": str(DOWNTIME),
            "PYTHONUNBUFFERED": "1",
        }

    def prepare(self) -> None:
        """Fill the database.

        Raises:
            RuntimeError: that failed.
        """
        prepare(self._environment, USER, PASSWORD)

    def add_notices(self, count: int) -> list[int]:
        """So many notices whose text is 0; their ids."""
        rows = self.servers.execute(
            "master",
            "INSERT INTO board_notice (title, body, author_id, posted_at, thanks) "
            "SELECT 'Counter', '0', (SELECT min(id) FROM auth_user), now(), 0 FROM generate_series(1, %s) "
            "RETURNING id",
            count,
        )
        return [pk for (pk,) in rows]

    def start(self) -> None:
        """Start the processes and wait until they listen."""
        for _ in range(PROCESSES):
            port = free_port()
            self._folder.start(
                f"site-{port}",
                [sys.executable, "-m", "benchmarks.chaos.serve", str(port), str(THREADS)],
                cwd=ROOT,
                env=self._environment,
            )
            self.ports.append(port)
        for port in self.ports:
            wait_for(lambda port=port: self._listens(port), f"the site at {port}", 30)  # type: ignore[misc]

    def stop(self) -> None:
        """End the processes."""
        for port in self.ports:
            self._folder.stop(f"site-{port}", signal.SIGTERM)

    def _listens(self, port: int) -> bool:
        if not self._folder.is_running(f"site-{port}"):
            raise RuntimeError(f"the site did not start:\n{self._folder.log(f'site-{port}')[-3000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True


@contextmanager
def site_started() -> Iterator[Site]:
    """A block in which servers and site run, with replicas that have caught up."""
    with PostgresReplicaSet(replicas=len(REPLICAS)) as servers:
        # The site reads the checkout, which nobody else may be able to.
        folder = ServerFolder("pindb-chaos-", drop_privileges=False)
        site = Site(servers, folder)
        try:
            site.prepare()
            site.start()
            yield site
        finally:
            site.stop()
            folder.close()
