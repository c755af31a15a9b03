"""rb's names, for pindb."""

from pindb.redis import (
    BaseRouter,
    Cluster,
    ConsistentHashingRouter,
    FanoutClient,
    MappingClient,
    PartitionRouter,
    Promise,
    RoutingClient,
    UnroutableCommand,
)

__all__ = [
    "BaseRouter",
    "Cluster",
    "ConsistentHashingRouter",
    "FanoutClient",
    "MappingClient",
    "PartitionRouter",
    "Promise",
    "RoutingClient",
    "UnroutableCommand",
]
