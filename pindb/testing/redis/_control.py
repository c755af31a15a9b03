"""Connections by which a setup steers its servers, without redis-py."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

Word = str | bytes | int


class ErrorReply(RuntimeError):
    """An error that a server has replied."""


class Control:
    """A connection to a server's Unix socket, which it has with ports and TLS too. A context manager.

    Arguments:
        path: the path of the socket.
        login: the arguments of AUTH; empty without a password.
        timeout: the time limit to connect and for each reply, in seconds.

    Raises:
        OSError: the server does not accept connections.
        ErrorReply: the server refuses the login.
    """

    def __init__(self, path: Path, login: Iterable[str], timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
            self._replies = self._socket.makefile("rb")
            words = list(login)
            if words:
                self("AUTH", *words)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Control:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._replies.close()
        self._socket.close()

    def __call__(self, *words: Word) -> Any:
        """Send a command and return its reply: bytes, an integer, None, or a list of these.

        Raises:
            ErrorReply: the server replies an error.
            OSError: the connection breaks, or there is no reply in time.
        """
        self.send(words)
        reply = self.receive()
        if isinstance(reply, ErrorReply):
            raise reply
        return reply

    def send(self, *commands: Iterable[Word]) -> None:
        """Send commands without waiting for their replies."""
        self._socket.sendall(b"".join(map(_packed, commands)))

    def receive(self) -> Any:
        """Return the reply to the next command that was sent; an error reply as an `ErrorReply`."""
        line = self._replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("The server has closed the connection.")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return ErrorReply(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        length = int(rest)
        if length < 0:
            return None
        if kind == b"*":
            return [self.receive() for _ in range(length)]
        text = self._replies.read(length + 2)
        if len(text) < length + 2:
            raise ConnectionError("The server has closed the connection in the middle of a reply.")
        return text[:-2]


def _packed(command: Iterable[Word]) -> bytes:
    words = [word if isinstance(word, bytes) else os.fsencode(str(word)) for word in command]
    parts = (b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%b" % (len(words), b"".join(parts))
