"""Sends what is there for many hosts, and reads what comes back, all hosts at once.

No host waits for another: connections are made at the same time, and everything is written and read as far
as the sockets take and give it, so batches of any size cannot block each other, whatever the sockets' buffers
hold.
"""

from __future__ import annotations

import selectors
import ssl
import time
from collections import deque
from collections.abc import Callable, Container, Sequence
from typing import Any

from redis.exceptions import InvalidResponse, RedisError

from pindb.redis.core.replies import (
    NOT_ENOUGH,
    PUSH,
    UNREADABLE,
    holds_bytes,
    holds_part,
    make_reader,
    unreadable,
)
from pindb.redis.exceptions import HostConnectionError, HostTimeoutError
from pindb.redis.io.connections import ConnectingMixin, run_opening
from pindb.redis.io.opening import CALLER, NoThread, Opener
from pindb.redis.io.pools import at_host, get_connection
from pindb.redis.io.sockets import ENOUGH
from pindb.redis.topology.hosts import Host

__all__ = ["Conversation", "converse", "finish", "undecodable"]

#: How much is read at once, in bytes.
READ_SIZE = 256 * 1024

#: How long a thread that connects may take to notice that the caller's time is up, in seconds.
GRACE = 0.05

#: How often a clean-up is begun again that an exception from a signal handler has cut short.
ATTEMPTS = 10

WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

# poll() takes no file descriptor of its own, and any number of them.
Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def undecodable(error: UnicodeDecodeError) -> RedisError:
    """What stands for a reply that is not in the encoding of its connection."""
    return InvalidResponse(f"decode_responses does not suit the reply: {error}")


def finish(clean_up: Callable[[], None]) -> None:
    """Clean up, and begin again where an exception strikes in the middle: it may be a signal handler's.

    Arguments:
        clean_up: does nothing to what it has cleaned up before.

    Raises:
        BaseException: the last exception that struck, at the end.
    """
    struck: BaseException | None = None
    for _ in range(ATTEMPTS):
        try:
            clean_up()
            break
        except BaseException as error:
            struck = error
    if struck is not None:
        raise struck


def _nothing(conversation: Conversation) -> None:
    """Compose nothing."""


