"""Sends what is there for many hosts, and reads what comes back, all hosts at once.

No host waits for another: everything is written and read as far as the sockets take and give it, so
batches of any size cannot block each other, whatever the sockets' buffers hold.
"""

from __future__ import annotations

import selectors
import ssl
import time
from collections.abc import Container, Iterable, Sequence
from inspect import Parameter, signature
from typing import Any

from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pindb.redis.exceptions import HostConnectionError, HostTimeoutError
from pindb.redis.hosts import Host, connecting_until
from pindb.redis.resp import NOT_ENOUGH, PUSH, make_reader

__all__ = ["Conversation", "at_host", "converse", "get_connection"]

#: How much is read at once, in bytes.
READ_SIZE = 256 * 1024

WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

# poll() takes no file descriptor of its own, and any number of them.
Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)

# redis-py before 5.3 wants the name of the command that the connection is for.
_name = signature(ConnectionPool.get_connection).parameters.get("command_name")
POOL_ARGUMENTS = ("pindb",) if _name is not None and _name.default is Parameter.empty else ()


def get_connection(pool: Any, host: Host, end: float | None = None) -> Any:
    """A connected connection from the pool of `host`; a stale one was replaced.

    Arguments:
        pool: the pool.
        host: the host.
        end: when to give up, besides the pool's own timeouts.

    Raises:
        redis.RedisError: there was none to be had; the message names the host.
    """
    try:
        with connecting_until(end):
            return pool.get_connection(*POOL_ARGUMENTS)
    except (RedisError, OSError) as error:
        raise at_host(error, host) from error


def at_host(error: Exception, host: Host) -> RedisError:
    """What became of a connection, as an error that names the host."""
    kind: type[Any] = type(error)
    if isinstance(error, RedisTimeoutError):
        kind = HostTimeoutError
    elif kind is RedisConnectionError or not isinstance(error, RedisError):
        kind = HostConnectionError
    # Others are of their own kind: AuthenticationError, BusyLoadingError ...
    told: RedisError = kind(f"{host}: {error}")
    if isinstance(told, (HostConnectionError, HostTimeoutError)):
        told.sent = getattr(error, "sent", True)
    return told


def undecodable(error: UnicodeDecodeError) -> RedisError:
    """What stands for a reply that is not in the encoding of its connection."""
    return InvalidResponse(f"decode_responses does not suit the reply: {error}")


