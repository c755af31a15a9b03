"""Record of the copies that moves have written, kept on the target servers.

When a move is repeated, it deletes at the targets the copies whose originals have been deleted meanwhile. For
this, each target has one hash per source, which expires a week after the last move. The hash has a
fingerprint for each copied key: a copy is deleted only if its fingerprint still matches, so nothing that the
site itself has written is deleted.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from pindb.cache.fanout import send_to_hosts
from pindb.redis import Cluster
from pindb.redis.topology.hosts import Host

__all__ = ["DELETE_COPY", "PREFIX", "CopyRecords", "RecordedCopy"]

#: The prefix of the hashes' keys, to tell them from the cache's keys.
PREFIX = b"pindb-copies:"

#: The size limit of one hash, in copies, to bound the memory.
MAX_RECORDS = 1_000_000

#: The time to live of the records, in seconds after the last copy.
RECORDS_TTL = 7 * 24 * 3600

#: The time to live of the record that a move has deleted an original, in seconds: longer than a concurrent
#: move takes between reading a value and writing its copy.
DELETED_TTL = 600

#: Computes the fingerprint of a copy. Times are of the server's clock, in milliseconds. Large hash tables are
#: dumped in varying order, so their members are sorted first.
FINGERPRINT = """
local function now_ms()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function expiry(key)
    local at = redis.pcall('PEXPIRETIME', key)
    if type(at) ~= 'number' then
        at = redis.call('PTTL', key)
        if at >= 0 then at = at + now_ms() end
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

#: Writes a value and its time to live, and records the copy, unless this move deletes the original or another
#: one has deleted it. Returns 1 if the value was written, 0 if the same value existed; plus 2 if the hash of
#: records is full.
WRITE = (
    FINGERPRINT
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
local value_digest, time = digest(key), redis.call('TIME')
if value_digest then
    -- The time makes fingerprints unique: another move may write the same value again.
    local fingerprint = string.format('%s:%.0f:%s.%s', value_digest, expiry(key), time[1], time[2])
    redis.call('HSET', copies, key, fingerprint)
    redis.call('EXPIRE', copies, ARGV[5])
end
return written
"""
)

#: Deletes a copy if its fingerprint still matches the record. Returns 1 if so, 0 if the copy has changed or
#: is gone.
DELETE_COPY = (
    FINGERPRINT
    + """
local key, copies = KEYS[1], KEYS[2]
if redis.call('HGET', copies, key) ~= ARGV[1] then return 0 end
redis.call('HDEL', copies, key)
local now = expiry(key)
local value_digest, was = string.match(ARGV[1], '^(%x+):(-?%d+):')
if not value_digest then return 0 end
if math.abs(now - tonumber(was)) > 20 or (now < 0) ~= (tonumber(was) < 0) then return 0 end
if digest(key) ~= value_digest then return 0 end
redis.call('UNLINK', key)
return 1
"""
)


class RecordedCopy(NamedTuple):
    """Copy of a key, as recorded at its target.

    Attributes:
        name: the key.
        source: the host of the original, by its id in the current settings.
        target: the host of the copy, by its id in the new settings.
        hash: the key of the hash with the record.
        fingerprint: the recorded fingerprint.
    """

    name: bytes
    source: int
    target: int
    hash: bytes
    fingerprint: bytes


class CopyRecords:
    """Records of copies on the targets of a move.

    Arguments:
        now: the servers by the current settings of the site.
        then: the servers by the new settings.
        pattern: the pattern of the cache's keys. Each pattern has records of its own.
        batch: how many records are read at a time.

    Attributes:
        sources, targets: what identifies the databases of `now` and of `then`, by host id: two addresses may
            belong to one server.

    Raises:
        redis.RedisError: a server does not answer.
    """

    def __init__(self, now: Cluster, then: Cluster, pattern: str, batch: int) -> None:
        self._now = now
        self._then = then
        self._batch = batch
        self.sources, self.targets = _identify(now), _identify(then)
        digest = hashlib.sha1(pattern.encode(), usedforsecurity=False).hexdigest()[:12]
        self._hashes = {
            host_id: PREFIX + f"{digest}:{_global_address(host)}".encode()
            for host_id, host in now.hosts.items()
        }

    def write(self, source: int, name: bytes, value: bytes, left: int, delete: bool) -> tuple[Any, ...]:
        """Return the command that writes a copy at its target and records it; see `WRITE` for the reply."""
        copies = self._hashes[source]
        keys = (name, copies, copies + b":deleted")
        return ("EVAL", WRITE, 3, *keys, value, left, int(delete), MAX_RECORDS, RECORDS_TTL, DELETED_TTL)

    def find(self) -> Iterator[tuple[list[RecordedCopy], dict[int, RedisError]]]:
        """Iterate over the records, in batches of copies and of errors by target.

        Skips keys that the current settings do not place at the source of the copy, or the new settings not
        at its target: the settings may have changed in between.
        """
        targets = {place: host_id for host_id, place in self.targets.items()}
        cursors: dict[tuple[int, int], Any] = {
            (target, source): 0
            for target in targets.values()
            for source in self._now.hosts
            if self.targets[target] != self.sources[source]
        }
        while cursors:
            commands = [
                (target, ("HSCAN", self._hashes[source], cursor, "COUNT", self._batch))
                for (target, source), cursor in cursors.items()
            ]
            asked, cursors = cursors, {}
            found: list[RecordedCopy] = []
            failed: dict[int, RedisError] = {}
            for (target, source), reply in zip(asked, send_to_hosts(self._then, commands), strict=True):
                if isinstance(reply, RedisError):
                    failed[target] = reply
                    continue
                cursor, fingerprints = reply
                if cursor:
                    cursors[target, source] = cursor
                found += self._relevant(source, target, fingerprints)
            if failed:
                yield [], failed
            for start in range(0, len(found), self._batch):
                yield found[start : start + self._batch], {}

    def find_hosts(self, names: list[bytes]) -> Iterable[tuple[bytes, int, int]]:
        """Return each key with the hosts where the current and the new settings look for it."""
        routers = self._now.get_router(), self._then.get_router()
        return zip(names, *(router.find_hosts(names) for router in routers), strict=True)

    def _relevant(self, source: int, target: int, fingerprints: Mapping[bytes, bytes]) -> list[RecordedCopy]:
        place = self.sources[source], self.targets[target]
        return [
            RecordedCopy(name, source, target, self._hashes[source], fingerprints[name])
            for name, current, new in self.find_hosts(list(fingerprints))
            if (self.sources[current], self.targets[new]) == place
        ]


def _identify(cluster: Cluster) -> dict[int, tuple[Any, int]]:
    commands = ((host_id, ("INFO", "server")) for host_id in cluster.hosts)
    replies = send_to_hosts(cluster, commands, raise_on_error=True)
    return {
        host_id: (reply.get("run_id") or host.address, host.db)
        for (host_id, host), reply in zip(cluster.hosts.items(), replies, strict=True)
    }


def _global_address(host: Host) -> str:
    """Return an address of a server that means the same on every machine."""
    if host.service_name is not None:
        return host.address
    if host.unix_socket_path is not None or host.host in ("localhost", "::1") or host.host.startswith("127."):
        return f"{socket.gethostname()}:{host.address}"
    return host.address
