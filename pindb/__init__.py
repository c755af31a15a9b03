"""Read replicas for Django: reads go to replicas, and users always see their own writes (read-your-writes).

The public names of the database half. A settings module can import this package: it reads no settings and no
models until a name is used. The Redis half is `pindb.redis`.
"""

# ruff: noqa: F403, F405 (each name is written once, in __all__; the stars are for type checkers)
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pindb._stats import *
    from pindb.exceptions import *
    from pindb.pins.blocks import *
    from pindb.pins.pinning import *
    from pindb.routing.routers import *
    from pindb.routing.selection import *
    from pindb.sets.definitions import *
    from pindb.sets.positions import *
    from pindb.sets.waiting import *

__all__ = [
    "GreedyPinDbRouter",
    "PinDbConfigError",
    "PinDbException",
    "PositionUnavailable",
    "ReplicasBehind",
    "Stats",
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

# The modules that define the public names. They are imported when a name is used first, so that pindb.redis
# and pindb.hashing work without Django.
_MODULES = (
    "_stats",
    "exceptions",
    "pins.blocks",
    "pins.pinning",
    "routing.routers",
    "routing.selection",
    "sets.definitions",
    "sets.positions",
    "sets.waiting",
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
