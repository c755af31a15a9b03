"""Plan of a change of servers or router: how many keys would move between which servers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from redis.exceptions import RedisError

from pindb.cache.options import CacheOptions
from pindb.cache.scan import get_sizes, scan
from pindb.redis import Cluster
from pindb.redis.backends.redis import Redis

__all__ = ["Plan", "find_hosts", "make_cluster", "plan_keys", "plan_scanned"]


@dataclass(frozen=True)
class Plan:
    """Number of keys by their current and their future server.

    Attributes:
        flows: the number of keys by current and future address; the same address twice for keys that stay.
        elsewhere: keys on servers where the cache does not look for them: copies of an earlier move, or keys
            written while a server was down. They are not in `flows`, and a move ignores them.
        seen: the approximate number of scanned keys, including keys that are not the cache's.
        total: the approximate number of keys on all servers.
    """

    flows: Mapping[tuple[str, str], int] = field(default_factory=dict)
    elsewhere: int = 0
    seen: int = 0
    total: int = 0

    @property
    def keys(self) -> int:
        """The number of the cache's keys among the scanned ones."""
        return sum(self.flows.values())

    @property
    def moving(self) -> int:
        """The number of keys that would move."""
        return sum(number for (source, target), number in self.flows.items() if source != target)

    @property
    def share(self) -> float:
        """The part of the keys that would move, from 0 to 1."""
        return self.moving / self.keys if self.keys else 0.0

    def now(self, address: str) -> int:
        """Return the number of keys that a server has."""
        return sum(number for (source, _), number in self.flows.items() if source == address)

    def then(self, address: str) -> int:
        """Return the number of keys that a server would have."""
        return sum(number for (_, target), number in self.flows.items() if target == address)

    def leaving(self, address: str) -> int:
        """Return the number of keys that would leave a server."""
        return self.now(address) - self.flows.get((address, address), 0)

    def arriving(self, address: str) -> int:
        """Return the number of keys that would come to a server."""
        return self.then(address) - self.flows.get((address, address), 0)


def make_cluster(options: CacheOptions) -> Cluster:
    """Return a cluster of its own for a cache's settings, independent of the site's connections.

    It does not fail over: a key is always placed on the server of the settings, even if that server is down.

    Raises:
        ClusterConfigError: a setting is invalid, or the servers do not suit the router.
    """
    return Redis.make_servers(
        replace(options.servers, max_connection_retries=0), retry_timeout=options.retry_timeout
    )


def find_hosts(cluster: Cluster, keys: Sequence[Any]) -> list[int]:
    """Return the ids of the hosts where a cache looks for keys."""
    return cluster.get_router().find_hosts(keys)


def plan_keys(now: Cluster, then: Cluster, keys: Sequence[Any]) -> Plan:
    """Return the plan for given keys, whether or not they exist. Sends no command.

    Arguments:
        now: the current servers.
        then: the future servers.
        keys: the names of keys on the servers.
    """
    flows: Counter[tuple[str, str]] = Counter()
    pairs = Counter(zip(find_hosts(now, keys), find_hosts(then, keys), strict=True))
    for (source, target), number in pairs.items():
        flows[now.hosts[source].address, then.hosts[target].address] += number
    return Plan(flows, seen=len(keys), total=len(keys))


def plan_scanned(now: Cluster, then: Cluster, pattern: str, limit: int | None = 100_000) -> Plan:
    """Return the plan for the keys on the current servers.

    Arguments:
        now: the current servers, which are scanned.
        then: the future servers.
        pattern: the pattern of the cache's keys, for SCAN.
        limit: the approximate number of keys to scan, including keys that are not the cache's; of each
            server the same part. None: all keys.

    Raises:
        redis.RedisError: a server could not be scanned.
    """
    sizes = get_sizes(now)
    total = sum(sizes.values())
    limits = None
    if limit is not None and limit < total:
        limits = {host_id: math.ceil(size * limit / total) for host_id, size in sizes.items()}
    flows: Counter[tuple[str, str]] = Counter()
    elsewhere = 0
    for found in scan(now, pattern, limits):
        for host_id, keys in found.items():
            if isinstance(keys, RedisError):
                raise keys
            for pair, number in plan_keys(now, then, keys).flows.items():
                if pair[0] == now.hosts[host_id].address:
                    flows[pair] += number
                else:
                    elsewhere += number
    return Plan(flows, elsewhere, min(total, limit) if limit is not None else total, total)
