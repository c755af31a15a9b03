"""Scan of a cache's keys, on all servers at once."""

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

#: How many keys a server scans per call, in between which it serves other clients.
BATCH = 1000


def get_sizes(cluster: Cluster) -> dict[int, int]:
    """Return the number of keys in each database by host id, including keys that are not the cache's.

    Raises:
        redis.RedisError: a server does not answer.
    """
    host_ids = cluster.one_for_each_database()
    sizes = send_to_hosts(cluster, ((host_id, ("DBSIZE",)) for host_id in host_ids), raise_on_error=True)
    return dict(zip(host_ids, sizes, strict=True))


def scan(
    cluster: Cluster, pattern: str, limits: Mapping[int, int] | None = None, count: int = BATCH
) -> Iterator[dict[int, list[bytes] | RedisError]]:
    """Iterate over the keys of all servers that match a pattern.

    Arguments:
        cluster: the servers.
        pattern: a pattern for SCAN.
        limits: the approximate number of keys to scan by host id, including keys that do not match; None: all
            keys.
        count: how many keys each server scans per call, at most.

    Returns:
        An iterator of rounds. A round has the found keys of each server that is not done, or its error, after
        which the server counts as done. A key may appear twice, as in any SCAN.
    """
    cursors = dict.fromkeys(cluster.one_for_each_database(), 0)
    counts, rounds = dict.fromkeys(cursors, count), math.inf
    if limits is not None:
        # All servers reach their limits in the same round.
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
    """Return a pattern for SCAN that matches all keys of a cache, of all versions.

    Raises:
        ImproperlyConfigured: the ``KEY_FUNCTION`` of the cache does not keep the ``*``.
    """
    try:
        pattern = cache.key_func("*", glob_escape(cache.key_prefix), "*")
    except (TypeError, ValueError):
        pattern = None
    if not isinstance(pattern, str) or "*" not in pattern:
        raise ImproperlyConfigured(
            "The cache's KEY_FUNCTION does not keep the '*' of a pattern, so the cache's keys cannot be told "
            "from others. Write a pattern: --match 'prefix*'."
        )
    return pattern
