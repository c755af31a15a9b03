"""Hash slots of a Redis Cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pindb.hashing import Key, slot, slot_groups, slot_many
from pindb.redis.core.keys import FAN_OUT
from pindb.redis.core.retries import reads_only
from pindb.redis.exceptions import BadHostSetup, UnroutableCommand
from pindb.redis.routers.base import BaseRouter, RoutedHosts
from pindb.redis.topology.slots import NOBODY, SlotHosts

__all__ = ["ReplicaReadingRouter", "SlotRouter"]


class SlotRouter(BaseRouter):
    """Router for a Redis Cluster, whose nodes say themselves which hash slots they have.

    The slot of a key is the CRC-16 of its hash tag, modulo 16384. A command with several keys needs all of
    them in one slot.

    Raises:
        BadHostSetup: the cluster is no Redis Cluster.
    """

    merges: ClassVar[bool] = False

    def __init__(self, cluster: RoutedHosts) -> None:
        super().__init__(cluster, hash_tags=True)
        if not isinstance(cluster, SlotHosts):
            raise BadHostSetup(
                "The router 'slots' is for a Redis Cluster, whose nodes know the slots. Use "
                "Cluster.from_redis_cluster(nodes)."
            )
        self._nodes = cluster

    def _common_key(self, name: str, keys: Sequence[Any]) -> Any:
        slots = sorted(set(slot_many(keys)))
        if len(slots) == 1:
            return keys[0]
        some = ", ".join(map(str, slots[:3])) + (", ..." if len(slots) > 3 else "")
        raise UnroutableCommand(
            f"{name} has {len(keys)} keys in {len(slots)} hash slots ({some}), but a Redis Cluster runs a "
            "command in one slot. Give the keys a common {hash tag}: {user:7}:name and {user:7}:mail are in "
            f"one slot. Or {FAN_OUT}. split_multi_key=True splits MGET, MSET, DEL, UNLINK, EXISTS and TOUCH."
        )

    def get_host_for_key(self, key: Key) -> int:
        place = slot(key)
        host_id = self._nodes.get_owners()[place]
        if host_id == NOBODY:
            self._nodes.refresh()
            return self._nodes.get_owners()[place]
        return host_id

    def get_hosts_for_keys(self, keys: Sequence[Key]) -> list[int]:
        return list(map(self._nodes.get_owners().__getitem__, slot_many(keys)))

    def group_keys(self, keys: Sequence[Key]) -> dict[int, list[int]]:
        groups = slot_groups(keys, self._nodes.get_owners())
        if NOBODY in groups:
            self._nodes.refresh()
            groups = slot_groups(keys, self._nodes.get_owners())
        return groups

    def find_common_host(self, keys: Sequence[Any]) -> int | None:
        return self.find_host(keys[0]) if len(set(slot_many(keys))) == 1 else None

    def get_shares(self) -> dict[int, float]:
        owners = self._nodes.get_owners()
        return {host_id: owners.count(host_id) / len(owners) for host_id in self.cluster.hosts}


class ReplicaReadingRouter(SlotRouter):
    """Router for a Redis Cluster whose replicas serve reads too; see `Cluster.from_redis_cluster`."""

    def get_host_for_command(self, command: Any, args: Sequence[Any]) -> int:
        key = self.get_key(command, args)
        return self._nodes.get_readers()[slot(key)] if reads_only(command) else self.get_host_for_key(key)

    def find_host(self, key: Any) -> int:
        return self.get_host_for_key(key)

    def find_hosts(self, keys: Sequence[Any]) -> list[int]:
        return self.get_hosts_for_keys(keys)

    def group_commands(self, name: Any, arguments: Sequence[Sequence[Any]]) -> dict[int, list[int]]:
        keys = [words[0] for words in arguments]
        return slot_groups(keys, self._nodes.get_readers()) if reads_only(name) else self.group_keys(keys)
