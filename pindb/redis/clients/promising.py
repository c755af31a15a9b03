"""Clients that keep commands, and promise what comes of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from types import TracebackType
from typing import Any

from redis.exceptions import RedisError

from pindb.redis.clients.base import BaseClient, ClientsCluster, refused
from pindb.redis.core.batches import HostBatch
from pindb.redis.core.buffers import Buffers
from pindb.redis.core.errors import NamedHost
from pindb.redis.core.options import shown
from pindb.redis.core.pending import Entry
from pindb.redis.core.promises import Promise, for_each, reject_all
from pindb.redis.exceptions import ClusterConfigError, CommandCancelled
from pindb.redis.io.exchange import exchange, finish

__all__ = ["PromisingClient", "each"]

#: Longer than anybody waits, in seconds; the system's calls take no longer times.
LONGEST_WAIT = 1_000_000

ONE_AFTER_THE_OTHER = "it needs replies one after the other; call it outside of the map"


class _Sending:
    """Whether a client is sending. Callbacks may join it meanwhile.

    Attributes:
        is_under_way: it is.
        has_failed: a join of a callback has had errors, which the one around it raises.
    """

    __slots__ = ("has_failed", "is_under_way")

    def __init__(self) -> None:
        self.is_under_way = False
        self.has_failed = False


class PromisingClient(BaseClient):
    """What `MappingClient` and `FanoutClient` share: `join`, or the end of a block, sends what was called.

    Not safe under threads; a client for each of them costs next to nothing.
    """

    #: Whether its promises are its own to settle.
    _is_owner = False
    #: Promises of commands that are gathered later; see `MappingClient`.
    _run: Sequence[Promise] = ()

    def __init__(
        self, cluster: ClientsCluster, max_concurrency: int | None = None, auto_batch: bool = True
    ) -> None:
        super().__init__(cluster)
        if max_concurrency is not None and (type(max_concurrency) is not int or max_concurrency < 1):
            raise ClusterConfigError(
                f"max_concurrency is {shown(max_concurrency)}. Write how many hosts are talked to at once: "
                "1 or more, or None for all."
            )
        self.max_concurrency = max_concurrency
        self.auto_batch = auto_batch
        self.timeout = None
        self._buffers = Buffers()
        # How often anything was sent.
        self._round = 0
        # What was returned and waits, in order: promises, and lists of them.
        self._issued: list[Promise | list[Promise]] = []
        # What was sent since the last join, the same way.
        self._sent: list[Promise | list[Promise]] = []
        self._sending = _Sending()
        self._is_owner = True

    def __del__(self) -> None:
        # Nobody can send them any more: an exception struck at the door of join(), say.
        if self._is_owner and (self._issued or self._sent or self._run):
            self._reject_all("The command was never sent, or was interrupted.", 0)

    @property
    def timeout(self) -> float | None:
        """How long all that waits at the end of the block may take, in seconds; None: as long as it takes.

        Raises:
            ClusterConfigError: (where it is set) it is no number.
        """
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        _check_timeout(seconds)
        self._timeout = seconds

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.join(self.timeout)
        else:
            self.cancel()

    def __len__(self) -> int:
        """How many commands wait."""
        self._gather()
        return sum(len(issued) if isinstance(issued, list) else 1 for issued in self._issued)

    def __bool__(self) -> bool:
        return True

    def _gather(self) -> bool:
        """Move what is kept elsewhere into the buffers; whether nothing has failed since the last join."""
        return True

    def _forget(self) -> None:
        """What was issued is settled; what a join has sent that is under way is its own."""
        # Clients of a fan-out for other hosts share these.
        self._issued.clear()
        if not self._sending.is_under_way:
            self._sent.clear()

    def _promises(self) -> Iterator[Promise]:
        """What waits."""
        return each(self._issued)

    def cancel(self) -> None:
        """Drop all commands that wait; their promises are rejected with `CommandCancelled`."""
        error = CommandCancelled("The command was cancelled before it was sent.")
        issued = list(self._promises())
        self._forget()
        try:
            self._buffers.cancel(error)
        finally:
            reject_all(issued, error)

    def join(self, timeout: float | None = None) -> None:
        """Send all commands that wait, and settle all promises. What callbacks call meanwhile is sent too.

        A callback may call it as well; what its commands fail with is raised by the join that is under way.

        Arguments:
            timeout: for all of it, in seconds: what has no reply by then is rejected with `HostTimeoutError`.

        Raises:
            redis.RedisError: the reason of the first command, in their order, that failed and whose promise
                has nobody to handle that. All others were settled before.
        """
        _check_timeout(timeout)
        if self._sending.is_under_way:
            self._sending.has_failed |= not self._send(timeout)
            return
        first = None
        try:
            if not self._send(timeout):
                everything = chain(each(self._sent), self._promises())
                first = next((promise for promise in everything if promise.is_unhandled), None)
        except BaseException:
            self._interrupted()
            raise
        finally:
            self._forget()
        if first is not None:
            raise first.reason

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send all commands that wait, as a pipeline does. What callbacks call meanwhile is sent too.

        Arguments:
            raise_on_error: raise the first error; otherwise errors stand in the list.

        Returns:
            The results of what waited, in the commands' order.
        """
        self._gather()
        promises = list(self._promises())
        is_inner = self._sending.is_under_way
        fine = False
        try:
            fine = self._send(self.timeout)
        except BaseException:
            if not is_inner:
                self._interrupted()
            raise
        finally:
            if not is_inner:
                self._forget()
        if fine:
            return [promise.value for promise in promises]
        if is_inner:
            # Its caller is told now, and not the one of the join that is under way.
            for promise in promises:
                promise.done(on_failure=_ignore)
        if raise_on_error:
            for promise in promises:
                if promise.is_rejected:
                    raise promise.reason
        return [promise.reason if promise.is_rejected else promise.value for promise in promises]

    def _send(self, timeout: float | None) -> bool:
        """Send what waits, and what callbacks call meanwhile; whether nothing failed."""
        end = None if timeout is None or timeout > LONGEST_WAIT else time.monotonic() + timeout
        sending = self._sending
        is_inner, already = sending.is_under_way, len(self._sent)
        try:
            sending.is_under_way = True
            fine = self._gather()
            while self._buffers:
                self._round += 1
                self._sent += self._issued
                self._issued.clear()
                fine &= self._exchange(end)
                fine &= self._gather()
        except BaseException:
            # A callback's, or a signal handler's (a soft time limit, say), which strikes anywhere.
            self._interrupted(already)
            raise
        finally:
            sending.is_under_way = is_inner
            if not is_inner:
                failed, sending.has_failed = sending.has_failed, False
        return fine and (is_inner or not failed)

    def _exchange(self, end: float | None) -> bool:
        """Send what is in the buffers, and settle its promises; whether nothing failed."""
        parts: list[tuple[HostBatch, Any]] = []
        fine = True
        for host_id, entries in self._buffers.take():
            try:
                host, pool, callbacks = self._cluster.get_endpoint(host_id)
            except RedisError as error:
                # The host was removed in the meantime, say.
                reject_all(chain.from_iterable(entry.promises for entry in entries), error)
                fine = False
            else:
                parts.append((HostBatch(entries, host, callbacks, end), pool))
        try:
            exchange(parts, end, self.max_concurrency)
        finally:
            for_each(self._settle, parts)
        return fine and all(batch.is_fine for batch, _ in parts)

    def _settle(self, batch: HostBatch, pool: Any) -> None:
        """Settle what a host got; keep what it has to give back for another one, or reject that."""
        if batch.has_answered:
            self._heard_from(batch.host)
        try:
            batch.settle()
        finally:
            for returned in batch.returned:
                error = self._take_back(batch.host, *returned)
                if error is not None:
                    batch.reject(returned, error)

    def _interrupted(self, already: int = 0) -> None:
        """Leave no promise pending after an exception; see `_reject_all`."""
        finish(lambda: self._reject_all("The command was interrupted.", already))

    def _reject_all(self, why: str, already: int) -> None:
        """Reject every promise that is pending, but for so many of the join around this one."""
        error = CommandCancelled(why)
        with suppress(Exception):
            self._buffers.cancel(error)
        for promise in chain(each(self._sent[already:]), self._promises()):
            # What callbacks raise keeps no promise pending.
            with suppress(Exception):
                promise.reject(error)

    def _take_back(self, host: NamedHost, entries: list[Entry], error: RedisError) -> RedisError | None:
        """Keep what a host did not get, for another one; or the error, where there is no other."""
        self._cluster.note_outage(host.host_id, error)
        return error

    def _heard_from(self, host: NamedHost) -> None:
        """A host answered."""

    scan_iter = refused("scan_iter", ONE_AFTER_THE_OTHER)
    hscan_iter = refused("hscan_iter", ONE_AFTER_THE_OTHER)
    sscan_iter = refused("sscan_iter", ONE_AFTER_THE_OTHER)
    zscan_iter = refused("zscan_iter", ONE_AFTER_THE_OTHER)
    lock = refused("lock", ONE_AFTER_THE_OTHER)
    pipeline = refused("pipeline", "it is one: call the commands, then execute()")
    __contains__ = refused("__contains__", "whether a key is there is not known yet; use exists()")
    __getitem__ = refused("__getitem__", "whether a key is there is not known yet; use get()")


def each(issued: Sequence[Promise | list[Promise]]) -> Iterator[Promise]:
    """The promises of what was issued, one by one."""
    return chain.from_iterable(some if isinstance(some, list) else (some,) for some in issued)


def _check_timeout(seconds: Any) -> None:
    """Raise `ClusterConfigError` unless it is a number of seconds, or None."""
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and seconds == seconds):
        raise ClusterConfigError(f"timeout is {shown(seconds)}. Write seconds, or None to wait for ever.")


def _ignore(reason: Any) -> None:
    """Take notice of an error that was raised elsewhere."""
