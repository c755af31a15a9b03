"""Redis servers with keys spread over them, behind one client. Needs redis-py, not Django.

``Cluster`` holds the hosts; ``cluster.get_routing_client()`` sends one command now, ``cluster.map()`` many at
once, ``cluster.fanout()`` to hosts by name.
"""

from __future__ import annotations

try:
    import redis as _redis  # noqa: F401
except ImportError as error:
    raise ImportError('pindb.redis needs redis-py: pip install "django-pindb[redis]"') from error

from pindb.redis.clients import FanoutClient, MappingClient, RoutingClient
from pindb.redis.cluster import Cluster
from pindb.redis.exceptions import (
    BadHostSetup,
    ClusterConfigError,
    CommandCancelled,
    HostConnectionError,
    HostTimeoutError,
    UnroutableCommand,
)
from pindb.redis.promise import Promise
from pindb.redis.routers import BaseRouter, ConsistentHashingRouter, PartitionRouter

__all__ = [
    "BadHostSetup",
    "BaseRouter",
    "Cluster",
    "ClusterConfigError",
    "CommandCancelled",
    "ConsistentHashingRouter",
    "FanoutClient",
    "HostConnectionError",
    "HostTimeoutError",
    "MappingClient",
    "PartitionRouter",
    "Promise",
    "RoutingClient",
    "UnroutableCommand",
]
