"""Deletion of keys by a pattern, on all servers at once."""

from __future__ import annotations

from typing import Any

from redis.exceptions import RedisError

from pindb.cache.scan import scan
from pindb.cache.shards import Shards

__all__ = ["delete_matching"]

#: How many keys a server scans per call: it serves no other client for these few milliseconds.
BATCH = 10_000

#: Scans a number of keys from a cursor on, deletes the matches, and returns the next cursor and the number of
#: deleted keys. COUNT is small, because Lua's unpack() takes only some thousands of values.
DELETE = """
local cursor, seen, deleted = ARGV[1], 0, 0
repeat
    local reply = redis.call('SCAN', cursor, 'MATCH', ARGV[2], 'COUNT', 500)
    cursor, seen = reply[1], seen + 500
    if #reply[2] > 0 then
        deleted = deleted + redis.call('UNLINK', unpack(reply[2]))
    end
until cursor == '0' or seen >= tonumber(ARGV[3])
return {cursor, deleted}
"""


def delete_matching(shards: Shards, pattern: str) -> int:
    """Delete the keys that match a pattern.

    A round trip scans 10,000 keys on each server; in between, the servers serve other clients.

    Arguments:
        shards: the servers.
        pattern: a pattern for SCAN.

    Returns:
        The number of deleted keys.

    Raises:
        redis.RedisError: a server has failed.
    """
    if not shards.cluster.get_router().merges:
        return _delete_found(shards, pattern)
    deleted = 0
    cursors: dict[int, Any] = dict.fromkeys(shards.cluster.hosts, 0)
    while cursors:
        replies = shards.send_to(
            {host_id: ("EVAL", DELETE, 0, cursor, pattern, BATCH) for host_id, cursor in cursors.items()}
        )
        deleted += sum(number for _, number in replies.values())
        cursors = {host_id: cursor for host_id, (cursor, _) in replies.items() if int(cursor)}
    return deleted


def _delete_found(shards: Shards, pattern: str) -> int:
    """Delete the keys in a Redis Cluster, whose scripts must not touch keys of several hash slots."""
    deleted = 0
    for found in scan(shards.cluster, pattern, count=BATCH):
        keys = []
        for names in found.values():
            if isinstance(names, RedisError):
                shards.handle_failure(names, "SCAN")
            else:
                keys += names
        batch = shards.client.get_mapping_client(max_concurrency=None)
        parts = batch.delete_many(keys)
        batch.execute(raise_on_error=False)
        for part, promise in parts:
            if promise.is_resolved:
                deleted += promise.value
            else:
                shards.handle_failure(promise.reason, "DEL", len(part.places))
    return deleted
