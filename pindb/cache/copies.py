"""What moves have copied: a repeated move takes back at the target what is gone at the source since.

Each target has a hash for each source, which expires a week after the last move: for each key that was copied
a mark of the copy, by which it is told apart from what the site itself writes there.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from pindb.cache.fanout import send_to_hosts
from pindb.cache.plan import find_hosts
from pindb.redis import Cluster
from pindb.redis.topology.hosts import Host

__all__ = ["PREFIX", "Copies", "Gone"]

#: How the keys of the hashes begin, which are no cache's.
PREFIX = b"pindb-copies:"

#: How many copies of one server's keys a target remembers: the memory for them has an end.
LIMIT = 1_000_000

#: How long a target remembers, in seconds from the last copy on.
FOR = 7 * 24 * 3600

#: How long it remembers that an original was deleted by a move: longer than another one that runs at the same
#: time holds a value that it has read.
DELETED_FOR = 600

#: The mark of a copy. Moments are of the server's clock, in milliseconds. Hash tables that are large have no
#: order that stays, so their members are sorted.
MARK = """
local function moment()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function expiry(key)
    local at = redis.pcall('PEXPIRETIME', key)
    if type(at) ~= 'number' then
        at = redis.call('PTTL', key)
        if at >= 0 then at = at + moment() end
    end
    return at
end
local function digest(key)
    local dumped = redis.call('DUMP', key)
    if not dumped then return nil end
    if redis.call('OBJECT', 'ENCODING', key) == 'hashtable' then
        local members = {}
        if redis.call('TYPE', key)['ok'] == 'set' then
            if redis.call('SCARD', key) <= 10000 then members = redis.call('SMEMBERS', key) end
        elseif redis.call('HLEN', key) <= 10000 then
            local words = redis.call('HGETALL', key)
            for i = 1, #words, 2 do members[#members + 1] = #words[i] .. ':' .. words[i] .. words[i + 1] end
        end
        if #members > 0 then
            table.sort(members)
            for i = 1, #members do members[i] = #members[i] .. ':' .. members[i] end
            dumped = table.concat(members)
        end
    end
    return redis.sha1hex(dumped)
end
"""

#: Writes a value unless it is there already, which makes 0 of 1; how long it lives is set anyway. Remembers
#: the copy, unless its original is to be deleted, or was by another move.
WRITE = (
    MARK
    + """
local key, copies, deleted = KEYS[1], KEYS[2], KEYS[3]
local value, left = ARGV[1], tonumber(ARGV[2])
local written = 1
if redis.call('DUMP', key) == value then
    if left == 0 then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, left) end
    written = 0
else
    local reply = redis.pcall('RESTORE', key, left, value, 'REPLACE')
    if reply.err then return reply end
end
local is_known = redis.call('HEXISTS', copies, key) == 1
if ARGV[3] == '1' then
    redis.call('HDEL', copies, key)
    if redis.call('HLEN', deleted) < tonumber(ARGV[4]) then
        redis.call('HSET', deleted, key, 1)
        redis.call('EXPIRE', deleted, ARGV[6])
    end
    return written
end
if redis.call('HEXISTS', deleted, key) == 1 then return written end
if not is_known and redis.call('HLEN', copies) >= tonumber(ARGV[4]) then return written + 2 end
local mark, time = digest(key), redis.call('TIME')
if mark then
    -- No two are alike: another move may write the same value again.
    redis.call('HSET', copies, key, string.format('%s:%.0f:%s.%s', mark, expiry(key), time[1], time[2]))
    redis.call('EXPIRE', copies, ARGV[5])
end
return written
"""
)

#: Takes a copy back, if it is the one that was remembered so: 1. It has changed since, or is gone: 0.
TAKE_BACK = (
    MARK
    + """
