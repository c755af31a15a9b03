"""Consistent hashing of keys to hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from pindb.hashing import Ketama, Key, hash_tag
from pindb.redis.core.options import shown
from pindb.redis.exceptions import ClusterConfigError
from pindb.redis.routers.base import RoutedHosts
from pindb.redis.routers.failover import RetryableRouter
from pindb.redis.topology.hosts import check_gapless

__all__ = ["ConsistentHashingRouter"]

#: The maximum number of cached rings, each without some hosts that are down.
MAX_RINGS = 32


class ConsistentHashingRouter(RetryableRouter):
    """Router that places keys by consistent hashing: few keys move when a host is added or removed.

    Hosts are placed on the ring by their ``name``, or by ``host:port/db`` if they have none. Host ids must be
    0, 1, 2 ... without a gap. While a host is down, its keys, and no others, belong to the next hosts on the
    ring. When it is up again, they belong to it again.

    Arguments:
        cluster: the cluster whose commands it routes.
        weights: weights by host id, relative to each other; 1 for hosts without one.
        hash_tags: see `BaseRouter`.
        retry_timeout, attempt_reconnect_threshold: see `RetryableRouter`.

    Raises:
        BadHostSetup: the host ids have a gap, or there is no host.
        ClusterConfigError: a weight is not above 0 or is for an unknown host, or two hosts have the same
            name.
    """

    def __init__(
        self,
        cluster: RoutedHosts,
        weights: Mapping[int, float] | None = None,
        hash_tags: bool = False,
        retry_timeout: float | None = None,
        attempt_reconnect_threshold: int | None = None,
    ) -> None:
        super().__init__(cluster, hash_tags, retry_timeout, attempt_reconnect_threshold)
        check_gapless(cluster.hosts)
        if weights is None:
            weights = {}
        elif not isinstance(weights, Mapping):
            raise ClusterConfigError(
                f"weights is a {type(weights).__name__}. Write a dict of numbers by host id: {{0: 2}}."
            )
        unknown = sorted(map(repr, weights.keys() - cluster.hosts.keys()))
        if unknown:
            raise ClusterConfigError(
                f"weights has {', '.join(unknown)}, but the hosts are {', '.join(map(str, cluster.hosts))}."
            )
        ids: dict[str, int] = {}
        for host_id, host in cluster.hosts.items():
            name = host.identifier
            if name in ids:
                raise ClusterConfigError(
                    f"Hosts {ids[name]} and {host_id} have the same name on the ring, {shown(name)}. Give "
                    "one of them another 'name'."
                )
            ids[name] = host_id
        # Points are named by host names; the nodes are host ids, so that look-ups return ids directly.
        self._names = {host_id: name for name, host_id in ids.items()}
        self._weights = {host_id: weights.get(host_id, 1) for host_id in cluster.hosts}
        try:
            self._ring = self._make_ring(frozenset())
        except (TypeError, ValueError) as error:
            raise ClusterConfigError(f"weights: {error}") from error
        # Few combinations of hosts are down in practice.
        self._ring_without = lru_cache(MAX_RINGS)(self._make_ring)

    def _make_ring(self, down: frozenset[int]) -> Ketama[int]:
        """Return a ring without the hosts that are down."""
        weights = {host_id: weight for host_id, weight in self._weights.items() if host_id not in down}
        if not weights:
            raise self.exhausted()
        names = self._names
        return Ketama(
            weights, weights, point_name=lambda host_id, i: f"{names[host_id]}-{i}-salt", steady=True
        )

    def get_host_for_key(self, key: Key) -> int:
        ring = self._ring if not self.down_connections else self._ring_now()
        return ring.get_node(hash_tag(key) if self.hash_tags else key)  # type: ignore[return-value]

    def get_hosts_for_keys(self, keys: Sequence[Key]) -> list[int]:
        keys = self._tagged(keys)
        if not self.down_connections:
            return self._ring.get_node_many(keys)  # type: ignore[return-value]
        at_once = self.attempt_reconnect_threshold
        parts = [keys[start : start + at_once] for start in range(0, len(keys), at_once)]
        return [host_id for part in parts for host_id in self._ring_now().get_node_many(part)]  # type: ignore[misc]

    def _ring_now(self) -> Ketama[int]:
        down = self.check_down_connections()
        return self._ring_without(down) if down else self._ring
