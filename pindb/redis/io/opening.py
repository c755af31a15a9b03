"""Connections that are made at the same time, so that no host waits for another one."""

from __future__ import annotations

import _thread
import contextvars
import queue
import socket
import threading
from contextlib import suppress
from typing import Any

from pindb.redis.io.connections import run_opening

__all__ = ["CALLER", "THREAD", "NoThread", "Opener"]

THREAD, CALLER = "thread", "caller"


class NoThread(Exception):
    """The process can have no more threads, or is about to end."""


class Opener:
    """Connects connections in threads of their own, and tells a selector.

    Threads, since what redis-py does to connect (look up a name, TLS, credentials, retries) blocks, and
    some of it longer than any timeout of a socket.

    Arguments:
        end: when the caller gives up, by `time.monotonic`; None: never.

    Attributes:
        ready: the socket that can be read when a connection has come to its end.
    """

    def __init__(self, end: float | None) -> None:
        self._end = end
        self._finished: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self.ready, self._bell = socket.socketpair()
        self.ready.setblocking(False)
        self._bell.setblocking(False)

    def open(self, item: Any, connection: Any, pool: Any, owners: list[str]) -> None:
        """Connect a connection.

        Arguments:
            item: what `finished` is to return.
            connection: taken from `pool`, and not connected. Where the caller gives up, it is returned there.
            pool: the pool.
            owners: an empty list. The thread adds `THREAD` when it is done, the caller `CALLER` when it gives
                up: whoever comes second returns the connection to its pool. (An item is added in one step of
                the interpreter, and again without harm where an exception strikes.)

        Raises:
            NoThread: there can be no more threads.
        """
        begun: list[str] = []
        context = contextvars.copy_context()
        try:
            # Not a threading.Thread: exceptions of signal handlers leave those half started.
            _thread.start_new_thread(context.run, (self._connect, item, connection, pool, owners, begun))
        except RuntimeError as error:
            begun.append(CALLER)
            # It may also be a signal handler's own error, when the thread is there.
            if begun[0] is CALLER:
                raise NoThread from error

    def _connect(self, item: Any, connection: Any, pool: Any, owners: list[str], begun: list[str]) -> None:
        begun.append(THREAD)
        if begun[0] is CALLER:
            return
        error: BaseException | None = None
        try:
            run_opening(connection.connect, self._end)
        except BaseException as reason:
            error = reason
        owners.append(THREAD)
        if owners[0] is CALLER:
            pool.release(connection)
            return
        self._finished.put((item, error))
        with self._lock:
            if not self._is_closed:
                self._bell.send(b"!")

    def finished(self) -> list[tuple[Any, BaseException | None]]:
        """Return the items whose connections are there, each with the error where one is not."""
        with suppress(BlockingIOError):
            self.ready.recv(4096)
        items = []
        while True:
            try:
                items.append(self._finished.get_nowait())
            except queue.Empty:
                return items

    def close(self) -> None:
        """Stop listening. Threads that are still at work end by themselves."""
        with self._lock:
            self._is_closed = True
            self.ready.close()
            self._bell.close()
