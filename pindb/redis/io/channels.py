"""A connection while it serves one server's part of a batch."""

from __future__ import annotations

import selectors
import ssl
from typing import Any

from redis.exceptions import RedisError

from pindb.redis.core.batches import HostBatch
from pindb.redis.core.replies import holds_part
from pindb.redis.io.connections import ConnectingMixin, run_opening
from pindb.redis.io.opening import CALLER, NoThread, Opener
from pindb.redis.io.pools import get_connection

__all__ = ["Channel"]

WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Channel:
    """Takes a connection from a pool, moves the bytes of a `HostBatch`, and returns the connection.

    Arguments:
        batch: the server's part of the batch.
        pool: the server's pool.

    Attributes:
        batch: as given.
        connection: the connection; None before it is taken from the pool and after it went back.
        fd: the file descriptor of its socket.
    """

    __slots__ = ("_owners", "_pool", "_sock", "_timeout", "batch", "connection", "fd")

    def __init__(self, batch: HostBatch, pool: Any) -> None:
        self.batch = batch
        self.connection: Any = None
        self.fd = -1
        self._pool = pool
        self._sock: Any = None
        # Who has finished with a connection that a thread makes; see `Opener`.
        self._owners: list[str] | None = None

    def take(self) -> None:
        """Take a connection from the pool."""
        try:
            self.connection = connection = get_connection(self._pool)
        except (RedisError, OSError) as error:
            self.batch.fail(error)
            return
        if connection._sock is not None and _holds_bytes(connection):
            # The rest of these bytes is still in the socket.
            connection.disconnect()
            if isinstance(connection, ConnectingMixin):
                connection.forget_use()
            else:
                self.connect(None)

    @property
    def is_connected(self) -> bool:
        """Whether the connection can be used at once."""
        connection = self.connection
        return connection._sock is not None or not isinstance(connection, ConnectingMixin)

    def connect(self, end: float | None) -> None:
        """Connect until the time `end` at the latest."""
        try:
            run_opening(self.connection.connect, end)
        except Exception as error:
            self.note_connected(error)

    def connect_with(self, opener: Opener) -> None:
        """Let a thread connect; when its `Opener` says that the thread is done, call `note_connected`.

        Raises:
            NoThread: the process can have no more threads.
        """
        # Before the thread begins, since whoever cleans up looks at it.
        self._owners = []
        try:
            opener.open(self, self.connection, self._pool, self._owners)
        except NoThread:
            self._owners = None
            raise

    def note_connected(self, error: BaseException | None) -> None:
        """Note how connecting ended: with an error, or None."""
        self._owners = None
        if isinstance(error, (RedisError, OSError)):
            self.batch.fail(error)
        elif error is not None:
            raise error

    def start(self, now: float) -> None:
        """Pack the commands, stop blocking on the socket, and send as much as it takes."""
        connection = self.connection
        self._timeout = timeout = connection.socket_timeout
        self.batch.start(connection.encoder, connection._parser.parse_error, timeout, now)
        # redis-py's code may disconnect it at any time; the socket stays the same here.
        self._sock = sock = connection._sock
        if sock is None:
            self.batch.break_off("the connection was closed.")
            return
        sock.setblocking(False)
        self.fd = sock.fileno()
        self.send()

    @property
    def events(self) -> int:
        """The selector's events to wait for. TLS may have to read before it can go on writing."""
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        return both if self.batch.unsent else selectors.EVENT_READ

    def send(self) -> None:
        """Send as much as the socket takes."""
        batch = self.batch
        try:
            while batch.unsent:
                batch.note_sent(self._sock.send(batch.unsent))
        except WOULD_BLOCK:
            pass
        except OSError as error:
            batch.break_off(f"the connection broke while writing: {error}")

    def receive(self, buffer: bytearray) -> None:
        """Read all that the socket has, or until the last reply."""
        batch, recv_into = self.batch, self._sock.recv_into
        try:
            while not batch.is_done:
                length = recv_into(buffer)
                if length:
                    batch.receive(buffer, length)
                else:
                    batch.break_off("the server closed the connection.")
        except WOULD_BLOCK:
            pass
        except OSError as error:
            batch.break_off(f"the connection broke while reading: {error}")

    def close(self) -> None:
        """Return the connection to the pool: blocking again, or closed if it cannot be used again."""
        if self._owners is not None:
            self._owners.append(CALLER)
            if self._owners[0] is CALLER:
                # The thread that connects it returns it.
                self.connection = None
        connection = self.connection
        if connection is None:
            return
        if not self.batch.is_clean:
            connection.disconnect()
        elif connection._sock is not None and self._sock is not None:
            self._sock.settimeout(self._timeout)
        # In this order: returned twice, it would be used twice. If it is lost here, its pool notices.
        self.connection = None
        self._pool.release(connection)


def _holds_bytes(connection: Any) -> bool:
    """Whether redis-py's own parser has read the beginning of a message that is no reply to anybody."""
    parser = connection._parser
    reader = getattr(parser, "_reader", None)
    if reader is not None:
        return holds_part(reader)
    buffer = getattr(parser, "_buffer", None)
    return buffer is not None and buffer.unread_bytes() > 0
