"""Read replicas for Django: reads go to replicas, and whoever wrote reads what they wrote.

The public names of the database half. Importable from a settings module: nothing here reads settings or
models before it is used.
"""

from __future__ import annotations

from pindb.exceptions import PinDbConfigError, PinDbException, UnpinnedWriteException
from pindb.pinning import (
    get_newly_pinned,
    get_pinned,
    is_enabled,
    is_newly_pinned,
    is_pinned,
    master,
    pin,
    pinning_context,
    unpin_all,
    unpinned_replica,
    with_masters,
    with_replicas,
)
from pindb.replicas import get_replica
from pindb.routers import GreedyPinDbRouter, StrictPinDbRouter
from pindb.sets import populate_replicas

__all__ = [
    "GreedyPinDbRouter",
    "PinDbConfigError",
    "PinDbException",
    "StrictPinDbRouter",
    "UnpinnedWriteException",
    "get_newly_pinned",
    "get_pinned",
    "get_replica",
    "is_enabled",
    "is_newly_pinned",
    "is_pinned",
    "master",
    "pin",
    "pinning_context",
    "populate_replicas",
    "unpin_all",
    "unpinned_replica",
    "with_masters",
    "with_replicas",
]

__version__ = "1.0.0.dev0"
