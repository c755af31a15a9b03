"""The rules that are compared: settings for the same site."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

from benchmarks.consistency.servers import MASTER, REPLICAS

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["MULTIDB", "NO_PINS", "ORACLE", "POSITIONS", "STRATEGIES", "TIME", "InTurnRouter"]

NO_PINS = "no pins"
TIME = "pindb, 15 s"
MULTIDB = "django-multidb-router, 15 s"
POSITIONS = "pindb, positions"
#: None of them, but what they are measured by: knows for free where each replica is.
ORACLE = "oracle"

SECONDS = 15


class InTurnRouter:
    """Reads the replicas in turn, whatever was written."""

    turns = cycle(REPLICAS)

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return next(self.turns)

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        return MASTER


def _pindb(consistency: str) -> dict[str, Any]:
    return {
        "MIDDLEWARE": ["pindb.middleware.PinDbMiddleware"],
        "ROUTER": "pindb.GreedyPinDbRouter",
        "PINDB_CONSISTENCY": consistency,
        "PINDB_PINNING_SECONDS": SECONDS,
    }


#: Their settings by their names. ROUTER is the one in DATABASE_ROUTERS; those with PINDB_CONSISTENCY also get
#: the DB sets.
STRATEGIES: dict[str, dict[str, Any]] = {
    NO_PINS: {"ROUTER": "benchmarks.consistency.strategies.InTurnRouter"},
    # All of its settings are given, which it reads faster than missing ones.
    MULTIDB: {
        "MIDDLEWARE": ["multidb.middleware.PinningRouterMiddleware"],
        "ROUTER": "multidb.PinningReplicaRouter",
        "REPLICA_DATABASES": REPLICAS,
        "MULTIDB_PINNING_COOKIE": "multidb_pin_writes",
        "MULTIDB_PINNING_COOKIE_HTTPONLY": False,
        "MULTIDB_PINNING_COOKIE_SAMESITE": "Lax",
        "MULTIDB_PINNING_COOKIE_SECURE": False,
        "MULTIDB_PINNING_SECONDS": SECONDS,
    },
    TIME: _pindb("time"),
    POSITIONS: _pindb("position"),
}
