"""What a change of a cache's servers, or of its router, would move: found out before it is done."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
    """Where keys are, and where they would be.

    Attributes:
        flows: how many keys are on one server and would be on another one, by the addresses of both; those
            that stay are on the same one.
        elsewhere: keys that lie where the cache does not look for them: copies of an earlier move, or what
            was written while a server was down. They are not in `flows`, and not moved.
        seen: how many keys were looked at, about, those of others included.
        total: how many there are, about.
    """

    flows: Mapping[tuple[str, str], int] = field(default_factory=dict)
    elsewhere: int = 0
    seen: int = 0
    total: int = 0

    @property
    def keys(self) -> int:
        """The cache's keys among those that were looked at."""
        return sum(self.flows.values())

    @property
    def moving(self) -> int:
        """How many of the keys would be on another server."""
        return sum(number for (source, target), number in self.flows.items() if source != target)

    @property
    def share(self) -> float:
        """The part of the keys that would be on another server, of 1."""
        return self.moving / self.keys if self.keys else 0.0

    def now(self, address: str) -> int:
        """How many keys a server has."""
        return sum(number for (source, _), number in self.flows.items() if source == address)

    def then(self, address: str) -> int:
        """How many keys a server would have."""
        return sum(number for (_, target), number in self.flows.items() if target == address)

    def leaving(self, address: str) -> int:
        """How many keys would leave a server."""
        return self.now(address) - self.flows.get((address, address), 0)

    def arriving(self, address: str) -> int:
        """How many keys would come to a server."""
        return self.then(address) - self.flows.get((address, address), 0)


def make_cluster(options: CacheOptions) -> Cluster:
    """The servers of settings, apart from those that the site uses.

    Keys are where the settings say, also while a server is down.

    Raises:
        ClusterConfigError: the servers do not suit the router, say.
    """
    return Redis.make_servers(
        replace(options.servers, max_connection_retries=0), retry_timeout=options.retry_timeout
    )


def find_hosts(cluster: Cluster, keys: Sequence[Any]) -> list[int]:
    """The ids of the hosts that a cache looks for keys on."""
    return cluster.get_router().find_hosts(keys)


def find_addresses(cluster: Cluster, keys: Sequence[Any]) -> list[str]:
    """`find_hosts`, by the addresses of the hosts."""
    addresses = {host_id: host.address for host_id, host in cluster.hosts.items()}
    return [addresses[host_id] for host_id in find_hosts(cluster, keys)]


def plan_keys(now: Cluster, then: Cluster, keys: Sequence[Any]) -> Plan:
    """What would become of keys, wherever they are and whether or not there are any; asks no server.

    Arguments:
        now: the servers as they are.
        then: the servers as they would be.
        keys: the names under which keys are stored.
    """
    pairs = zip(find_addresses(now, keys), find_addresses(then, keys), strict=True)
    return Plan(Counter(pairs), seen=len(keys), total=len(keys))


def plan_scanned(now: Cluster, then: Cluster, pattern: str, limit: int | None = 100_000) -> Plan:
    """What would become of the keys that there are.

    Arguments:
        now: the servers as they are; these are asked.
        then: the servers as they would be.
        pattern: which keys are the cache's, as SCAN takes it.
        limit: how many keys to look at, about, those of others included: of each server the same part. None:
            at all.

    Raises:
        redis.RedisError: a server could not be asked.
    """
    sizes = get_sizes(now)
    total = sum(sizes.values())
    limits = None
    if limit is not None and limit < total:
        limits = {host_id: math.ceil(size * limit / total) for host_id, size in sizes.items()}
    flows: Counter[tuple[str, str]] = Counter()
    elsewhere = 0
    for found in scan(now, pattern, limits):
        for address, keys in found_keys(now, found):
            pairs = plan_keys(now, then, keys).flows
            flows.update({pair: number for pair, number in pairs.items() if pair[0] == address})
            elsewhere += sum(number for pair, number in pairs.items() if pair[0] != address)
    return Plan(flows, elsewhere, min(total, limit) if limit is not None else total, total)


def found_keys(
    cluster: Cluster, found: Mapping[int, list[bytes] | RedisError]
) -> Iterable[tuple[str, list[bytes]]]:
    """What servers found, by their addresses; the first error is raised."""
    for host_id, keys in found.items():
        if isinstance(keys, RedisError):
            raise keys
        yield cluster.hosts[host_id].address, keys