local key, copies = KEYS[1], KEYS[2]
if redis.call('HGET', copies, key) ~= ARGV[1] then return 0 end
redis.call('HDEL', copies, key)
local now = expiry(key)
local mark, was = string.match(ARGV[1], '^(%x+):(-?%d+):')
if not mark or math.abs(now - tonumber(was)) > 20 or (now < 0) ~= (tonumber(was) < 0) then return 0 end
if digest(key) ~= mark then return 0 end
redis.call('UNLINK', key)
return 1
"""
)


class Gone(NamedTuple):
    """A copy whose original may be gone.

    Attributes:
        name: the key.
        source, target: hosts of the servers that had the original and have the copy, by their ids in the old
            and in the new settings.
        hash: where the copy is remembered.
        mark: how.
    """

    name: bytes
    source: int
    target: int
    hash: bytes
    mark: bytes


class Copies:
    """What the targets of a move remember.

    Arguments:
        now: the servers with the settings that the site uses.
        then: the servers with the settings that it is to use.
        sources, targets: what tells their databases apart, by the hosts' ids.
        pattern: which keys are the cache's. Another pattern's copies are another's.
        batch: how many are under way at a time.
    """

    def __init__(
        self,
        now: Cluster,
        then: Cluster,
        sources: Mapping[int, Any],
        targets: Mapping[int, Any],
        pattern: str,
        batch: int,
    ) -> None:
        self._now = now
        self._then = then
        self._sources = sources
        self._targets = targets
        self._batch = batch
        digest = hashlib.sha1(pattern.encode(), usedforsecurity=False).hexdigest()[:12]
        self._hashes = {
            host_id: PREFIX + f"{digest}:{_place(host)}".encode() for host_id, host in now.hosts.items()
        }

    def write(self, source: int, name: bytes, value: bytes, left: int, delete: bool) -> tuple[Any, ...]:
        """The command that writes a copy at its target, which replies with 0 or 1: whether it was written.

        And 2 more where there is no room to remember it.
        """
        copies = self._hashes[source]
        keys = (name, copies, copies + b":deleted")
        return ("EVAL", WRITE, 3, *keys, value, left, int(delete), LIMIT, FOR, DELETED_FOR)

    def find(self) -> Iterator[tuple[list[Gone], dict[int, RedisError]]]:
        """What is remembered, in rounds: copies with their marks, and what targets could not say.

        A key that the site does not look for at the source of the copy, or would not at its target, is passed
        over: there may have been another change in between.
        """
        targets = {place: host_id for host_id, place in self._targets.items()}
        cursors: dict[tuple[int, int], Any] = {
            (target, source): 0
            for target in targets.values()
            for source in self._now.hosts
            if self._targets[target] != self._sources[source]
        }
        while cursors:
            pairs = list(cursors)
            commands = [
                (target, ("HSCAN", self._hashes[source], cursors[target, source], "COUNT", self._batch))
                for target, source in pairs
            ]
            found: list[Gone] = []
            failed: dict[int, RedisError] = {}
            for (target, source), reply in zip(pairs, send_to_hosts(self._then, commands), strict=True):
                if isinstance(reply, RedisError):
                    failed[target] = reply
                    del cursors[target, source]
                    continue
                cursors[target, source], marks = reply
                if not cursors[target, source]:
                    del cursors[target, source]
                found += self._of(source, target, marks)
            if failed:
                yield [], failed
            for start in range(0, len(found), self._batch):
                yield found[start : start + self._batch], {}

    def _of(self, source: int, target: int, marks: Mapping[bytes, bytes]) -> list[Gone]:
        names = list(marks)
        places = zip(names, find_hosts(self._now, names), find_hosts(self._then, names), strict=True)
        return [
            Gone(name, source, target, self._hashes[source], marks[name])
            for name, home, next_home in places
            if self._sources[home] == self._sources[source]
            and self._targets[next_home] == self._targets[target]
        ]


def _place(host: Host) -> str:
    """What a server is called by every machine that moves its keys."""
    if host.unix_socket_path is not None or host.host in ("localhost", "::1") or host.host.startswith("127."):
        return f"{socket.gethostname()}:{host.address}"
    return host.address
