"""How full the servers of a cache are, and how often they have what is asked for."""

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
    """One server of a cache.

    Attributes:
        host_id: its number.
        address: where it is: ``host:port/db``.
        share: the part of all keys that the router gives it, of 1.
        is_up: whether it answered; if not, what follows is 0.
        keys: the keys in its database.
        memory: the memory that the server uses for data of all databases, in bytes.
        hits: look-ups in all databases, since the server started, that found a key.
        misses: those that found none.
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
        """The part of the look-ups that found a key, of 1; None where there were no look-ups."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None


def stats(alias: str = "default") -> list[ServerStats]:
    """Figures of each server of a cache, all asked at once.

    Arguments:
        alias: the cache's name in ``CACHES``.

    Raises:
        django.core.cache.InvalidCacheBackendError: there is no such cache.
        ImproperlyConfigured: it is none of pindb's.
    """
    shards = find_shards(alias)
    hosts = list(shards.cluster.hosts.values())
    questions = [("DBSIZE",), ("INFO", "memory"), ("INFO", "stats")]
    replies = send_to_hosts(shards.cluster, ((host.host_id, words) for host in hosts for words in questions))
    shares = shards.cluster.get_router().get_shares()
    found = []
    for place, host in enumerate(hosts):
        answers = replies[3 * place : 3 * place + 3]
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
            ServerStats(host.host_id, host.address, shares[host.host_id], is_up=bool(figures), **figures)
        )
    return found


def find_shards(alias: str) -> Shards:
    """The servers of a cache.

    Raises:
        django.core.cache.InvalidCacheBackendError: there is no such cache.
        ImproperlyConfigured: it is none of pindb's.
    """
    client = getattr(caches[alias], "client", None)
    shards = getattr(client, "shards", None)
    if not isinstance(shards, Shards):
        raise ImproperlyConfigured(
            f'The cache {alias!r} is not spread over servers by pindb. Give it "BACKEND": '
            '"pindb.cache.ShardedRedisCache".'
        )
    return shards
