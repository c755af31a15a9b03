"""Routers, which choose the host of a command.

Private modules: the public names are in ``__all__``.
"""

from __future__ import annotations

from pindb.redis.routers.base import BaseRouter
from pindb.redis.routers.consistent import ConsistentHashingRouter
from pindb.redis.routers.every_host import EveryHostRouter
from pindb.redis.routers.failover import RetryableRouter
from pindb.redis.routers.partition import PartitionRouter
from pindb.redis.routers.round_robin import RoundRobinRouter

__all__ = [
    "BaseRouter",
    "ConsistentHashingRouter",
    "EveryHostRouter",
    "PartitionRouter",
    "RetryableRouter",
    "RoundRobinRouter",
]
