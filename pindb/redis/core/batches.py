"""One server's part of a batch: which bytes to send, and what becomes of the bytes that come back.

A driver opens a connection and calls `HostBatch.start`. Then it sends what is in `unsent`, tells `note_sent`
how many bytes went, and gives what it reads to `receive`, until `is_done`. It calls `fail` if the connection
cannot be made, `break_off` if the connection breaks, and `check_time` as time passes. At the end, whatever
has happened, the client calls `settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, groupby
from typing import Any, NamedTuple

from redis.exceptions import DataError, RedisError

from pindb.redis.core.cluster_mode import NamedHost
from pindb.redis.core.errors import at_host, undecodable
from pindb.redis.core.merging import Entry
from pindb.redis.core.outages import NotMaster, find_outage
from pindb.redis.core.packing import Packer
from pindb.redis.core.pending import Answering, Callbacks, Command
from pindb.redis.core.promises import for_each, reject_all
from pindb.redis.core.redirects import find_redirect
from pindb.redis.core.replies import NOT_ENOUGH, PUSH, UNREADABLE, holds_part, make_reader, unreadable
from pindb.redis.exceptions import CommandCancelled, HostConnectionError, HostTimeoutError

__all__ = ["ENOUGH", "HostBatch"]

#: So many bytes are progress: the timeout starts anew.
ENOUGH = 16 * 1024

#: What packing raises for words that cannot be sent. Other exceptions are a signal handler's, for example.
UNPACKABLE = (RedisError, TypeError, ValueError, OverflowError)


class Returned(NamedTuple):
    """Commands that may be sent to another server.

    They certainly did not run, or they only read; their promises are pending.

    Attributes:
        entries: the commands; none where the server failed and nothing may be sent again.
        error: why the server did not answer them.
    """

    entries: list[Entry]
    error: RedisError


class HostBatch:
    """Commands for one server and the protocol with that server, without I/O and without a clock.

    Arguments:
        entries: the commands, in order.
        host: the server; its `str` stands in messages.
        callbacks: redis-py's response callbacks.
        end: the time at which the caller gives up; None: never.

    Attributes:
        host: the server.
        unsent: the bytes to send next.
        replies: the replies so far, in order; an error reply is an exception.
        error: why not all replies came; None where they did.
        returned: after `settle`: what may be sent to another server.
        is_fine: after `settle`: whether nothing failed.
    """

    def __init__(
        self, entries: list[Entry], host: NamedHost, callbacks: Callbacks, end: float | None = None
    ) -> None:
        self.host = host
        self.unsent = memoryview(b"")
        self.replies: list[Any] = []
        self.error: RedisError | None = None
        self.returned: list[Returned] = []
        self.is_fine = True
        self._entries = entries
        self._callbacks = callbacks
        self._end = end
        self._pending: list[Entry] = []
        self._unpackable: list[tuple[Command, RedisError]] = []
        self._expected = 0
        # The places of the replies that the reader must not decode.
        self._undecoded: set[int] = set()
        self._decode: Callable[[Any], Any] | None = None
        self._parse_error: Any = None
        self._reader: Any = None
        self._timeout: float | None = None
        self._quiet_until: float | None = None
        self._progress = 0

    # ---- sending and receiving -----------------------------------------------------------------

    def start(
        self, encoder: Any, parse_error: Callable[[str], Exception], timeout: float | None, now: float
    ) -> None:
        """Pack the commands for the connection that there is now.

        Arguments:
            encoder: redis-py's encoder of the connection.
            parse_error: redis-py's function that makes exceptions of error replies.
            timeout: for how long the server may make no progress, in seconds; None: for ever.
            now: the time.
        """
        pack = Packer(encoder)
        self._decode = encoder.decode if encoder.decode_responses else None
        data: list[bytes] = []
        expected = 0
        for entry in self._entries:
            try:
                packed = entry.pack(pack)
            except UNPACKABLE:
                packed = self._pack_singly(entry, pack)
            for part, pending in packed:
                if self._decode and pending.is_raw:
                    self._undecoded.add(expected + pending.count - 1)
                data.append(part)
                self._pending.append(pending)
                expected += pending.count
        self._parse_error = parse_error
        self._timeout = timeout
        self._quiet_until = None if timeout is None else now + timeout
        self._expected = expected
        self.unsent = memoryview(b"".join(data))
        self._reader = make_reader(encoder, parse_error)

    def _pack_singly(self, entry: Entry, pack: Packer) -> list[tuple[bytes, Command]]:
        """Pack the commands of an entry that can be packed; the others are rejected at the end."""
        packed: list[tuple[bytes, Command]] = []
        for command in entry.commands():
            try:
                packed += command.pack(pack)
            except UNPACKABLE as error:
                # redis-py's encoder has an exception of its own for types that it does not take.
                reason = error if isinstance(error, RedisError) else DataError(str(error))
                self._unpackable.append((command, reason))
        return packed

    def note_sent(self, number: int) -> None:
        """Note that so many bytes of `unsent` are on their way."""
        self.unsent = self.unsent[number:]
        # When all bytes are gone, the server's time begins.
        self._progress += number if self.unsent else ENOUGH

    def receive(self, data: Any, length: int) -> None:
        """Read replies from the first bytes of `data`."""
        reader, replies = self._reader, self.replies
        reader.feed(data, 0, length)
        number = len(replies)
        try:
            if self._undecoded:
                self._read_singly(reader.gets)
            else:
                self._read(reader.gets)
        except UNREADABLE as error:
            self.break_off(str(unreadable(error)))
        # A server that sends replies is not silent, however short they are.
        self._progress += length if len(replies) == number else ENOUGH

    def _read(self, gets: Callable[[], Any]) -> None:
        read: list[Any] = []
        try:
            while True:
                try:
                    read += iter(gets, NOT_ENOUGH)
                    break
                except UnicodeDecodeError as error:
                    # The replies before this one are in the list, and more may follow.
                    read.append(undecodable(error))
        finally:
            if not PUSH.isdisjoint(map(type, read)):
                read = [reply for reply in read if type(reply) not in PUSH]
            self.replies += read

    def _read_singly(self, gets: Callable[[bool], Any]) -> None:
        """Read replies, some of which are not decoded."""
        replies, undecoded = self.replies, self._undecoded
        while True:
            try:
                reply = gets(len(replies) not in undecoded)
            except UnicodeDecodeError as error:
                reply = undecodable(error)
            if reply is NOT_ENOUGH:
                return
            if type(reply) not in PUSH:
                replies.append(reply)

    # ---- ends ----------------------------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        """Whether all replies came, or no more will come."""
        return self.error is not None or len(self.replies) >= self._expected

    @property
    def is_clean(self) -> bool:
        """Whether the connection may be used again: it owes no reply, and holds no part of one."""
        return (
            self.error is None
            and len(self.replies) == self._expected
            and (self._reader is None or not holds_part(self._reader))
        )

    @property
    def deadline(self) -> float | None:
        """The time at which to give up; None: never."""
        mine, end = self._quiet_until, self._end
        return min(mine, end) if mine is not None and end is not None else (mine or end)

    def note_progress(self, now: float) -> None:
        """Start the server's timeout anew where there was progress; a few bytes are none."""
        if self._progress >= ENOUGH:
            self._progress = 0
            self._quiet_until = None if self._timeout is None else now + self._timeout

    def check_time(self, now: float) -> None:
        """Give up at the deadline."""
        deadline = self.deadline
        if deadline is not None and now >= deadline and not self.is_done:
            self.give_up(by_caller=self._end is not None and now >= self._end)

    def give_up(self, by_caller: bool) -> None:
        """Note that the time is up: the caller's own, or that of the server."""
        if self._reader is not None:
            missing = self._expected - len(self.replies)
            text = f"{missing} of {self._expected} replies did not come in time."
        else:
            text = "there was no connection in time."
        self.error = error = HostTimeoutError(f"{self.host}: {text}")
        error.sent = self._reader is not None
        error.by_caller = by_caller

    def break_off(self, reason: str) -> None:
        """Note why the connection cannot be used any more."""
        self.error = HostConnectionError(f"{self.host}: {reason}")

    def fail(self, error: Exception) -> None:
        """Note why there is no connection: redis-py's error, or an `OSError`."""
        self.error = at_host(error, self.host)
        self.error.__cause__ = error

    # ---- promises ------------------------------------------------------------------------------

    @property
    def has_answered(self) -> bool:
        """Whether the server answers commands."""
        if not self.replies:
            return False
        last = self.replies[-1]
        return not (isinstance(last, RedisError) and find_outage(last))

    def settle(self) -> None:
        """Settle the promises with the replies; reject those without one that cannot be sent again.

        Raises:
            Exception: the first exception of callers' callbacks, when all promises are settled.
        """
        error = self.error or CommandCancelled("The command was interrupted.")
        if self._reader is None:
            self.returned.append(Returned(self._entries, error))
            return
        if getattr(self._parse_error, "was_refused", False):
            self._refuse_rest()
        is_repeatable = isinstance(error, (HostConnectionError, HostTimeoutError))
        unanswered: list[Entry] = []
        answering = Answering(self.host, self._callbacks, self._decode, refused=[])

        def settle(pending: Entry, replies: list[Any]) -> None:
            if replies:
                self.is_fine &= pending.settle(replies, answering)
            if len(replies) < pending.count:
                again = pending.find_repeatable(len(replies)) if is_repeatable else None
                if again is not None:
                    unanswered.append(again)
                else:
                    self.is_fine = False
                    pending.fail(error, len(replies))

        try:
            for_each(settle, self._with_replies())
        finally:
            # In their order, since the commands of a key have to stay in theirs.
            for redirect, group in groupby(answering.refused, lambda refused: find_redirect(refused[1])):
                entries, errors = zip(*group, strict=True)
                last = errors[-1] if redirect else at_host(errors[-1], self.host)
                self.returned.append(Returned(list(entries), last))
            if self.error is not None:
                self.returned.append(Returned(unanswered, error))

    def _refuse_rest(self) -> None:
        """Count all replies after the first that a master has become a replica as the same.

        They are replies to reads, which would come before the writes that are sent again.
        """
        replies = self.replies
        first = next((i for i, reply in enumerate(replies) if isinstance(reply, NotMaster)), len(replies))
        replies[first:] = [replies[first]] * (len(replies) - first) if first < len(replies) else []

    def _with_replies(self) -> Iterator[tuple[Entry, list[Any]]]:
        """Return what waits for replies, each with those that came."""
        start = 0
        for pending in self._pending:
            end = start + pending.count
            yield pending, self.replies[start:end]
            start = end
        for command, reason in self._unpackable:
            yield command, [reason]

    def reject(self, returned: Returned, error: RedisError) -> None:
        """Reject the promises of commands that no other server gets."""
        if returned.entries:
            self.is_fine = False
            reject_all(chain.from_iterable(entry.promises for entry in returned.entries), error)
