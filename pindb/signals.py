"""Signals for changes of state, for metrics and alerts. No signal is sent per query.

Receivers run in the middle of routing, in the thread that noticed the change, so keep them short. Django logs
the exceptions of receivers; they do not stop the query.
"""

from __future__ import annotations

import os
import threading

from django.dispatch import Signal

__all__ = ["pinned", "replica_down", "replica_up", "unpinned"]

#: A set was newly pinned in a unit of work. Argument: ``alias`` (the master's).
pinned = Signal()

#: A pin has ended early, since all replicas have caught up. Arguments: ``alias`` (the master's),
#: ``position``.
unpinned = Signal()

#: This process has stopped using a server: a replica, or a master that failed. Arguments: ``alias``,
#: ``reason`` (``"cannot connect"``, ``"connection lost"``, ``"catching up after a restart"`` or
#: ``"replication lag"``), ``error`` (the exception, or None).
replica_down = Signal()

#: This process uses a server again. Arguments: ``alias``, ``seconds`` (for how long it was not used).
replica_up = Signal()


def _renew_locks() -> None:
    for signal in (pinned, unpinned, replica_down, replica_up):
        signal.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # Sending a signal takes its lock, which another thread of the parent may have held during the fork.
    os.register_at_fork(after_in_child=_renew_locks)