class Conversation:
    """One host's part: the bytes to send and the replies to come.

    Arguments:
        host: the host.
        pool: its pool.
        compose: called with the conversation when its connection is there: calls `say`.

    Attributes:
        host: the host.
        connection: the connection; None before it is taken from the pool, and after it went back.
        replies: the replies so far, in order; an error reply is an exception.
        error: why not all replies came; None where they did.
    """

    __slots__ = (
        "_data",
        "_moved",
        "_pool",
        "_quiet_until",
        "_reader",
        "_sent",
        "_sock",
        "_timeout",
        "compose",
        "connection",
        "error",
        "expected",
        "fd",
        "host",
        "owners",
        "raw",
        "replies",
    )

    def __init__(self, host: Host, pool: Any, compose: Callable[[Conversation], None]) -> None:
        self.host = host
        self.compose = compose
        self.connection: Any = None
        self.replies: list[Any] = []
        self.error: RedisError | None = None
        self.expected = 0
        self.raw: Container[int] = ()
        self.fd = -1
        #: Who has done with a connection that a thread makes; see `Opener`.
        self.owners: list[str] | None = None
        self._pool = pool
        self._sock: Any = None
        self._reader: Any = None
        self._sent = self._moved = 0

    def take(self) -> None:
        """Take a connection from the pool; sets `error` where there is none."""
        try:
            self.connection = connection = get_connection(self._pool, self.host)
        except RedisError as error:
            self.error = error
            return
        if connection._sock is not None and holds_bytes(connection):
            # What is in the socket is the rest of that.
            connection.disconnect()
            if isinstance(connection, ConnectingMixin):
                connection.forget_use()
            else:
                self.connect(None)

    @property
    def is_connected(self) -> bool:
        """Whether the connection can be spoken on."""
        connection = self.connection
        return connection._sock is not None or not isinstance(connection, ConnectingMixin)

    def connect(self, end: float | None) -> None:
        """Connect before the time `end`; sets `error` where that cannot be done."""
        try:
            run_opening(self.connection.connect, end)
        except Exception as error:
            self.connected(error)

    def connected(self, error: BaseException | None) -> None:
        """Note how connecting has ended."""
        self.owners = None
        if isinstance(error, (RedisError, OSError)):
            self.error = at_host(error, self.host)
            self.error.__cause__ = error
        elif error is not None:
            raise error

    def connect_with(self, opener: Opener) -> None:
        """Let a thread connect; its `Opener` tells of the end, which `connected` is to be told.

        Raises:
            NoThread: there can be no more threads.
        """
        # Before the thread begins: who cleans up has to know of it.
        self.owners = []
        try:
            opener.open(self, self.connection, self._pool, self.owners)
        except NoThread:
            self.owners = None
            raise

    def say(self, data: Sequence[bytes], expected: int, raw: Container[int] = ()) -> None:
        """Set out what to send, how many replies it will get, and which of them are not to be decoded."""
        self._data = memoryview(b"".join(data))
        self.expected = expected
        self.raw = raw
        self._reader = make_reader(self.connection)

    def start(self, now: float) -> None:
        """Compose, stop blocking on the socket, and send what it takes at once."""
        connection = self.connection
        self._timeout = connection.socket_timeout
        self.compose(self)
        # What others do to the connection is not noticed in the middle of a line.
        self._sock = sock = connection._sock
        if sock is None:
            self.fail(HostConnectionError(f"{self.host}: the connection was closed."))
            return
        sock.setblocking(False)
        self.fd = sock.fileno()
        self._quiet_until = None if self._timeout is None else now + self._timeout
        self.send()

    def heard(self, now: float) -> None:
        """Start the connection's own timeout anew where there was progress; a few bytes are none."""
        if self._moved >= ENOUGH:
            self._moved = 0
            self._quiet_until = None if self._timeout is None else now + self._timeout

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do for it."""
        return self.error is not None or len(self.replies) >= self.expected

    @property
    def wants(self) -> int:
        """The selector's events that it waits for. TLS may have to read to go on writing."""
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        return both if self._sent < len(self._data) else selectors.EVENT_READ

    def deadline(self, end: float | None) -> float | None:
        """When it has waited too long, given the `end` of all."""
        mine = self._quiet_until
        return min(mine, end) if mine is not None and end is not None else (mine or end)

    def send(self) -> None:
        """Send as much as the socket takes."""
        data, sent, sock = self._data, self._sent, self._sock
        try:
            while sent < len(data):
                sent += sock.send(data[sent:])
        except WOULD_BLOCK:
            pass
        except OSError as error:
            self.fail(HostConnectionError(f"{self.host}: the connection broke while writing: {error}"))
        # With all of it gone, the server's time begins.
        self._moved += sent - self._sent if sent < len(data) else ENOUGH
        self._sent = sent

    def receive(self, buffer: bytearray) -> None:
        """Read as much as there is."""
        recv_into, feed, gets = self._sock.recv_into, self._reader.feed, self._reader.gets
        replies, expected, raw = self.replies, self.expected, self.raw
        number = len(replies)
        heard: list[Any]
        try:
            while True:
                length = recv_into(buffer)
                if not length:
                    self.fail(HostConnectionError(f"{self.host}: the server closed the connection."))
                    return
                self._moved += length
                feed(buffer, 0, length)
                failed = None
                if raw:
                    failed = self._receive_raw()
                else:
                    heard = []
                    while True:
                        try:
                            heard += iter(gets, NOT_ENOUGH)
                            break
                        except UnicodeDecodeError as error:
                            # What was read before it is in the list, and more may follow.
                            heard.append(undecodable(error))
                        except UNREADABLE as error:
                            failed = unreadable(error)
                            break
                    if not PUSH.isdisjoint(map(type, heard)):
                        heard = [reply for reply in heard if type(reply) not in PUSH]
                    replies += heard
                if failed is not None:
                    self.fail(HostConnectionError(f"{self.host}: {failed}"))
                    return
                if len(replies) >= expected:
                    return
                if len(replies) > number:
                    # A server that works on is not silent.
                    self._moved = ENOUGH
        except WOULD_BLOCK:
            pass
        except OSError as error:
            self.fail(HostConnectionError(f"{self.host}: the connection broke while reading: {error}"))

    def _receive_raw(self) -> InvalidResponse | None:
        """Take replies from the reader, some of which are not decoded; returns why it cannot be read on."""
        replies, raw, gets = self.replies, self.raw, self._reader.gets
        while True:
            try:
                reply = gets(len(replies) not in raw)
            except UnicodeDecodeError as error:
                reply = undecodable(error)
            except UNREADABLE as error:
                return unreadable(error)
            if reply is NOT_ENOUGH:
                return None
            if type(reply) not in PUSH:
                replies.append(reply)

    def give_up(self, by_caller: bool) -> None:
        """It has waited too long, for the caller or for its connection's own timeout."""
        missing = self.expected - len(self.replies)
        error = HostTimeoutError(f"{self.host}: {missing} of {self.expected} replies did not come in time.")
        error.by_caller = by_caller
        self.fail(error)

    def fail(self, error: RedisError) -> None:
        """End it: the connection may owe replies, so it is not used again."""
        self.error = error
        self.connection.disconnect()

    def never_began(self) -> None:
        """The caller's time was up before there was a connection."""
        self.error = error = HostTimeoutError(f"{self.host}: there was no connection in time.")
        error.sent = False
        error.by_caller = True

    def close(self) -> None:
        """Return the connection to the pool: blocking again, or disconnected where it owes replies."""
        # Whose method it is refers to this: without a circle, nobody has to collect garbage.
        self.compose = _nothing
        if self.owners is not None:
            self.owners.append(CALLER)
            if self.owners[0] is CALLER:
                # The thread that connects it returns it.
                self.connection = None
        connection = self.connection
        if connection is None:
            return
        if self.error is not None or len(self.replies) != self.expected or self._holds_bytes():
            connection.disconnect()
        elif connection._sock is not None and self._sock is not None:
            self._sock.settimeout(self._timeout)
        # In this order: returned twice, it would be used twice. If it is lost here, its pool notices.
        self.connection = None
        self._pool.release(connection)

    def _holds_bytes(self) -> bool:
        """Whether the reader has the beginning of something that nobody has asked for."""
        return self._reader is not None and holds_part(self._reader)


