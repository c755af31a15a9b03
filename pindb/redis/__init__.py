"""Client-side sharding for Redis: clusters of servers, routers and clients. Needs redis-py, not Django.

``Cluster`` has the hosts. ``cluster.get_routing_client()`` sends single commands, ``cluster.map()`` many
commands at once, and ``cluster.fanout()`` commands to given hosts. ``create_cluster`` makes a cluster from
one dict, with all commands as methods; ``connections`` has the clusters of the settings by name.

Private modules: all but `exceptions`, `routers` and `backends`.
"""

from __future__ import annotations

try:
    import redis as _redis  # noqa: F401
except ImportError as error:
    raise ImportError('pindb.redis needs redis-py: pip install "django-pindb[redis]"') from error

from pindb.redis.clients import FanoutClient, MappingClient, RoutingClient
from pindb.redis.cluster import Cluster
from pindb.redis.core.promises import Promise
from pindb.redis.exceptions import (
    BadHostSetup,
    Call,
    ClusterConfigError,
    CommandCancelled,
    CommandError,
    HostConnectionError,
    HostListExhausted,
    HostTimeoutError,
    HostUnavailableError,
    MaxRetriesExceededError,
    PoolExhausted,
    ResultPending,
    UnroutableCommand,
)
from pindb.redis.facade.cluster import RoutedCluster
from pindb.redis.facade.create import create_cluster
from pindb.redis.facade.registry import Connections, connections
from pindb.redis.facade.results import Result, get_value
from pindb.redis.routers import (
    BaseRouter,
    ConsistentHashingRouter,
    EveryHostRouter,
    PartitionRouter,
    RetryableRouter,
    RoundRobinRouter,
)

__all__ = [
    "BadHostSetup",
    "BaseRouter",
    "Call",
    "Cluster",
    "ClusterConfigError",
    "CommandCancelled",
    "CommandError",
    "Connections",
    "ConsistentHashingRouter",
    "EveryHostRouter",
    "FanoutClient",
    "HostConnectionError",
    "HostListExhausted",
    "HostTimeoutError",
    "HostUnavailableError",
    "MappingClient",
    "MaxRetriesExceededError",
    "PartitionRouter",
    "PoolExhausted",
    "Promise",
    "Result",
    "ResultPending",
    "RetryableRouter",
    "RoundRobinRouter",
    "RoutedCluster",
    "RoutingClient",
    "UnroutableCommand",
    "connections",
    "create_cluster",
    "get_value",
]
