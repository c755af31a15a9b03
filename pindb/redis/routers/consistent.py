"""Keys on a ring of hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pindb.hashing import Ketama, Key, hash_tag
from pindb.redis.core.options import shown
from pindb.redis.exceptions import ClusterConfigError
from pindb.redis.routers.calls import RoutedHosts
from pindb.redis.routers.failover import RetryableRouter
from pindb.redis.topology.hosts import check_gapless

__all__ = ["ConsistentHashingRouter"]

#: How many rings with hosts missing are remembered.
REMEMBERED = 32


class ConsistentHashingRouter(RetryableRouter):
    """Places keys on a ring of hosts, so that few of them move when a host comes or goes.

    The ring goes by the hosts' names: a host's own ``name`` where it has one, else ``host:port/db``. Hosts
    must be numbered without a gap. While a host is down, its keys, and no others, are on the hosts that come
    next on the ring; when it is up again, they come home.

    Arguments:
        cluster: the cluster whose commands it routes.
        weights: by host id, how much of the keys a host gets in proportion to the others; 1 where none is
            given.
        hash_tags: see `BaseRouter`.
        retry_timeout, attempt_reconnect_threshold: see `RetryableRouter`.

    Raises:
        BadHostSetup: there is a gap in the ids, or no host.
        ClusterConfigError: a weight is not above 0 or is of no host, or two hosts have the same name.
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
                    f"Hosts {ids[name]} and {host_id} are both called {shown(name)} on the ring. "
                    "Give one of them a 'name' of its own."
                )
            ids[name] = host_id
        # The ring's nodes are the ids, so that a look-up has them at once, and its points have the names.
        self._names = {host_id: name for name, host_id in ids.items()}
        try:
            self._ring = self._make_ring({host_id: weights.get(host_id, 1) for host_id in cluster.hosts})
        except (TypeError, ValueError) as error:
            raise ClusterConfigError(f"weights: {error}") from error
        # The ring without the hosts that are down, by their ids; made when it is needed.
        self._rings: dict[frozenset[int], Ketama[int]] = {}

    def _make_ring(self, weights: Mapping[int, float]) -> Ketama[int]:
        names = self._names
        return Ketama(
            weights, weights, point_name=lambda host_id, i: f"{names[host_id]}-{i}-salt", steady=True
        )

    def get_host_for_key(self, key: Key) -> int:
        ring = self._ring if not self.down_connections else self._ring_now()
        return ring.get_node(hash_tag(key) if self.hash_tags else key)  # type: ignore[return-value]

    def get_hosts_for_keys(self, keys: Sequence[Key]) -> list[int]:
        if self.hash_tags:
            keys = self._tagged(keys)
        if not self.down_connections:
            return self._ring.get_node_many(keys)  # type: ignore[return-value]
        at_once = self.attempt_reconnect_threshold
        parts = [keys[start : start + at_once] for start in range(0, len(keys), at_once)]
        return [host_id for part in parts for host_id in self._ring_now().get_node_many(part)]  # type: ignore[misc]

    def group_keys(self, keys: Sequence[Key]) -> dict[int, list[int]]:
        groups: list[list[int]] = [[] for _ in self._names]
        add = [group.append for group in groups]
        for place, host_id in enumerate(self.get_hosts_for_keys(keys)):
            add[host_id](place)
        return {host_id: places for host_id, places in enumerate(groups) if places}

    def _ring_now(self) -> Ketama[int]:
        down = self.check_down_connections()
        if not down:
            return self._ring
        ring = self._rings.get(down)
        if ring is None:
            left = {id_: weight for id_, weight in self._ring.weights.items() if id_ not in down}
            if not left:
                raise self.exhausted()
            ring = self._make_ring(left)
            # Hosts go down in few combinations.
            self._rings = {**(self._rings if len(self._rings) < REMEMBERED else {}), down: ring}
        return ring
