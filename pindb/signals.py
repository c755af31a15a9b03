"""Signals of changes of state. None is sent for a query.

Receivers run where the change was noticed, in the middle of routing: keep them short. What a receiver raises
is logged by Django and stops nothing.
"""

from __future__ import annotations

import os
import threading

from django.dispatch import Signal

__all__ = ["pinned", "replica_down", "replica_up", "unpinned"]

#: A set was newly pinned in a unit of work. Arguments: ``alias`` (the master's).
pinned = Signal()

#: A pin was dropped before its time, since all replicas have caught up. Arguments: ``alias`` (the master's),
#: ``position``.
unpinned = Signal()

#: A server is passed over from now on, in this process: a replica, or a master that reads fell back on.
#: Arguments: ``alias``, ``reason`` (a few words), ``error`` (the exception, or None).
replica_down = Signal()

#: A server that was passed over is used again. Arguments: ``alias``, ``seconds`` (how long it was not).
replica_up = Signal()


def _renew_locks() -> None:
    for signal in (pinned, unpinned, replica_down, replica_up):
        signal.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # Each takes its lock to be sent, and another thread may have held it at that moment.
    os.register_at_fork(after_in_child=_renew_locks)
