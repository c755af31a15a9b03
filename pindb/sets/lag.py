"""Replication lag: replicas that are behind their master by more than ``PINDB_MAX_REPLICA_LAG``.

Lag is measured with positions. A replica lags if it has not replayed the position that its master had
``PINDB_MAX_REPLICA_LAG`` seconds ago. So an idle master causes no lag, and clock skew does not matter. Only a
process that has not watched the master for that long uses the commit time of the replica's last replayed
transaction instead, and only for a replica that is behind. While the master is unreachable, the last result
stays.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from pindb import _events as events
from pindb._jitter import jitter
from pindb._tracebacks import drop_tracebacks
from pindb.conf import conf, on_change
from pindb.sets.positions import get_backend, try_read_position
from pindb.sets.replay import read_replayed
from pindb.sets.servers import Server
from pindb.signals import replica_down, replica_up

__all__ = ["is_lagging"]

#: The shortest time (seconds) between two measurements of a server; a quarter of the limit if that is less.
INTERVAL = 1.0


class _History:
    """The positions that a master had, each with its time (`time.monotonic`), the oldest first."""

    def __init__(self) -> None:
        self.entries: deque[tuple[float, str]] = deque()
        self.reading = threading.Lock()

    def update(self, master: str, interval: float, limit: float) -> None:
        """Read the master's position, unless it was read less than `interval` seconds ago."""
        now = time.monotonic()
        if self.entries and now - self.entries[-1][0] < interval:
            return
        if not self.reading.acquire(blocking=False):
            return
        try:
            position = try_read_position(master)
            if position is not None:
                self.entries.append((now, position))
            # Keep one entry that is older than the limit.
            while len(self.entries) > 1 and now - self.entries[1][0] > limit:
                self.entries.popleft()
        finally:
            self.reading.release()


_histories: dict[str, _History] = {}


def is_lagging(server: Server, connection: BaseDatabaseWrapper, master: str) -> bool:
    """Return whether a replica lags more than the site allows. Measures the lag at most once a second.

    Arguments:
        server: the replica.
        connection: this thread's open connection to the replica.
        master: the alias of the replica's master.
    """
    limit = conf.PINDB_MAX_REPLICA_LAG
    if limit is None:
        return False
    now = time.monotonic()
    if now >= server.next_lag_check and not connection.in_atomic_block:
        interval = min(INTERVAL, limit / 4)
        server.next_lag_check = now + jitter(interval)
        lagging = _measure(server, connection, master, limit, interval)
        if lagging is not None:
            _set_lagging(server, lagging)
    return server.lagging_since is not None


def _measure(
    server: Server, connection: BaseDatabaseWrapper, master: str, limit: float, interval: float
) -> bool | None:
    """Return whether a replica lags now; None if that cannot be measured."""
    backend = get_backend(connection)
    if backend is None:
        return None
    history = _histories.get(master) or _histories.setdefault(master, _History())
    history.update(master, interval, limit)
    entries = list(history.entries)
    replayed = read_replayed(server, connection)
    now = time.monotonic()
    if replayed is None or not entries or now - entries[-1][0] > 3 * interval:
        return None
    missing = [at for at, position in entries if not backend.has_reached(replayed, position)]
    if not missing:
        return False
    if now - missing[0] > limit:
        return True
    if now - entries[0][0] > limit:
        return False
    try:
        age = backend.replay_age(connection)
    except Error as error:
        drop_tracebacks(error)
        return None
    return age is not None and age > limit


def _set_lagging(server: Server, lagging: bool) -> None:
    """Record whether a replica lags; log a change, and send its signal."""
    if lagging == (server.lagging_since is not None):
        return
    now = time.monotonic()
    since, server.lagging_since = server.lagging_since, now if lagging else None
    if since is None:
        events.REPLICA_LAGGING.log(alias=server.alias, max_lag=conf.PINDB_MAX_REPLICA_LAG)
        replica_down.send_robust(Server, alias=server.alias, reason="replication lag", error=None)
    else:
        events.REPLICA_CAUGHT_UP.log(alias=server.alias, lagged_for=now - since)
        replica_up.send_robust(Server, alias=server.alias, seconds=now - since)


@on_change
def _forget(setting: str = "") -> None:
    _histories.clear()


if hasattr(os, "register_at_fork"):
    # Another thread of the parent may have held a lock during the fork.
    os.register_at_fork(after_in_child=_forget)