class Conversation:
    """One host's part: the bytes to send and the replies to come.

    Attributes:
        host: the host.
        replies: the replies so far, in order; an error reply is an exception.
        error: why not all replies came; None where they did.
    """

    __slots__ = (
        "_data",
        "_quiet_until",
        "_reader",
        "_sent",
        "_timeout",
        "connection",
        "error",
        "expected",
        "fd",
        "host",
        "pool",
        "raw",
        "replies",
    )

    def __init__(self, host: Host, pool: Any) -> None:
        self.host = host
        self.pool = pool
        self.connection: Any = None
        self.replies: list[Any] = []
        self.error: RedisError | None = None
        self.expected = 0
        self.raw: Container[int] = ()
        self._sent = 0

    def open(self, end: float | None) -> bool:
        """Take a connection from the pool before the time `end`; False, with `error` set, for none."""
        try:
            self.connection = get_connection(self.pool, self.host, end)
        except RedisError as error:
            self.error = error
            return False
        self._timeout = self.connection.socket_timeout
        return True

    def say(self, data: Sequence[bytes], expected: int, raw: Container[int] = ()) -> None:
        """Set out what to send, how many replies it will get, and which of them are not to be decoded."""
        self._data = memoryview(b"".join(data))
        self.expected = expected
        self.raw = raw
        self._reader = make_reader(self.connection)

    def start(self, now: float) -> None:
        """Stop blocking on the socket, and send what it takes at once."""
        sock = self.connection._sock
        sock.setblocking(False)
        self.fd: int = sock.fileno()
        self.heard(now)
        self.send()

    def heard(self, now: float) -> None:
        """Something went in or out: the connection's own timeout starts anew."""
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
        sock = self.connection._sock
        try:
            while self._sent < len(self._data):
                self._sent += sock.send(self._data[self._sent :])
        except WOULD_BLOCK:
            pass
        except OSError as error:
            self.fail(HostConnectionError(f"{self.host}: the connection broke while writing: {error}"))

    def receive(self, buffer: bytearray) -> None:
        """Read as much as there is."""
        recv_into, feed, gets = self.connection._sock.recv_into, self._reader.feed, self._reader.gets
        replies, expected, raw = self.replies, self.expected, self.raw
        heard: list[Any]
        try:
            while True:
                length = recv_into(buffer)
                if not length:
                    self.fail(HostConnectionError(f"{self.host}: the server closed the connection."))
                    return
                feed(buffer, 0, length)
                if raw:
                    self._receive_raw()
                else:
                    heard = []
                    while True:
                        try:
                            heard += iter(gets, NOT_ENOUGH)
                            break
                        except UnicodeDecodeError as error:
                            # What was read before it is in the list, and more may follow.
                            heard.append(undecodable(error))
                    if not PUSH.isdisjoint(map(type, heard)):
                        heard = [reply for reply in heard if type(reply) not in PUSH]
                    replies += heard
                if len(replies) >= expected:
                    return
        except WOULD_BLOCK:
            pass
        except OSError as error:
            self.fail(HostConnectionError(f"{self.host}: the connection broke while reading: {error}"))
        except RedisError as error:
            self.fail(HostConnectionError(f"{self.host}: {error}"))

    def _receive_raw(self) -> None:
        """Take replies from the reader, some of which are not decoded."""
        replies, raw, gets = self.replies, self.raw, self._reader.gets
        while True:
            try:
                reply = gets(len(replies) not in raw)
            except UnicodeDecodeError as error:
                reply = undecodable(error)
            if reply is NOT_ENOUGH:
                return
            if type(reply) not in PUSH:
                replies.append(reply)

    def give_up(self) -> None:
        """It has waited too long."""
        missing = self.expected - len(self.replies)
        self.fail(
            HostTimeoutError(f"{self.host}: {missing} of {self.expected} replies did not come in time.")
        )

    def fail(self, error: RedisError) -> None:
        """End it: the connection may owe replies, so it is not used again."""
        self.error = error
        self.connection.disconnect()

    def close(self) -> None:
        """Give the connection back to the pool: blocking again, or disconnected where it owes replies."""
        connection = self.connection
        if connection is None:
            return
        self.connection = None
        if self.error is not None or len(self.replies) != self.expected:
            connection.disconnect()
        elif connection._sock is not None:
            connection._sock.settimeout(self._timeout)
        self.pool.release(connection)


def converse(conversations: Iterable[Conversation], end: float | None) -> None:
    """Send and read until every conversation has its replies or an error.

    Arguments:
        conversations: opened, with something to say.
        end: when to give up on all of them, by `time.monotonic`. Each host also has its connection's
            ``socket_timeout``, counted from the last time that something went in or out.
    """
    running: list[Conversation] = []
    try:
        for conversation in conversations:
            running.append(conversation)
            conversation.start(time.monotonic())
        _run([c for c in running if not c.is_done], end)
    finally:
        for conversation in running:
            conversation.close()


def _run(running: list[Conversation], end: float | None) -> None:
    buffer = bytearray(READ_SIZE)
    with Selector() as selector:
        for conversation in running:
            selector.register(conversation.fd, conversation.wants, conversation)
        while running:
            deadlines = [d for c in running if (d := c.deadline(end)) is not None]
            wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            events = selector.select(wait)
            now = time.monotonic()
            for key, mask in events:
                conversation = key.data
                if mask & selectors.EVENT_WRITE:
                    conversation.send()
                if conversation.error is None:
                    conversation.receive(buffer)
                conversation.heard(now)
                if not conversation.is_done and conversation.wants != key.events:
                    selector.modify(key.fd, conversation.wants, conversation)
            for conversation in running:
                deadline = conversation.deadline(end)
                if not conversation.is_done and deadline is not None and now >= deadline:
                    conversation.give_up()
                if conversation.is_done:
                    selector.unregister(conversation.fd)
            running = [c for c in running if not c.is_done]
