"""Which replicas lag more than ``PINDB_MAX_REPLICA_LAG``.

Told by positions: a replica lags more than so many seconds if it has not replayed where its master was that
long ago. So an idle master is no lag, and the clocks do not matter. Only in a process that has not looked at
the master for long enough, the time at which the last replayed transaction was committed counts, and only of
a replica that is behind. While the master cannot be asked, what was found last stays.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from pindb._tracebacks import drop_tracebacks
from pindb.conf import conf, on_change
from pindb.sets.health import ask_position
from pindb.sets.positions import find_positions, take_position
from pindb.sets.servers import Member, jitter
from pindb.signals import replica_down, replica_up

__all__ = ["is_lagging"]

logger = logging.getLogger("pindb")

#: How often (seconds) a process looks at each server at most; a quarter of the lag where that is less.
INTERVAL = 1.0


class _History:
    """Where a master was, and when (`time.monotonic`); the oldest first."""

    def __init__(self) -> None:
        self.entries: deque[tuple[float, str]] = deque()
        self.looking = threading.Lock()

    def look(self, master: str, interval: float, limit: float) -> None:
        """Ask the master, unless it was asked a moment ago."""
        now = time.monotonic()
        if self.entries and now - self.entries[-1][0] < interval:
            return
        if not self.looking.acquire(blocking=False):
            return
        try:
            position = take_position(master)
            if position is not None:
                self.entries.append((now, position))
            # One entry from before the limit is enough.
            while len(self.entries) > 1 and now - self.entries[1][0] > limit:
                self.entries.popleft()
        finally:
            self.looking.release()


_histories: dict[str, _History] = {}


def is_lagging(member: Member, connection: BaseDatabaseWrapper, master: str) -> bool:
    """Whether a replica lags more than the site allows; looked at now and then, in passing.

    Arguments:
        member: the replica.
        connection: this thread's open connection to it.
        master: the alias of its master.
    """
    limit = conf.PINDB_MAX_REPLICA_LAG
    if limit is None:
        return False
    now = time.monotonic()
    if now >= member.lag_due and not connection.in_atomic_block:
        interval = min(INTERVAL, limit / 4)
        member.lag_due = now + jitter(interval)
        lagging = _measure(member, connection, master, limit, interval)
        if lagging is not None:
            _note(member, lagging)
    return member.lag_since is not None


def _measure(
    member: Member, connection: BaseDatabaseWrapper, master: str, limit: float, interval: float
) -> bool | None:
    """Whether a replica that is asked now lags; None: it cannot be told."""
    positions = find_positions(connection)
    if positions is None:
        return None
    history = _histories.get(master) or _histories.setdefault(master, _History())
    history.look(master, interval, limit)
    entries = list(history.entries)
    replayed = ask_position(member, connection)
    now = time.monotonic()
    if replayed is None or not entries or now - entries[-1][0] > 3 * interval:
        return None
    missing = [at for at, position in entries if not positions.has_reached(replayed, position)]
    if not missing:
        return False
    if now - missing[0] > limit:
        return True
    if now - entries[0][0] > limit:
        return False
    try:
        age = positions.replay_age(connection)
    except Error as error:
        drop_tracebacks(error)
        return None
    return age is not None and age > limit


def _note(member: Member, lagging: bool) -> None:
    """Remember whether a replica lags; say so where that has changed."""
    if lagging == (member.lag_since is not None):
        return
    now = time.monotonic()
    since, member.lag_since = member.lag_since, now if lagging else None
    if since is None:
        limit = conf.PINDB_MAX_REPLICA_LAG
        logger.warning("%r lags more than %s s and is passed over.", member.alias, limit)
        replica_down.send_robust(Member, alias=member.alias, reason="it lags", error=None)
    else:
        logger.warning("%r has caught up and is read again, after %.1f s.", member.alias, now - since)
        replica_up.send_robust(Member, alias=member.alias, seconds=now - since)


@on_change
def _forget(setting: str = "") -> None:
    _histories.clear()


if hasattr(os, "register_at_fork"):
    # Another thread may have held a lock at that moment.
    os.register_at_fork(after_in_child=_forget)
