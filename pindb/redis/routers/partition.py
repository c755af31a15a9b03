"""Modulo partitioning of keys to hosts."""

from __future__ import annotations

from collections.abc import Sequence

from pindb.hashing import Key, hash_tag, partition, partition_groups, partition_many
from pindb.redis.routers.base import BaseRouter
from pindb.redis.topology.hosts import check_gapless

__all__ = ["PartitionRouter"]


class PartitionRouter(BaseRouter):
    """Router that places keys by their signed CRC-32 modulo the number of hosts.

    Host ids must be 0, 1, 2 ... without a gap. Most keys move when the number of hosts changes.

    Raises:
        BadHostSetup: the host ids have a gap, or there is no host.
    """

    def _prepare(self) -> None:
        check_gapless(self.cluster.hosts)
        self._count = len(self.cluster.hosts)

    def get_host_for_key(self, key: Key) -> int:
        if self.hash_tags:
            key = hash_tag(key)
        return partition(key, self._count)

    def get_hosts_for_keys(self, keys: Sequence[Key]) -> list[int]:
        return partition_many(self._tagged(keys), self._count)

    def group_keys(self, keys: Sequence[Key]) -> dict[int, list[int]]:
        groups = partition_groups(self._tagged(keys), self._count)
        return {host_id: indexes for host_id, indexes in enumerate(groups) if indexes}
