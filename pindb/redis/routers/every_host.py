"""Router that sends every command to every host."""

from __future__ import annotations

from typing import Any, ClassVar

from pindb.redis.exceptions import UnroutableCommand
from pindb.redis.routers.base import BaseRouter

__all__ = ["EveryHostRouter"]


class EveryHostRouter(BaseRouter):
    """Router that sends every command to every host: the default of `create_cluster`."""

    by_key: ClassVar[bool] = False

    def get_host_for_key(self, key: Any) -> int:
        raise UnroutableCommand(
            "The cluster has no router, so no single host has the key. Write a router such as 'partition' "
            "into its settings, or use a host by its id: cluster[0]."
        )

    def get_any_hosts(self) -> list[int]:
        return list(self.cluster.hosts)
