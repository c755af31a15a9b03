"""Base class of clients that queue commands, and return promises of their replies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from types import TracebackType
from typing import Any, TypeVar

from redis.exceptions import RedisError

from pindb.redis.clients.base import BaseClient, ClientsCluster, refused
from pindb.redis.clients.redirecting import Redirecting
from pindb.redis.core.batches import HostBatch
from pindb.redis.core.buffers import Buffers
from pindb.redis.core.merging import Entry
from pindb.redis.core.options import shown
from pindb.redis.core.outages import was_refused_by_replica
from pindb.redis.core.promises import Promise, for_each, reject_all
from pindb.redis.exceptions import ClusterConfigError, CommandCancelled
from pindb.redis.io.exchange import exchange, finish
from pindb.redis.topology.slots import SlotHosts
from pindb.redis.topology.waiting import Waiting

__all__ = ["QueueingClient", "each"]

Outcome = TypeVar("Outcome")

#: Longer timeouts count as none, in seconds: system calls do not take them.
MAX_TIMEOUT = 1_000_000

NEEDS_REPLIES = "it needs replies before the end of the block; call it outside of the map"


class _Sending:
    """State of a client while it sends. Callbacks may call `join` meanwhile.

    Attributes:
        is_under_way: whether the client is sending.
        has_failed: whether a `join` in a callback had errors, which the outer `join` raises.
    """

    __slots__ = ("has_failed", "is_under_way")

    def __init__(self) -> None:
        self.is_under_way = False
        self.has_failed = False


class QueueingClient(BaseClient):
    """Base class of `MappingClient` and `FanoutClient`: `join`, or the end of a block, sends queued commands.

    Not safe under threads: give each thread a client of its own, which costs next to nothing.
    """

    #: Whether this client settles its promises. Clients for other hosts of a fan-out leave that to the first
    #: one.
    _is_owner = False
    #: Queues commands that failed for the hosts that have their keys now, or rejects them.
    _route_all_again: Callable[[list[Entry], RedisError], None] | None = None
    #: Promises of commands that are not in the buffers yet; see `MappingClient`.
    _run: Sequence[Promise] = ()

    def __init__(
        self, cluster: ClientsCluster, max_concurrency: int | None = None, auto_batch: bool = True
    ) -> None:
        super().__init__(cluster)
        if max_concurrency is not None and (type(max_concurrency) is not int or max_concurrency < 1):
            raise ClusterConfigError(
                f"max_concurrency is {shown(max_concurrency)}. Write a number of hosts, 1 or more, or "
                "None for all."
            )
        self.max_concurrency = max_concurrency
        self.auto_batch = auto_batch
        self.timeout = None
        self._buffers = Buffers()
        # How often this client has sent commands.
        self._round = 0
        # The promises of queued commands, in order; a list in place of the promises of a run.
        self._issued: list[Promise | list[Promise]] = []
        # The promises of commands that were sent since the last join, as above.
        self._sent: list[Promise | list[Promise]] = []
        self._sending = _Sending()
        self._redirecting: Redirecting | None = None
        if isinstance(cluster, SlotHosts):
            self._redirecting = Redirecting(cluster, self._buffers.add, self._route_all_again)
        self._waiting = Waiting()
        self._is_owner = True

    def __del__(self) -> None:
        # These promises would stay pending, for example after an exception just before join().
        if self._is_owner and (self._issued or self._sent or self._run):
            self._reject_all("The command was never sent, or was interrupted.", 0)

    @property
    def timeout(self) -> float | None:
        """The time limit for all commands at the end of the block, in seconds; None: no limit.

        Raises:
            ClusterConfigError: (when it is set) the value is not a number.
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
        """Return the number of queued commands."""
        self._gather()
        return sum(len(issued) if isinstance(issued, list) else 1 for issued in self._issued)

    def __bool__(self) -> bool:
        return True

    def _gather(self) -> bool:
        """Move all commands into the buffers. Return whether nothing has failed since the last join."""
        return True

    def _forget(self) -> None:
        """Forget the promises, which are settled. Those of a join that is under way are kept for it."""
        # clear(), since a fan-out's clients for other hosts share these lists.
        self._issued.clear()
        if not self._sending.is_under_way:
            self._sent.clear()

    def _promises(self) -> Iterator[Promise]:
        """Iterate over the promises of queued commands."""
        return each(self._issued)

    def _everything(self, already: int = 0) -> Iterator[Promise]:
        """Iterate over the promises of sent commands, after the first `already` ones, and of queued ones."""
        return chain(each(self._sent[already:]), self._promises())

    def cancel(self) -> None:
        """Drop all queued commands, and reject their promises with `CommandCancelled`."""
        error = CommandCancelled("The command was cancelled before it was sent.")
        issued = list(self._promises())
        self._forget()
        try:
            self._buffers.cancel(error)
        finally:
            reject_all(issued, error)

    def join(self, timeout: float | None = None) -> None:
        """Send all queued commands, also those that callbacks queue meanwhile, and settle all promises.

        Callbacks may call it too: errors of their commands are then raised by the outer `join`.

        Arguments:
            timeout: the time limit for all commands, in seconds. Promises without a reply by then are
                rejected with `HostTimeoutError`.

        Raises:
            redis.RedisError: the first error, in the commands' order, of a promise without an error handler.
                Raised after all promises are settled.
        """
        _check_timeout(timeout)
        if self._sending.is_under_way:
            self._sending.has_failed |= not self._send(timeout)
            return
        first = self._send_outermost(timeout, self._find_unhandled)
        if first is not None:
            raise first.reason

    def _find_unhandled(self, is_fine: bool) -> Promise | None:
        return None if is_fine else next((some for some in self._everything() if some.is_unhandled), None)

    def _send_outermost(self, timeout: float | None, look: Callable[[bool], Outcome]) -> Outcome:
        """Send, look at the outcome, and forget the promises. No other `join` or `execute` is under way."""
        try:
            return look(self._send(timeout))
        except BaseException:
            self._interrupted()
            raise
        finally:
            self._forget()

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send all queued commands, also those that callbacks queue meanwhile, and return the results.

        Arguments:
            raise_on_error: raise the first error; otherwise, errors take the place of results.

        Returns:
            The results of the commands that were queued, in their order.
        """
        self._gather()
        promises = list(self._promises())
        is_inner = self._sending.is_under_way
        fine = self._send(self.timeout) if is_inner else self._send_outermost(self.timeout, bool)
        if fine:
            return [promise.value for promise in promises]
        if is_inner:
            # This caller gets the errors: mark them as handled for the outer join().
            for promise in promises:
                promise.done(on_failure=_ignore)
        if raise_on_error:
            for promise in promises:
                if promise.is_rejected:
                    raise promise.reason
        return [promise.reason if promise.is_rejected else promise.value for promise in promises]

    def _send(self, timeout: float | None) -> bool:
        """Send all queued commands, also those that callbacks queue meanwhile. Return whether none failed."""
        end = None if timeout is None or timeout > MAX_TIMEOUT else time.monotonic() + timeout
        sending = self._sending
        is_inner, already = sending.is_under_way, len(self._sent)
        try:
            sending.is_under_way = True
            if self._redirecting is not None and not is_inner:
                self._redirecting.begin()
            fine = self._gather()
            if not is_inner:
                self._waiting = Waiting()
            while self._buffers:
                self._waiting.pause(end)
                self._round += 1
                if self._redirecting is not None:
                    self._redirecting.next_round(end)
                self._sent += self._issued
                self._issued.clear()
                fine &= self._exchange(end)
                fine &= self._gather()
        except BaseException:
            # An exception of a callback, or of a signal handler (Celery's soft time limit, say), at any line.
            self._interrupted(already)
            raise
        finally:
            sending.is_under_way = is_inner
            if not is_inner:
                failed, sending.has_failed = sending.has_failed, False
        return fine and (is_inner or not failed)

    def _exchange(self, end: float | None) -> bool:
        """Send the commands in the buffers, and settle their promises. Return whether all succeeded."""
        batches: dict[int, HostBatch] = {}
        pools: list[Any] = []
        fine = True
        for host_id, entries in self._buffers.take():
            try:
                host, pool, callbacks = self._cluster.get_endpoint(host_id)
            except RedisError as error:
                # For example, the host was removed meanwhile.
                final = error if self._redirecting is None else self._take_back(host_id, entries, error)
                if final is not None:
                    reject_all(chain.from_iterable(entry.promises for entry in entries), final)
                    fine = False
            else:
                batches[host_id] = HostBatch(entries, host, callbacks, end)
                pools.append(pool)
        try:
            exchange(list(zip(batches.values(), pools, strict=True)), end, self.max_concurrency)
        finally:
            for_each(self._settle, batches.items())
        return fine and all(batch.is_fine for batch in batches.values())

    def _settle(self, host_id: int, batch: HostBatch) -> None:
        """Settle the promises of a host's commands. Queue returned ones for other hosts, or reject them."""
        if batch.has_answered:
            self._heard_from(host_id)
        try:
            batch.settle()
        finally:
            for returned in batch.returned:
                if self._await_master(host_id, *returned):
                    continue
                error = self._take_back(host_id, *returned)
                if error is not None:
                    batch.reject(returned, error)

    def _await_master(self, host_id: int, entries: list[Entry], error: RedisError) -> bool:
        """Queue commands once more that did not run, since their host has a new master. Return whether so."""
        if not entries or not was_refused_by_replica(error) or not self._waiting.begin():
            return False
        self._buffers[host_id] += entries
        return True

    def _interrupted(self, already: int = 0) -> None:
        """Reject all pending promises after an exception; see `_reject_all`."""
        finish(lambda: self._reject_all("The command was interrupted.", already))

    def _reject_all(self, why: str, already: int) -> None:
        """Reject all pending promises, except for the first `already` ones, which belong to an outer join."""
        error = CommandCancelled(why)
        with suppress(Exception):
            self._buffers.cancel(error)
        for promise in self._everything(already):
            # Exceptions of callbacks must not keep the next promises pending.
            with suppress(Exception):
                promise.reject(error)

    def _take_back(self, host_id: int, entries: list[Entry], error: RedisError) -> RedisError | None:
        """Queue commands that a host did not run for another host. Return the error if there is none."""
        if self._redirecting is not None:
            return self._redirecting.take_back(host_id, entries, error)
        self._cluster.note_outage(host_id, error)
        return error

    def _heard_from(self, host_id: int) -> None:
        """Note that a host has answered."""

    scan_iter = refused("scan_iter", NEEDS_REPLIES)
    hscan_iter = refused("hscan_iter", NEEDS_REPLIES)
    sscan_iter = refused("sscan_iter", NEEDS_REPLIES)
    zscan_iter = refused("zscan_iter", NEEDS_REPLIES)
    lock = refused("lock", NEEDS_REPLIES)
    pipeline = refused("pipeline", "this client is one: call the commands, then execute()")
    __contains__ = refused("__contains__", "replies are not known yet; use exists()")
    __getitem__ = refused("__getitem__", "replies are not known yet; use get()")


def each(issued: Sequence[Promise | list[Promise]]) -> Iterator[Promise]:
    """Iterate over promises, and over those in lists of them."""
    return chain.from_iterable(some if isinstance(some, list) else (some,) for some in issued)


def _check_timeout(seconds: Any) -> None:
    """Raise `ClusterConfigError` unless `seconds` is a number, or None."""
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and seconds == seconds):
        raise ClusterConfigError(f"timeout is {shown(seconds)}. Write seconds, or None for no limit.")


def _ignore(reason: Any) -> None:
    """Mark an error as handled."""
