"""Read replicas for Django: reads go to replicas, and whoever wrote reads what they wrote.

The public names of the database half. Importable from a settings module: nothing here reads settings or
models before it is used. The other half is in `pindb.redis`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pindb.counters import stats
    from pindb.exceptions import (
        PinDbConfigError,
        PinDbException,
        PositionUnavailable,
        ReplicasBehind,
        UnpinnedWriteException,
    )
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
    from pindb.positions import current_position
    from pindb.replicas import get_replica
    from pindb.routers import GreedyPinDbRouter, StrictPinDbRouter
    from pindb.sets import populate_replicas
    from pindb.waiting import acurrent_position, await_for_replicas, wait_for_replicas

__all__ = [
    "GreedyPinDbRouter",
    "PinDbConfigError",
    "PinDbException",
    "PositionUnavailable",
    "ReplicasBehind",
    "StrictPinDbRouter",
    "UnpinnedWriteException",
    "acurrent_position",
    "await_for_replicas",
    "current_position",
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
    "stats",
    "unpin_all",
    "unpinned_replica",
    "wait_for_replicas",
    "with_masters",
    "with_replicas",
]

__version__ = "1.0.0.dev0"

# Where each name is. They are imported when they are asked for, so that pindb.redis and pindb.hashing, which
# need no Django, do not bring it in with this package.
_MODULES = (
    "counters",
    "exceptions",
    "pinning",
    "positions",
    "replicas",
    "routers",
    "sets",
    "waiting",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = import_module(f"{__name__}.{module}")
            if name in found.__all__:
                value = globals()[name] = getattr(found, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
