"""Threads that connect to many servers at the same time."""

from __future__ import annotations

import _thread
import contextvars
import queue
import selectors
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
    """Connects each connection in a thread of its own, and wakes a selector when one is done.

    redis-py blocks while it connects (name lookup, TLS, credentials, retries), some of it for longer than
    any timeout of a socket; so it needs threads.

    Arguments:
        end: when the caller gives up, by `time.monotonic`; None: never.

    Attributes:
        fd: the file descriptor that can be read when a connection is made or has failed.
        events: the selector's event for that.
    """

    events = selectors.EVENT_READ

    def __init__(self, end: float | None) -> None:
        self._end = end
        self._finished: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._ready, self._bell = socket.socketpair()
        self.fd = self._ready.fileno()
        self._ready.setblocking(False)
        self._bell.setblocking(False)

    def open(self, item: Any, connection: Any, pool: Any, owners: list[str]) -> None:
        """Connect a connection in a thread.

        Arguments:
            item: what `finished` returns for it.
            connection: an unconnected connection from `pool`.
            pool: the pool.
            owners: an empty list. The thread appends `THREAD` when it is done, and the caller appends
                `CALLER` when it gives up; whoever comes second returns the connection to the pool. (Appending
                is one step of the interpreter, and does no harm when it is repeated after an exception.)

        Raises:
            NoThread: the process can have no more threads.
        """
        begun: list[str] = []
        context = contextvars.copy_context()
        try:
            # An exception from a signal handler would leave a threading.Thread half started.
            _thread.start_new_thread(context.run, (self._connect, item, connection, pool, owners, begun))
        except RuntimeError as error:
            begun.append(CALLER)
            # If the thread runs, the error is a signal handler's.
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
        """Return the items of the threads that are done, each with its error or None."""
        with suppress(BlockingIOError):
            self._ready.recv(4096)
        items = []
        while True:
            try:
                items.append(self._finished.get_nowait())
            except queue.Empty:
                return items

    def close(self) -> None:
        """Close the sockets. Threads that are still at work end by themselves."""
        with self._lock:
            self._is_closed = True
            self._ready.close()
            self._bell.close()
