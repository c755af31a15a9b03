"""Router classes by name, and routers from their options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pindb.redis.core.options import keywords, load_class, shown
from pindb.redis.exceptions import ClusterConfigError
from pindb.redis.routers.base import BaseRouter, RoutedHosts
from pindb.redis.routers.consistent import ConsistentHashingRouter
from pindb.redis.routers.every_host import EveryHostRouter
from pindb.redis.routers.partition import PartitionRouter
from pindb.redis.routers.round_robin import RoundRobinRouter
from pindb.redis.routers.slots import SlotRouter

__all__ = ["ROUTERS", "find_router", "make_router"]

#: Routers by their short names.
ROUTERS: dict[str, type[BaseRouter]] = {
    "partition": PartitionRouter,
    "consistent": ConsistentHashingRouter,
    "round_robin": RoundRobinRouter,
    "slots": SlotRouter,
}


def find_router(router: Any) -> type[BaseRouter]:
    """Return the class of a router.

    Arguments:
        router: a short name, a dotted path, or a class; None: `EveryHostRouter`.

    Raises:
        ClusterConfigError: there is no such class, or it is not a subclass of `BaseRouter`.
    """
    if router is None:
        return EveryHostRouter
    found = load_class("router", router, ROUTERS)
    if not issubclass(found, BaseRouter):
        raise ClusterConfigError(
            f"router is {shown(router)}, which does not derive from pindb.redis.BaseRouter. Derive it, or "
            f"write one of: {', '.join(map(repr, ROUTERS))}."
        )
    return found


def make_router(router_cls: type[BaseRouter], cluster: RoutedHosts, options: Mapping[str, Any]) -> BaseRouter:
    """Make a router for a cluster.

    Raises:
        BadHostSetup: the hosts do not suit the router.
        ClusterConfigError: an option is unknown or invalid.
    """
    known = keywords(router_cls, 1)
    if known is not None:
        unknown = sorted(map(str, options.keys() - known))
        if unknown:
            raise ClusterConfigError(
                f"router_options has {', '.join(unknown)}, which {router_cls.__name__} does not take. "
                f"It takes: {', '.join(sorted(known)) or 'none'}."
            )
    return router_cls(cluster, **options)
