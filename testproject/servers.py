"""The database servers as the site shows them, with buttons to pause, resume, kill and start replicas.

Only ``demo.py --serve`` starts the servers itself and can do these things: it names a socket in an
environment variable (see walk/control.py). Elsewhere, pages show none of this.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

import pindb
from pindb.positions import PostgreSQLPositions
from pindb.stores import CookieStore
from testproject.queries import QueryLog

__all__ = ["ACTIONS", "MODES", "SOCKET", "Panel", "Server", "ask", "panel"]

#: The environment variable with the path of the socket.
SOCKET = "PINDB_DEMO_CONTROL"

#: The environment variable with the site's addresses, as JSON: by what ends their pins.
MODES = "PINDB_DEMO_SITES"

#: What may be done to a replica, and what is said then.
ACTIONS = {
    "pause": "{} is paused: it shows nothing that is committed from now on.",
    "resume": "{} is resumed, and catches up.",
    "kill": "{} is killed (SIGKILL). Reads go to the other servers.",
    "start": "{} is started, and takes reads again in a moment.",
}

TIMEOUT = 60.0


@dataclass(frozen=True)
class Server:
    """A database server.

    Attributes:
        alias: its alias in ``DATABASES``.
        position: where it is in the replication stream; empty: it is down.
        is_paused: whether it is a replica whose replay is paused.
    """

    alias: str
    position: str
    is_paused: bool

    @property
    def is_master(self) -> bool:
        """Whether it is the master."""
        return self.alias == "default"

    @property
    def state(self) -> str:
        """The word for how it is."""
        if not self.position:
            return "down"
        return "paused" if self.is_paused else "running"

    @property
    def actions(self) -> list[str]:
        """What can be done to it now."""
        if self.is_master:
            return []
        if not self.position:
            return ["start"]
        return ["resume" if self.is_paused else "pause", "kill"]

    def has(self, position: str) -> bool:
        """Whether it shows everything up to a position of the master."""
        return bool(self.position) and PostgreSQLPositions().has_reached(self.position, position)


def ask(action: str = "", alias: str = "") -> tuple[str, list[Server]]:
    """Do something to a replica, and ask how the servers are.

    Arguments:
        action: one of `ACTIONS`; nothing: only ask.
        alias: the replica's alias.

    Returns:
        What went wrong, or nothing; and the servers, the master first.

    Raises:
        OSError: the demo has ended.
    """
    name = alias.replace("default-", "replica-")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(os.environ[SOCKET])
        connection.sendall(json.dumps([action, name]).encode() + b"\n")
        with connection.makefile() as file:
            error, states = json.loads(file.readline())
    aliases = ["default", *(f"default-{index}" for index in range(len(states) - 1))]
    servers = [
        Server(alias, state["position"], state["is_paused"])
        for alias, state in zip(aliases, states, strict=True)
    ]
    return error, servers


class Panel:
    """What a page says about the servers and about the visitor's own pin.

    Attributes:
        rows: a dict for each server.
        sites: the site's addresses by what ends their pins, and this one's.
        consistency: what ends this site's pins.
        is_pinned: whether the visitor's reads are pinned.
        has_position: whether the pin goes by position. The sites share the cookie: it may be the other's.
        seconds: how long the pin lasts at the most.
    """

    def __init__(self, request: HttpRequest, consistency: str) -> None:
        self.consistency = consistency
        self.sites: dict[str, str] = json.loads(os.environ[MODES])
        pin = CookieStore().load(request).get("default")
        self.is_pinned = pindb.is_pinned("default")
        self.seconds = max(0.0, pin.until - time.time()) if pin else 0.0
        position = pin.position if pin else None
        self.has_position = position is not None if pin else consistency == "position"
        _, servers = ask()
        self.rows = [self._row(request, server, servers[0], position) for server in servers]

    @property
    def time_left(self) -> str:
        """How long the pin lasts at the most, in words. The page's script counts on from there."""
        minutes, seconds = divmod(math.ceil(self.seconds), 60)
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"

    def _row(
        self, request: HttpRequest, server: Server, master: Server, position: str | None
    ) -> dict[str, Any]:
        log: QueryLog | None = getattr(request, "query_log", None)
        reads = pindb.stats().reads.get(server.alias, {})
        return {
            "server": server,
            "is_behind": not server.has(master.position),
            "has_write": None if position is None else server.has(position),
            "served": log is not None and server.alias in log.served("board_notice"),
            "reads": sum(number for reason, number in reads.items() if reason != "direct"),
        }


def panel(request: HttpRequest) -> dict[str, Any]:
    """The template's variable ``panel``, where there is a remote control. A context processor."""
    if SOCKET not in os.environ:
        return {}
    from django.conf import settings

    return {"panel": SimpleLazyObject(lambda: Panel(request, settings.PINDB_CONSISTENCY))}
