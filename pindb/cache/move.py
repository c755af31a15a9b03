"""Resharding of a cache: moves keys to the servers of new settings while the site is online."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from redis.exceptions import RedisError

from pindb.cache.copies import DELETE_COPY, PREFIX, CopyRecords, RecordedCopy
from pindb.cache.fanout import send_to_hosts
from pindb.cache.scan import get_sizes, scan
from pindb.redis import Cluster

__all__ = ["Failure", "Move", "Progress"]

#: How many keys are moved at a time, of all servers together.
BATCH = 500

#: How many failures are kept at most; all are counted.
MAX_FAILURES = 100

#: Reads a value and its time to live in milliseconds; None if the key is gone.
READ = """
local value = redis.call('DUMP', KEYS[1])
if not value then return false end
return {value, redis.call('PTTL', KEYS[1])}
"""

#: Deletes a key, unless its value has changed or its expiry has been extended since it was read.
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
    """Error of a move.

    Attributes:
        address: the server that has failed.
        key: the key on the server that was not moved; None: all keys of the server that were still to be
            moved.
        error: the error.
    """

    address: str
    key: bytes | None
    error: RedisError

    def __str__(self) -> str:
        what = "" if self.key is None else f"{self.key.decode(errors='backslashreplace')!r:.200}: "
        # The message repeats the address, after the name of the script.
        reason = str(self.error)
        return f"{self.address}: {what}{reason.partition(f'({self.address}): ')[2] or reason}"


@dataclass
class Progress:
    """Progress of a move.

    Attributes:
        total: the approximate number of keys on the servers, including keys that are not the cache's.
        seen: the approximate number of keys scanned so far.
        copied: keys that were copied.
        same: keys whose copies already existed.
        expired: keys that were gone before they could be copied.
        deleted: originals that were deleted.
        kept: originals that were not deleted, because they have changed since they were copied.
        orphans_deleted: copies of an earlier move that were deleted, because their originals are gone.
        unrecorded: copies that could not be recorded: a later move does not delete them if their originals
            go.
        failed: the number of failures; see `Move.failures`.
    """

    total: int = 0
    seen: int = 0
    copied: int = 0
    same: int = 0
    expired: int = 0
    deleted: int = 0
    kept: int = 0
    orphans_deleted: int = 0
    unrecorded: int = 0
    failed: int = 0


class _Key(NamedTuple):
    name: bytes
    source: int
    target: int


class _Copy(NamedTuple):
    name: bytes
    source: int
    target: int
    value: bytes
    left: int


Item = TypeVar("Item", _Key, _Copy, RecordedCopy)


class Move:
    """Move of a cache's keys to the servers where new settings look for them.

    A move can be interrupted at any time and run again: keys with an identical copy are skipped. (Large sets
    and hashes are copied again, because each server stores them in an order of its own.) Keys written while a
    move runs may be missed: run it again to copy them.

    First, a move deletes copies of earlier moves whose originals are gone; but nothing that the site has
    written or changed. See `CopyRecords`.

    Originals stay unless `delete` is set. With it, an original is deleted after its copy was written, if it
    has not changed meanwhile. Keys on servers where the current settings do not look for them are not moved.

    Arguments:
        now: the servers by the current settings of the site.
        then: the servers by the new settings.
        pattern: the pattern of the cache's keys, for SCAN.
        delete: delete originals.
        batch: how many keys are moved at a time.

    Attributes:
        progress: the progress so far.
        failures: the first hundred failures.
    """

    def __init__(
        self, now: Cluster, then: Cluster, pattern: str, *, delete: bool = False, batch: int = BATCH
    ) -> None:
        self._now = now
        self._then = then
        self._pattern = pattern
        self._delete = delete
        self._batch = batch
        self.progress = Progress()
        self.failures: list[Failure] = []

    def run(self) -> Iterator[Progress]:
        """Run the move. Yield the progress after each step, always as the same object.

        Raises:
            redis.RedisError: a server does not answer at the start, and nothing was moved. Later errors are
                in `failures`, and do not stop the move of other keys.
        """
        self._records = CopyRecords(self._now, self._then, self._pattern, self._batch)
        self.progress.total = sum(get_sizes(self._now).values())
        # Before the scan: it copies keys again that the site writes meanwhile.
        for copies, errors in self._records.find():
            for host_id, error in errors.items():
                self._fail(self._then, host_id, None, error)
            self._delete_orphans(copies)
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
        """Return the keys that belong to another server by the new settings."""
        sources, targets = self._records.sources, self._records.targets
        here = sources[host_id]
        return [
            _Key(name, host_id, target)
            for name, source, target in self._records.find_hosts(names)
            if sources[source] == here and targets[target] != here and not name.startswith(PREFIX)
        ]

    def _delete_orphans(self, copies: list[RecordedCopy]) -> None:
        """Delete the copies whose originals are gone."""
        looks = [(copy.source, ("EXISTS", copy.name)) for copy in copies]
        orphans = [copy for copy, exists in self._send(self._now, copies, looks) if not exists]
        commands = [
            (copy.target, ("EVAL", DELETE_COPY, 2, copy.name, copy.hash, copy.fingerprint))
            for copy in orphans
        ]
        for _, deleted in self._send(self._then, orphans, commands):
            self.progress.orphans_deleted += deleted

    def _move(self, keys: list[_Key]) -> None:
        copies = self._copy(self._read(keys))
        if self._delete and copies:
            self._delete_originals(copies)

    def _read(self, keys: list[_Key]) -> list[_Copy]:
        commands = [(key.source, ("EVAL", READ, 1, key.name)) for key in keys]
        copies = []
        for key, reply in self._send(self._now, keys, commands):
            if reply is None or reply[1] == -2:
                self.progress.expired += 1
            else:
                copies.append(_Copy(*key, *reply))
        return copies

    def _copy(self, copies: list[_Copy]) -> list[_Copy]:
        """Write copies, and return those that exist now."""
        commands = [
            (target, self._records.write(source, name, value, _lifetime(left), self._delete))
            for name, source, target, value, left in copies
        ]
        existing = []
        for copy, reply in self._send(self._then, copies, commands):
            is_written, is_unrecorded = reply % 2, reply > 1
            self.progress.copied += is_written
            self.progress.same += 1 - is_written
            self.progress.unrecorded += is_unrecorded
            existing.append(copy)
        return existing

    def _delete_originals(self, copies: list[_Copy]) -> None:
        commands = []
        for copy in copies:
            digest = hashlib.sha1(copy.value, usedforsecurity=False).hexdigest()
            commands.append((copy.source, ("EVAL", DELETE, 1, copy.name, digest, copy.left)))
        for _, is_deleted in self._send(self._now, copies, commands):
            self.progress.deleted += is_deleted
            self.progress.kept += 1 - is_deleted

    def _send(
        self, cluster: Cluster, items: list[Item], commands: list[tuple[int, tuple[Any, ...]]]
    ) -> Iterator[tuple[Item, Any]]:
        """Send a command for each key. Yield those whose command has not failed, with its reply."""
        replies = send_to_hosts(cluster, commands)
        for item, (host_id, _), reply in zip(items, commands, replies, strict=True):
            if isinstance(reply, RedisError):
                self._fail(cluster, host_id, item.name, reply)
            else:
                yield item, reply

    def _fail(self, cluster: Cluster, host_id: int, key: bytes | None, error: RedisError) -> None:
        self.progress.failed += 1
        if len(self.failures) < MAX_FAILURES:
            self.failures.append(Failure(cluster.hosts[host_id].address, key, error))


def _lifetime(left: int) -> int:
    """Return the time to live for RESTORE from the reply of PTTL, in milliseconds."""
    # RESTORE takes 0 for "no expiry", so a key about to expire gets 1 ms.
    return 0 if left == -1 else max(left, 1)
