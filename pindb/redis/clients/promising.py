"""Clients that keep commands, and promise what comes of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from pindb.redis.buffers import Buffers
from pindb.redis.clients.base import BaseClient, refused
from pindb.redis.entries import Entry
from pindb.redis.exceptions import ClusterConfigError, CommandCancelled
from pindb.redis.exchange import finish
from pindb.redis.hosts import Host
from pindb.redis.promise import Promise, reject_all

if TYPE_CHECKING:
    from pindb.redis.cluster import Cluster


__all__ = ["PromisingClient"]

ONE_AFTER_THE_OTHER = "it needs replies one after the other; call it outside of the map"


class PromisingClient(BaseClient):
    """What `MappingClient` and `FanoutClient` share: `join`, or the end of a block, sends what was called.

    Not safe under threads; a client for each of them costs next to nothing.
    """

    #: Whether its promises are its own to settle.
    _is_owner = False
    #: Promises of commands that are gathered later; see `MappingClient`.
    _run: Sequence[Promise] = ()

    def __init__(self, cluster: Cluster, max_concurrency: int | None = None, auto_batch: bool = True) -> None:
        super().__init__(cluster)
        if max_concurrency is not None and max_concurrency < 1:
            raise ClusterConfigError(
                f"max_concurrency is {max_concurrency!r}. Write how many hosts are talked to at once: 1 or "
                "more, or None for all."
            )
        self.max_concurrency = max_concurrency
        self.auto_batch = auto_batch
        self.timeout: float | None = None
        self._buffers = Buffers()
        # How often anything was sent.
        self._round = 0
        # What was returned since the last join, in order: promises, and lists of them.
        self._issued: list[Promise | list[Promise]] = []
        self._is_owner = True

    def __del__(self) -> None:
        # Nobody can send them any more: an exception struck at the door of join(), say.
        if self._is_owner and (self._issued or self._run):
            self._reject_all("The command was never sent, or was interrupted.")

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
        """What was issued is settled."""
        self._issued.clear()

    def _promises(self) -> Iterator[Promise]:
        for issued in self._issued:
            if isinstance(issued, list):
                yield from issued
            else:
                yield issued

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

        Arguments:
            timeout: for all of it, in seconds: what has no reply by then is rejected with `HostTimeoutError`.

        Raises:
            redis.RedisError: the reason of the first command, in their order, that failed and whose promise
                has nobody to handle that. All others were settled before.
        """
        first = None
        try:
            if not self._send(timeout):
                first = next((promise for promise in self._promises() if promise.is_unhandled), None)
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
        fine = False
        try:
            fine = self._send(self.timeout)
        finally:
            self._forget()
        if fine:
            return [promise.value for promise in promises]
        if raise_on_error:
            for promise in promises:
                if promise.is_rejected:
                    raise promise.reason
        return [promise.reason if promise.is_rejected else promise.value for promise in promises]

    def _send(self, timeout: float | None) -> bool:
        """Send what waits, and what callbacks call meanwhile; whether nothing failed."""
        end = None if timeout is None else time.monotonic() + timeout
        find_host = self._cluster.get_endpoint
        try:
            fine = self._gather()
            while self._buffers:
                self._round += 1
                fine &= self._buffers.send(
                    find_host, end, self.max_concurrency, self._take_back, self._heard_from
                )
                fine &= self._gather()
        except BaseException:
            # A callback's, or a signal handler's (a soft time limit, say), which strikes anywhere.
            finish(lambda: self._reject_all("The command was interrupted."))
            raise
        return fine

    def _reject_all(self, why: str) -> None:
        """Reject every promise that is pending."""
        error = CommandCancelled(why)
        with suppress(Exception):
            self._buffers.cancel(error)
        for promise in self._promises():
            # What callbacks raise keeps no promise pending.
            with suppress(Exception):
                promise.reject(error)

    def _take_back(self, host: Host, entries: list[Entry], error: RedisError) -> RedisError | None:
        """Keep what a host did not get, for another one; or the error, where there is no other."""
        self._cluster.note_outage(host.host_id, error)
        return error

    def _heard_from(self, host: Host) -> None:
        """A host answered."""

    scan_iter = refused("scan_iter", ONE_AFTER_THE_OTHER)
    hscan_iter = refused("hscan_iter", ONE_AFTER_THE_OTHER)
    sscan_iter = refused("sscan_iter", ONE_AFTER_THE_OTHER)
    zscan_iter = refused("zscan_iter", ONE_AFTER_THE_OTHER)
    lock = refused("lock", ONE_AFTER_THE_OTHER)
    pipeline = refused("pipeline", "it is one: call the commands, then execute()")
    __contains__ = refused("__contains__", "whether a key is there is not known yet; use exists()")
    __getitem__ = refused("__getitem__", "whether a key is there is not known yet; use get()")
