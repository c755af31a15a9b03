"""What this process remembers of each server: whether it is there, and how far it has replayed.

Each process finds out for itself, and the times are spread, so that many processes do not all do the same at
once.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time

from pindb._circuit import Circuit
from pindb.conf import conf, on_change
from pindb.signals import replica_down, replica_up

__all__ = ["Member", "get_member", "jitter"]

logger = logging.getLogger("pindb")

#: How much longer or shorter a time may be: a fifth.
SPREAD = 0.2


def jitter(seconds: float) -> float:
    """A time near `seconds`, so that not all processes do something at the same time."""
    return seconds * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311


class Member:
    """What this process knows of one server. Safe under threads.

    Attributes:
        alias: its alias.
        circuit: whether it is left alone, and until when.
        down_since: when it was found down (`time.monotonic`); None while it is up.
        failed_at: when it last failed (`time.monotonic`); connections from before are not trusted.
        known: a position that it has replayed; None: not known.
        incarnation: which of its lives that is about; another one may have to replay it again. None: it was
            not asked.
        has_restarted: whether it was found in another life, and has not shown yet how far it is.
        asked_at: when it was last asked for its position (`time.monotonic`).
        asking: held by the thread that asks.
        floor: what it must have replayed to be let in again after a failure; None: not known yet.
        lag_since: when it was found to lag too much (`time.monotonic`); None while it does not.
        lag_due: when that is to be looked at again (`time.monotonic`).
        trust: what a connection that may be used without a further look has as its ``_pindb_trust``; another
            object after each change.
    """

    __slots__ = (
        "_changing",
        "alias",
        "asked_at",
        "asking",
        "circuit",
        "down_since",
        "failed_at",
        "floor",
        "has_restarted",
        "incarnation",
        "known",
        "lag_due",
        "lag_since",
        "trust",
    )

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.circuit = Circuit(conf.PINDB_REPLICA_DOWNTIME)
        self.down_since: float | None = None
        self.failed_at = self.asked_at = self.lag_due = float("-inf")
        self.known: str | None = None
        self.incarnation: str | None = None
        self.has_restarted = False
        self.asking = threading.Lock()
        self.floor: str | None = None
        self.lag_since: float | None = None
        self.trust = object()
        self._changing = threading.Lock()

    def mark_down(
        self, reason: str, error: object = "", seconds: float | None = None, still: bool = False
    ) -> None:
        """Leave it alone from now on: for about `seconds`, ``PINDB_REPLICA_DOWNTIME`` where not given.

        Arguments:
            reason: a few words.
            error: what the database said.
            seconds: how long.
            still: nothing new has failed; connections from after the failure stay good.
        """
        seconds = jitter(conf.PINDB_REPLICA_DOWNTIME if seconds is None else seconds)
        with self._changing:
            self.circuit.fail(seconds)
            if not still:
                self.failed_at = time.monotonic()
            self.trust = object()
            # What it has replayed it may have to replay again; or another server comes back in its place.
            self.known = None
            if self.down_since is not None:
                return
            self.down_since = time.monotonic()
        text = " ".join(str(error).split())
        logger.warning("%r is down: %s. It is left alone for %.1f s. %s", self.alias, reason, seconds, text)
        replica_down.send_robust(Member, alias=self.alias, reason=reason, error=error or None)

    def mark_up(self) -> None:
        """Use it again."""
        with self._changing:
            self.circuit.succeed()
            self.has_restarted = False
            since, self.down_since = self.down_since, None
        if since is not None:
            seconds = time.monotonic() - since
            logger.warning("%r is up again, after %.1f s.", self.alias, seconds)
            replica_up.send_robust(Member, alias=self.alias, seconds=seconds)

    def know(self, replayed: str, incarnation: str | None) -> None:
        """What it has said counts, unless it is found in another life than when it was asked."""
        with self._changing:
            if incarnation == self.incarnation:
                self.known = replayed

    def note_incarnation(self, incarnation: str) -> None:
        """A new connection leads to its life `incarnation`."""
        with self._changing:
            if incarnation != self.incarnation:
                self.trust = object()
                self.has_restarted = self.incarnation is not None
                self.incarnation, self.known, self.floor = incarnation, None, None


_members: dict[str, Member] = {}


def get_member(alias: str) -> Member:
    """What this process knows of the server `alias`."""
    return _members.get(alias) or _members.setdefault(alias, Member(alias))


@on_change
def _forget(setting: str = "") -> None:
    _members.clear()


if hasattr(os, "register_at_fork"):
    # Another thread may have held a lock at that moment.
    os.register_at_fork(after_in_child=_forget)
