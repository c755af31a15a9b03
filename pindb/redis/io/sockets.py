"""Sockets whose timeouts also end a reply that drips in byte by byte."""

from __future__ import annotations

import socket
import ssl
from time import monotonic
from typing import Any

from pindb.redis.core.batches import ENOUGH

__all__ = ["GreetingSocket", "PatientSocket", "PatientTlsSocket"]

#: The value of `_Patience.reply_until` after the first read.
BEGUN = 0.0


class _Patience:
    """Reads with a timeout for a whole reply.

    A socket's own timeout starts anew with each byte, so a server that drips bytes would never time out. Here
    the first read of a reply, usually the only one, waits for the socket's timeout, and the rest of the reply
    has the same time again.

    Attributes:
        reply_until: the deadline of the reply that is being read, by `time.monotonic`; `BEGUN` after its
            first read; None before that.
        connect_until: the deadline of the handshake; None when it is complete.
    """

    reply_until: float | None = None
    connect_until: float | None = None
    _received = 0

    def _check(self: Any, until: float | None) -> None:
        """Raise `TimeoutError` if the time is up, before any read but the first one of a reply."""
        now = monotonic()
        if self.connect_until is not None:
            left = self.connect_until - now
            if left <= 0:
                raise TimeoutError("timed out")
            timeout = self.gettimeout()
            if timeout is None or timeout > left:
                self.settimeout(left)
        timeout = self.gettimeout()
        if until is None or not timeout:
            self.reply_until = BEGUN
        elif until == BEGUN:
            self.reply_until = now + timeout
            self._received = 0
        elif now >= until:
            raise TimeoutError("timed out")

    def _note(self, length: int) -> None:
        self._received += length
        if self._received >= ENOUGH:
            self.reply_until = BEGUN


def _patient(read: Any) -> Any:
    """Return a socket's method with the timeouts of `_Patience`."""

    def read_patiently(self: Any, *args: Any) -> Any:
        until = self.reply_until
        if until is None and self.connect_until is None:
            self.reply_until = BEGUN
            return read(self, *args)
        self._check(until)
        found = read(self, *args)
        self._note(found if type(found) is int else len(found))
        return found

    return read_patiently


class PatientSocket(_Patience, socket.socket):
    """A socket for TCP or a Unix socket's path."""

    recv: Any = _patient(socket.socket.recv)
    recv_into: Any = _patient(socket.socket.recv_into)


class GreetingSocket(PatientSocket):
    """A socket during the handshake.

    A server that has reached ``maxclients`` says so and closes the connection, maybe before the client has
    sent anything. Then sending fails, with an error that has the server's message.
    """

    def sendall(self, *args: Any) -> None:
        try:
            super().sendall(*args)
        except (BrokenPipeError, ConnectionResetError) as error:
            try:
                self.setblocking(False)
                said = socket.socket.recv(self, 1024)
            except OSError:
                raise error from None
            if said.startswith(b"-"):
                raise OSError(error.errno, said[1:].split(b"\r\n")[0].decode("utf-8", "replace")) from error
            raise


class PatientTlsSocket(_Patience, ssl.SSLSocket):
    """A socket for TLS."""

    recv: Any = _patient(ssl.SSLSocket.recv)
    recv_into: Any = _patient(ssl.SSLSocket.recv_into)
