"""Routers: which host a command goes to."""

from __future__ import annotations

from pindb.redis.routers.base import BaseRouter, EveryHostRouter
from pindb.redis.routers.down import RetryableRouter
from pindb.redis.routers.partition import PartitionRouter
from pindb.redis.routers.ring import ConsistentHashingRouter
from pindb.redis.routers.rotation import RoundRobinRouter

__all__ = [
    "BaseRouter",
    "ConsistentHashingRouter",
    "EveryHostRouter",
    "PartitionRouter",
    "RetryableRouter",
    "RoundRobinRouter",
]
