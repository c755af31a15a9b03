"""What the demo plays on: the database servers, and the site in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from pindb.testing.postgres import PostgresReplicaSet
from pindb.testing.processes import ServerFolder, free_port, wait_for
from testproject.addresses import VARIABLE
from testproject.programs import ROOT, manage, prepare
from testproject.queries import HEADER, read_header
from testproject.servers import SOCKET
from testproject.walk.control import listening

__all__ = ["DELAY", "LAGGING", "PASSWORD", "PINNING_SECONDS", "USER", "Site", "Stage"]

#: How far the lagging replica is behind, in seconds.
DELAY = 2.0

#: The alias of the lagging replica, and its index.
LAGGING = "default-1"
LAGGING_INDEX = 1

#: How long a pin lasts, in seconds: longer than the delay by more than the second to which cookie jars round.
PINNING_SECONDS = 3.5

#: How long the site that goes by positions leaves a replica alone that failed, in seconds.
DOWNTIME = 1.0

#: How long to wait, in seconds, until a replica is asked again for its position: more than
#: ``PINDB_POSITION_CHECK_MS``.
ASKED_AGAIN = 0.05

#: Who may log in.
USER, PASSWORD = "ada", "lovelace"

TIMEOUT = 30.0


class Site:
    """A running process of the site.

    Attributes:
        address: its URL, without a slash at the end.
    """

    def __init__(self, folder: ServerFolder, name: str, address: str) -> None:
        self.address = address
        self._folder = folder
        self._name = name

    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._folder.is_running(self._name)

    def log(self) -> str:
        """The end of what it printed."""
        return self._folder.log(self._name)[-3000:]

    def wait_until_up(self) -> None:
        """Wait until it takes requests, its next read being that of the first replica."""
        wait_for(self.answers, f"the site at {self.address} to answer", TIMEOUT)
        self.wind_back()

    def answers(self) -> bool:
        """Whether it takes requests.

        Raises:
            RuntimeError: it ended; the message has the end of its log.
        """
        if not self.is_running():
            raise RuntimeError(f"the site did not start. Its log ends:\n{self.log()}")
        try:
            self._read()
        except httpx.TransportError:
            return False
        return True

    def wind_back(self) -> None:
        """Read until the lagging replica answers: the next read is the other one's.

        Processes start their rotations anywhere; like this, every walk is the same.
        """
        for _ in range(3):
            if LAGGING in self._read():
                break

    def _read(self) -> set[str]:
        """Read the board as somebody without cookies; the databases that answered."""
        response = httpx.get(f"{self.address}/", trust_env=False, timeout=TIMEOUT)
        return {query.database for query in read_header(response.headers.get(HEADER, "[]"))}

    def stop(self) -> None:
        """End the process."""
        self._folder.stop(self._name, signal.SIGTERM, timeout=5)


class Stage:
    """The servers, and sites on them. Use `Stage.set_up`.

    Attributes:
        databases: the master and its two replicas.
    """

    def __init__(self, databases: PostgresReplicaSet, folder: ServerFolder, broken: str | None) -> None:
        self.databases = databases
        self._folder = folder
        self._broken = broken
        self._sites: list[Site] = []

    @classmethod
    @contextmanager
    def set_up(cls, broken: str | None = None, say: Callable[[str], Any] = lambda _: None) -> Iterator[Stage]:
        """A block with the servers running, the board's database ready and one replica lagging.

        Arguments:
            broken: what of the sites' routing to break (see settings.py).
            say: is called with what is going on.
        """
        say("Starting a PostgreSQL master and two streaming replicas")
        with PostgresReplicaSet(replicas=2) as databases:
            # The sites read the checkout, which nobody else may be able to.
            folder = ServerFolder("pindb-demo-", drop_privileges=False)
            stage = cls(databases, folder, broken)
            try:
                say("Migrating, posting the first notices")
                prepare(stage._environment(), USER, PASSWORD)
                databases.wait_until_caught_up()
                databases.set_apply_delay(LAGGING_INDEX, DELAY)
                yield stage
            finally:
                for site in stage._sites:
                    site.stop()
                folder.close()

    def open_sites(self, *routers: str) -> list[Site]:
        """Start a process of the site for each of the routers (dotted paths), and wait until all answer."""
        sites = [self.start_site(router) for router in routers]
        for site in sites:
            site.wait_until_up()
        return sites

    def start_site(
        self, router: str, consistency: str = "time", port: int | None = None, **environment: str
    ) -> Site:
        """Start a process of the site. It does not answer yet.

        Arguments:
            router: the dotted path of its router.
            consistency: what ends its pins: ``"time"`` or ``"position"``.
            port: its port; a free one.
            environment: more variables for it.
        """
        port = port or free_port()
        name = f"site-{port}"
        self._folder.start(
            name,
            manage("runserver", "--noreload", f"127.0.0.1:{port}"),
            cwd=ROOT,
            env=self._environment(
                PINDB_DEMO_ROUTER=router, PINDB_DEMO_CONSISTENCY=consistency, **environment
            ),
        )
        site = Site(self._folder, name, f"http://127.0.0.1:{port}")
        self._sites.append(site)
        return site

    def _environment(self, **more: str) -> dict[str, str]:
        addresses = {
            "masters": {"default": self.databases.master_database},
            "sets": {"default": self.databases.replica_databases},
        }
        own = {
            VARIABLE: json.dumps(addresses),
            "DJANGO_SETTINGS_MODULE": "testproject.settings",
            "PINDB_DEMO_PINNING_SECONDS": str(PINNING_SECONDS),
            "PINDB_DEMO_REPLICA_DOWNTIME": str(DOWNTIME),
            "PINDB_DEMO_BREAK": self._broken or "",
            "PYTHONUNBUFFERED": "1",
        }
        return {**os.environ, **own, **more}

    @contextmanager
    def remote_control(self) -> Iterator[dict[str, str]]:
        """A block in which sites may pause, resume, kill and start replicas; the variables that let them."""
        socket = self._folder.path / "control.sock"
        with listening(self.databases, socket):
            yield {SOCKET: str(socket)}

    # ---- what happens to the replicas ----------------------------------------------------------

    def end_lag(self) -> None:
        """Let the lagging replica follow at once."""
        self.databases.set_apply_delay(LAGGING_INDEX, 0)
        self.databases.wait_until_caught_up()

    def pause(self, *replicas: int) -> None:
        """Let replicas, by index, show nothing of what is committed from now on."""
        for replica in replicas:
            self.databases.pause(replica)

    def resume(self, replica: int) -> None:
        """Let a paused replica catch up, and sites find out."""
        self.databases.resume(replica)
        self.databases.wait_until_caught_up(replica)
        time.sleep(ASKED_AGAIN)

    # ---- what is true --------------------------------------------------------------------------

    def committed(self) -> dict[int, tuple[str, str, int]]:
        """Every notice as it stands on the master: by id its title, text and thanks."""
        rows = self.databases.execute("master", "SELECT id, title, body, thanks FROM board_notice")
        return {pk: (title, body, thanks) for pk, title, body, thanks in rows}

    def wait_for_prompt_replica(self) -> None:
        """Wait until the replica without a delay has everything."""
        self.databases.wait_until_caught_up(1 - LAGGING_INDEX)
