"""Statistics of a cache's servers: keys, memory, hits and misses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError

from pindb.cache.fanout import send_to_hosts
from pindb.cache.shards import Shards

__all__ = ["ServerStats", "find_shards", "stats"]


@dataclass(frozen=True)
class ServerStats:
    """Statistics of one server of a cache.

    Attributes:
        host_id: the id of the server in the cluster.
        address: its address, ``host:port/db``; with Sentinel the service and its master, as messages have it.
        share: the part of all keys that the router places on it, from 0 to 1.
        is_up: whether it answered; if not, all numbers below are 0.
        keys: the number of keys in its database.
        memory: the memory used by the server, for all its databases, in bytes.
        hits: look-ups that found a key, in all databases, since the server started.
        misses: look-ups that found no key.
    """

    host_id: int
    address: str
    share: float
    is_up: bool
    keys: int = 0
    memory: int = 0
    hits: int = 0
    misses: int = 0

    @property
    def hit_rate(self) -> float | None:
        """The part of the look-ups that found a key, from 0 to 1; None without look-ups."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None


def stats(alias: str = "default") -> list[ServerStats]:
    """Return statistics of each server of a cache. Asks all servers at once.

    Arguments:
        alias: the alias of the cache in ``CACHES``.

    Raises:
        django.core.cache.InvalidCacheBackendError: there is no such cache.
        ImproperlyConfigured: the cache does not use pindb's client.
    """
    shards = find_shards(alias)
    hosts = list(shards.cluster.hosts.values())
    commands = [("DBSIZE",), ("INFO", "memory"), ("INFO", "stats")]
    replies = send_to_hosts(shards.cluster, ((host.host_id, words) for host in hosts for words in commands))
    shares = shards.cluster.get_router().get_shares()
    found = []
    for host, *answers in zip(hosts, replies[::3], replies[1::3], replies[2::3], strict=True):
        figures: dict[str, Any] = {}
        if not any(isinstance(answer, RedisError) for answer in answers):
            keys, memory, counters = answers
            figures = {
                "keys": keys,
                "memory": memory["used_memory"],
                "hits": counters["keyspace_hits"],
                "misses": counters["keyspace_misses"],
            }
        found.append(
            ServerStats(host.host_id, host.place, shares[host.host_id], is_up=bool(figures), **figures)
        )
    return found


def find_shards(alias: str) -> Shards:
    """Return the servers of a cache.

    Raises:
        django.core.cache.InvalidCacheBackendError: there is no such cache.
        ImproperlyConfigured: the cache does not use pindb's client.
    """
    client = getattr(caches[alias], "client", None)
    shards = getattr(client, "shards", None)
    if not isinstance(shards, Shards):
        raise ImproperlyConfigured(
            f'The cache {alias!r} does not use pindb\'s client. Write "BACKEND": '
            '"pindb.cache.ShardedRedisCache".'
        )
    return shards