def converse(conversations: Sequence[Conversation], end: float | None, limit: int | None = None) -> None:
    """Connect, send and read until every conversation has its replies or an error.

    Arguments:
        conversations: in the order in which all callers of the process use the hosts: connections are taken
            in it, so callers that wait for each other's connections do not wait for ever.
        end: when to give up on all of them, by `time.monotonic`. Each host also has its connection's
            ``socket_timeout``, counted from the last time that there was progress.
        limit: how many of them are held at once; None: all. The next begins as soon as one is done.
    """
    exchange = _Exchange(conversations, end, limit or len(conversations))
    try:
        run_opening(exchange.run, end, lazily=True)
    finally:
        finish(exchange.close)


class _Exchange:
    """The conversations of a batch.

    Arguments: see `converse`.
    """

    def __init__(self, conversations: Sequence[Conversation], end: float | None, limit: int) -> None:
        self._all = conversations
        self._waiting = deque(conversations)
        self._end = end
        self._limit = limit
        self._running: list[Conversation] = []
        self._connecting: list[Conversation] = []
        self._opener: Opener | None = None
        self._selector: Any = None
        self._buffer: bytearray | None = None

    def close(self) -> None:
        """Return all connections, whatever has happened."""
        for conversation in self._all:
            conversation.close()
        if self._opener is not None:
            self._opener.close()
        if self._selector is not None:
            self._selector.close()

    def run(self) -> None:
        """Converse."""
        self._fill()
        if self._running or self._connecting:
            self._selector = Selector()
            self._buffer = bytearray(READ_SIZE)
            for conversation in self._running:
                self._selector.register(conversation.fd, conversation.wants, conversation)
            if self._opener is not None:
                self._listen(self._opener)
        while self._running or self._connecting:
            self._step()
            self._fill()

    @property
    def _has_room(self) -> bool:
        return bool(self._waiting) and len(self._running) + len(self._connecting) < self._limit

    def _fill(self) -> None:
        """Begin conversations, as many as may be."""
        while self._has_room:
            missing: list[Conversation] = []
            while self._has_room and len(missing) < self._limit - len(self._running) - len(self._connecting):
                self._begin(self._waiting.popleft(), missing)
            alone = len(missing) == 1 and not (self._running or self._connecting or self._waiting)
            for conversation in missing:
                # With an end, the caller stops waiting for a thread then, whatever that waits for.
                if (alone and self._end is None) or conversation.connection.fails_at_once:
                    self._connect_here(conversation)
                else:
                    self._connect(conversation)

    def _begin(self, conversation: Conversation, missing: list[Conversation]) -> None:
        if self._end is not None and time.monotonic() >= self._end:
            conversation.never_began()
            return
        conversation.take()
        if conversation.error is not None:
            return
        if conversation.is_connected:
            self._start(conversation)
        else:
            missing.append(conversation)

    def _listen(self, opener: Opener) -> None:
        self._selector.register(opener.ready.fileno(), selectors.EVENT_READ, opener)

    def _connect_here(self, conversation: Conversation) -> None:
        conversation.connect(self._end)
        self._go_on(conversation)

    def _go_on(self, conversation: Conversation) -> None:
        """Start a conversation that has been connected, or has not."""
        if conversation.error is None:
            self._start(conversation)
        else:
            conversation.close()

    def _connect(self, conversation: Conversation) -> None:
        if self._opener is None:
            self._opener = Opener(self._end)
            if self._selector is not None:
                self._listen(self._opener)
        try:
            conversation.connect_with(self._opener)
        except NoThread:
            self._connect_here(conversation)
        else:
            self._connecting.append(conversation)

    def _start(self, conversation: Conversation) -> None:
        conversation.start(time.monotonic())
        if conversation.is_done:
            conversation.close()
        else:
            self._running.append(conversation)
            if self._selector is not None:
                self._selector.register(conversation.fd, conversation.wants, conversation)

    def _step(self) -> None:
        """Wait for something to happen, and go on with it."""
        end = self._end
        deadlines = [d for c in self._running if (d := c.deadline(end)) is not None]
        if self._connecting and end is not None:
            deadlines.append(end + GRACE)
        wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        events = self._selector.select(wait)
        now = time.monotonic()
        for key, mask in events:
            conversation = key.data
            if type(conversation) is Opener:
                self._go_on_with_connected(conversation)
                continue
            if mask & selectors.EVENT_WRITE:
                conversation.send()
            if conversation.error is None:
                conversation.receive(self._buffer)
            conversation.heard(now)
            if not conversation.is_done and conversation.wants != key.events:
                self._selector.modify(key.fd, conversation.wants, conversation)
        is_over = end is not None and now >= end
        going_on = []
        for conversation in self._running:
            deadline = conversation.deadline(end)
            if not conversation.is_done and deadline is not None and now >= deadline:
                conversation.give_up(is_over)
            if conversation.is_done:
                self._selector.unregister(conversation.fd)
                conversation.close()
            else:
                going_on.append(conversation)
        self._running = going_on
        if end is not None and now >= end + GRACE:
            for conversation in self._connecting:
                conversation.never_began()
                conversation.close()
            self._connecting = []

    def _go_on_with_connected(self, opener: Opener) -> None:
        for conversation, error in opener.finished():
            # It may have been given up while its thread came to an end.
            if conversation in self._connecting:
                self._connecting.remove(conversation)
                conversation.connected(error)
                self._go_on(conversation)
