"""Looks through the servers of a cache for its keys, all servers at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django_redis.client.default import glob_escape
from redis.exceptions import RedisError

from pindb.cache.fanout import send_to_hosts
from pindb.redis import Cluster

__all__ = ["get_sizes", "make_full_pattern", "scan"]

#: How many keys a server looks at before it does what others ask for.
AT_ONCE = 1000


def get_sizes(cluster: Cluster) -> dict[int, int]:
    """How many keys each database has, by the id of its host, those of others included.

    Raises:
        redis.RedisError: a server does not say.
    """
    host_ids = cluster.one_for_each_database()
    sizes = send_to_hosts(cluster, ((host_id, ("DBSIZE",)) for host_id in host_ids))
    for size in sizes:
        if isinstance(size, RedisError):
            raise size
    return dict(zip(host_ids, sizes, strict=True))


def scan(
    cluster: Cluster, pattern: str, limits: Mapping[int, int] | None = None, count: int = AT_ONCE
) -> Iterator[dict[int, list[bytes] | RedisError]]:
    """The keys that match a pattern, of all servers.

    Arguments:
        cluster: the servers.
        pattern: as SCAN takes it.
        limits: how many keys to look at, about, by the host's id, those that do not match included; None: at
            all.
        count: how many keys each server looks at in one go, or some fewer.

    Returns:
        Rounds: for each server that has not come to its end, the keys that it found. A server with an error
        has come to its end with that. A key may come twice, as SCAN has it.
    """
    cursors = dict.fromkeys(cluster.one_for_each_database(), 0)
    counts, rounds = dict.fromkeys(cursors, count), math.inf
    if limits is not None:
        # All come to their limits in the same round.
        rounds = math.ceil(max(limits.values()) / count)
        counts = {host_id: max(math.ceil(limit / rounds), 1) for host_id, limit in limits.items()}
    while cursors and rounds > 0:
        rounds -= 1
        commands = (
            (host_id, ("SCAN", cursor, "MATCH", pattern, "COUNT", counts[host_id]))
            for host_id, cursor in cursors.items()
        )
        found = dict(zip(cursors, send_to_hosts(cluster, commands), strict=True))
        yield {id_: reply if isinstance(reply, RedisError) else reply[1] for id_, reply in found.items()}
        cursors = {
            id_: reply[0] for id_, reply in found.items() if not isinstance(reply, RedisError) and reply[0]
        }


def make_full_pattern(cache: Any) -> str:
    """The pattern of all keys of a cache, of all versions, as SCAN takes it.

    Raises:
        ImproperlyConfigured: its ``KEY_FUNCTION`` makes no pattern of one.
    """
    try:
        pattern = cache.key_func("*", glob_escape(cache.key_prefix), "*")
    except (TypeError, ValueError):
        pattern = None
    if not isinstance(pattern, str) or "*" not in pattern:
        raise ImproperlyConfigured(
            "The cache's KEY_FUNCTION makes no pattern out of '*', so nothing tells which keys are the "
            "cache's. Write a pattern: --match 'prefix*'."
        )
    return pattern
