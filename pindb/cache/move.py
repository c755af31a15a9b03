"""Moves the keys of a cache to where other settings look for them, while the site goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from pindb.cache.copies import PREFIX, TAKE_BACK, Copies, Gone
from pindb.cache.fanout import send_to_hosts
from pindb.cache.plan import find_hosts
from pindb.cache.scan import get_sizes, scan
from pindb.redis import Cluster

__all__ = ["Failure", "Move", "Progress"]

#: How many values are under way at a time, of all servers together.
AT_ONCE = 500

#: How many failures are remembered; all are counted.
REMEMBERED = 100

#: A value, and how long it lives; nothing where it is gone.
READ = """
local value = redis.call('DUMP', KEYS[1])
if not value then return false end
return {value, redis.call('PTTL', KEYS[1])}
"""

#: Deletes a key if it has the value that was read, and does not live longer than it was to live then.
DELETE = """
local value = redis.call('DUMP', KEYS[1])
if not value then return 1 end
local left, was = redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])
local lives_longer = (left == -1) ~= (was == -1) or left > was
if redis.sha1hex(value) ~= ARGV[1] or lives_longer then return 0 end
redis.call('UNLINK', KEYS[1])
return 1
"""


class Failure(NamedTuple):
    """Something that was not moved.

    Attributes:
        address: the server that did not do its part.
        key: the key, as it is stored; None: none of the server's keys that were not moved yet.
        error: why.
    """

    address: str
    key: bytes | None
    error: RedisError

    def __str__(self) -> str:
        what = "" if self.key is None else f"{self.key.decode(errors='backslashreplace')!r:.200}: "
        # The server is in front already, and the script says nothing to a reader.
        why = str(self.error)
        return f"{self.address}: {what}{why.partition(f'({self.address}): ')[2] or why}"


@dataclass
class Progress:
    """How far a move is.

    Attributes:
        total: how many keys the servers have, those of others included, about.
        seen: how many of them were looked at, about.
        copied: keys that were copied.
        same: keys whose copies were there already.
        expired: keys that were gone before they could be copied.
        deleted: originals that were deleted.
        kept: originals that were to be deleted, but have changed since they were copied.
        taken_back: copies of an earlier move that were deleted, because their originals are gone.
        forgotten: copies that there was no room to remember: they stay if their originals go.
        failed: how much was not moved; see `Move.failures`.
    """

    total: int = 0
    seen: int = 0
    copied: int = 0
    same: int = 0
    expired: int = 0
    deleted: int = 0
    kept: int = 0
    taken_back: int = 0
    forgotten: int = 0
    failed: int = 0


class _Key(NamedTuple):
    name: bytes
    source: int
    target: int


class _Copy(NamedTuple):
    key: _Key
    value: bytes
    left: int


class Move:
    """Copies keys to the servers that other settings look for them on.

    It may be interrupted at any time, and run again: then keys whose copies are there are passed over. (Large
    sets and hashes are copied again, for each server keeps them in an order of its own.) What is written
    while it runs may be copied or not: run it again.

    Copies that an earlier move has written, and whose originals are gone since, are deleted first; not what
    the site itself has written there, nor what it has changed. See `Copies`.

    No original is deleted unless that is asked for. Then it is deleted after its copy was written, and only
    if it has not changed since. Keys that lie where the old settings do not look for them are left alone.

    Arguments:
        now: the servers with the settings that the site uses.
        then: the servers with the settings that it is to use.
        pattern: which keys are the cache's, as SCAN takes it.
        delete: delete originals.
        batch: how many values are under way at a time.

    Attributes:
        progress: how far it is.
        failures: the first hundred things that failed.
    """

    def __init__(
        self, now: Cluster, then: Cluster, pattern: str, *, delete: bool = False, batch: int = AT_ONCE
    ) -> None:
        self._now = now
        self._then = then
        self._pattern = pattern
        self._delete = delete
        self._batch = batch
        self.progress = Progress()
        self.failures: list[Failure] = []

    def run(self) -> Iterator[Progress]:
        """Do it, and say how far it is after each step: always the same object.

        Raises:
            redis.RedisError: a server did not answer at the beginning: nothing was moved. Later errors are
                in `failures`, and all that they are not about is moved.
        """
        self._sources = _identify(self._now)
        self._targets = _identify(self._then)
        self.progress.total = sum(get_sizes(self._now).values())
        self._copies = Copies(self._now, self._then, self._sources, self._targets, self._pattern, self._batch)
        # First: what the site writes again meanwhile is found when the keys are looked through.
        for gone, unknown in self._copies.find():
            for host_id, error in unknown.items():
                self._fail(self._then, host_id, None, error)
            self._take_back(gone)
            yield self.progress
        rounds = scan(self._now, self._pattern, count=max(self._batch, 10))
        seen = 0
        for found in rounds:
            keys = []
            for host_id, names in found.items():
                if isinstance(names, RedisError):
                    self._fail(self._now, host_id, None, names)
                else:
                    keys += self._leaving(host_id, names)
            for start in range(0, len(keys), self._batch):
                self._move(keys[start : start + self._batch])
                yield self.progress
            seen += self._batch * len(found)
            self.progress.seen = min(seen, self.progress.total)
            yield self.progress
        self.progress.seen = self.progress.total

    def _leaving(self, host_id: int, names: list[bytes]) -> list[_Key]:
        """The keys that a server has, and is not to have."""
        here = self._sources[host_id]
        places = zip(names, find_hosts(self._now, names), find_hosts(self._then, names), strict=True)
        return [
            _Key(name, host_id, target)
            for name, source, target in places
            if self._sources[source] == here and self._targets[target] != here and not name.startswith(PREFIX)
        ]

    def _take_back(self, copies: list[Gone]) -> None:
        """Delete those of the copies whose originals are gone."""
        there = send_to_hosts(self._now, ((copy.source, ("EXISTS", copy.name)) for copy in copies))
        gone = []
        for copy, reply in zip(copies, there, strict=True):
            if isinstance(reply, RedisError):
                self._fail(self._now, copy.source, copy, reply)
            elif not reply:
                gone.append(copy)
        commands = ((copy.target, ("EVAL", TAKE_BACK, 2, copy.name, copy.hash, copy.mark)) for copy in gone)
        for copy, reply in zip(gone, send_to_hosts(self._then, commands), strict=True):
            if isinstance(reply, RedisError):
                self._fail(self._then, copy.target, copy, reply)
            else:
                self.progress.taken_back += reply

    def _move(self, keys: list[_Key]) -> None:
        copies = self._copy(self._read(keys))
        if self._delete and copies:
            self._delete_originals(copies)

    def _read(self, keys: list[_Key]) -> list[_Copy]:
        replies = send_to_hosts(self._now, ((key.source, ("EVAL", READ, 1, key.name)) for key in keys))
        copies = []
        for key, reply in zip(keys, replies, strict=True):
            if isinstance(reply, RedisError):
                self._fail(self._now, key.source, key, reply)
            elif reply is None or reply[1] == -2:
                self.progress.expired += 1
            else:
                copies.append(_Copy(key, *reply))
        return copies

    def _copy(self, copies: list[_Copy]) -> list[_Copy]:
        """Write copies, and return those that are there now."""
        replies = send_to_hosts(
            self._then,
            (
                (key.target, self._copies.write(key.source, key.name, value, _lifetime(left), self._delete))
                for key, value, left in copies
            ),
        )
        there = []
        for copy, reply in zip(copies, replies, strict=True):
            if isinstance(reply, RedisError):
                self._fail(self._then, copy.key.target, copy.key, reply)
                continue
            is_written, is_forgotten = reply % 2, reply > 1
            self.progress.copied += is_written
            self.progress.same += 1 - is_written
            self.progress.forgotten += is_forgotten
            there.append(copy)
        return there

    def _delete_originals(self, copies: list[_Copy]) -> None:
        commands = []
        for copy in copies:
            digest = hashlib.sha1(copy.value, usedforsecurity=False).hexdigest()
            commands.append((copy.key.source, ("EVAL", DELETE, 1, copy.key.name, digest, copy.left)))
        for copy, reply in zip(copies, send_to_hosts(self._now, commands), strict=True):
            if isinstance(reply, RedisError):
                self._fail(self._now, copy.key.source, copy.key, reply)
            elif reply:
                self.progress.deleted += 1
            else:
                self.progress.kept += 1

    def _fail(self, cluster: Cluster, host_id: int, key: _Key | Gone | None, error: RedisError) -> None:
        self.progress.failed += 1
        if len(self.failures) < REMEMBERED:
            address = cluster.hosts[host_id].address
            self.failures.append(Failure(address, None if key is None else key.name, error))


def _lifetime(left: int) -> int:
    """What RESTORE takes for what PTTL says: 0 is for ever, which a key with its last moments has not."""
    return 0 if left == -1 else max(left, 1)


def _identify(cluster: Cluster) -> dict[int, tuple[Any, int]]:
    """What tells databases apart, by their hosts' ids: two addresses may be the same server's.

    Raises:
        redis.RedisError: a server does not answer.
    """
    replies = send_to_hosts(cluster, ((host_id, ("INFO", "server")) for host_id in cluster.hosts))
    found = {}
    for (host_id, host), reply in zip(cluster.hosts.items(), replies, strict=True):
        if isinstance(reply, RedisError):
            raise reply
        found[host_id] = (reply.get("run_id") or host.address, host.db)
    return found
