"""Deletes keys by a pattern, on all servers at once."""

from __future__ import annotations

from typing import Any

from pindb.cache.shards import Shards

__all__ = ["delete_matching"]

#: How many keys a server looks at in one go, while all else waits: some milliseconds' work.
AT_ONCE = 10_000

#: Looks at so many keys from a cursor on, deletes those that match, and returns the next cursor and how many
#: were deleted. Not more than COUNT keys, or some more, come from a SCAN, so that unpack() takes them.
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
    """Delete the keys that match a pattern; a server that holds few keys needs one round trip.

    Each server looks at 10,000 keys at a time, and does what else it is asked for in between.

    Arguments:
        shards: the servers.
        pattern: as SCAN takes it.

    Returns:
        How many were deleted.

    Raises:
        redis.RedisError: a server could not do it.
    """
    deleted = 0
    cursors: dict[int, Any] = dict.fromkeys(shards.cluster.hosts, 0)
    while cursors:
        replies = shards.at_hosts(
            {host_id: ("EVAL", DELETE, 0, cursor, pattern, AT_ONCE) for host_id, cursor in cursors.items()}
        )
        deleted += sum(number for _, number in replies.values())
        cursors = {host_id: cursor for host_id, (cursor, _) in replies.items() if int(cursor)}
    return deleted
