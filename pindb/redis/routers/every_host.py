"""Every command to every host."""

from __future__ import annotations

from typing import Any, ClassVar

from pindb.redis.exceptions import UnroutableCommand
from pindb.redis.routers.base import BaseRouter

__all__ = ["EveryHostRouter"]


class EveryHostRouter(BaseRouter):
    """Sends every command to every host: what a cluster made by `create_cluster` does without a router."""

    by_key: ClassVar[bool] = False

    def get_host_for_key(self, key: Any) -> int:
        raise UnroutableCommand(
            "Every host has every key here: the cluster has no router. Name one, 'partition' say, or take "
            "a host by its id."
        )

    def get_any_hosts(self) -> list[int]:
        return list(self.cluster.hosts)
