"""The floor: what Redis and Python take when nothing is done but to send and to read.

One raw socket for each server, hiredis to pack and to parse, no promises, no routing: the keys are grouped by
server beforehand. All sockets are written before the first is read, so all servers work at the same time. The
replies stay in the lists that they came in.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from types import TracebackType
from typing import Any

import hiredis

from benchmarks.map.jobs import GET, GET_BATCHED, SET, SET_BATCHED, SINGLE_GET, Job, Load

__all__ = ["Floor"]

#: Bytes to ask a socket for; faster here than 16 KiB and than 1 MiB.
SIZE = 65536

# hiredis' own annotation takes commands of one word only.
pack_command: Callable[..., bytes] = hiredis.pack_command


@dataclass(frozen=True)
class Line:
    """A connection to a server, and what is there.

    Attributes:
        sock: the socket, blocking.
        reader: hiredis' parser.
        keys: those on this server.
        values: what each of them holds.
    """

    sock: socket.socket
    reader: hiredis.Reader
    keys: Sequence[str]
    values: Sequence[bytes]


class Floor:
    """Sockets to the servers, which close with the context.

    Arguments:
        hosts: by id, ``unix_socket_path`` or ``host`` and ``port``.
        load: what to write and read.
        places: the host of each key.
    """

    def __init__(self, hosts: Mapping[int, Mapping[str, Any]], load: Load, places: Sequence[int]) -> None:
        self._load = load
        self._lines = []
        for host, settings in hosts.items():
            here = [index for index, place in enumerate(places) if place == host]
            keys = [load.keys[index] for index in here]
            values = [load.values[index] for index in here]
            self._lines.append(Line(_connect(settings), hiredis.Reader(), keys, values))

    def __enter__(self) -> Floor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for line in self._lines:
            line.sock.close()

    def jobs(self) -> dict[str, Job]:
        """By the name of the case, what the floor does for it."""
        return {
            SET_BATCHED: self.mset,
            SET: self.set,
            GET_BATCHED: self.mget,
            GET: self.get,
            SINGLE_GET: self.single_get,
        }

    def check(self) -> None:
        """Do each job once: its results have to be right before its time counts.

        Raises:
            RuntimeError: they are not.
        """
        values = [value for line in self._lines for value in line.values]
        for job, right in (
            (self.mset, [b"OK"] * len(self._lines)),
            (self.mget, values),
            (self.set, [b"OK"] * len(values)),
            (self.get, values),
            (self.single_get, self._load.single_values),
        ):
            # Whole servers come in any order.
            if sorted(job()) != sorted(right):
                raise RuntimeError(f"floor: {job.__name__}: wrong results")

    def mget(self) -> list[Any]:
        """One MGET for each server."""
        for line in self._lines:
            line.sock.sendall(pack_command(("MGET", *line.keys)))
        return list(chain.from_iterable(self._one_reply_each()))

    def mset(self) -> list[Any]:
        """One MSET for each server."""
        for line in self._lines:
            words = chain.from_iterable(zip(line.keys, line.values, strict=True))
            line.sock.sendall(pack_command(("MSET", *words)))
        return self._one_reply_each()

    def get(self) -> list[Any]:
        """One GET for each key."""
        for line in self._lines:
            commands = zip(repeat("GET"), line.keys)
            line.sock.sendall(b"".join(map(pack_command, commands)))
        return self._all_replies()

    def set(self) -> list[Any]:
        """One SET for each key."""
        for line in self._lines:
            commands = zip(repeat("SET"), line.keys, line.values)
            line.sock.sendall(b"".join(map(pack_command, commands)))
        return self._all_replies()

    def single_get(self) -> list[Any]:
        """One GET after the other, each with its answer, on the first server."""
        sock, reader, replies = self._lines[0].sock, self._lines[0].reader, []
        for key in self._load.single_keys:
            sock.sendall(pack_command(("GET", key)))
            reader.feed(sock.recv(SIZE))
            replies.append(reader.gets())
        return replies

    def _one_reply_each(self) -> list[Any]:
        """Read whoever has something to read until each has sent its reply."""
        replies = []
        poll = select.poll()
        open_: dict[int, tuple[Callable[[int], bytes], hiredis.Reader]] = {}
        for line in self._lines:
            poll.register(line.sock, select.POLLIN)
            open_[line.sock.fileno()] = line.sock.recv, line.reader
        while open_:
            for number, _ in poll.poll():
                recv, reader = open_[number]
                reader.feed(recv(SIZE))
                reply = reader.gets()
                if reply is not False:
                    replies.append(reply)
                    poll.unregister(number)
                    del open_[number]
        return replies

    def _all_replies(self) -> list[Any]:
        """Read one server after the other: each needs longer to answer than Python needs to read."""
        replies: list[Any] = []
        extend = replies.extend
        for line in self._lines:
            recv, feed, gets = line.sock.recv, line.reader.feed, line.reader.gets
            wanted = len(replies) + len(line.keys)
            while len(replies) < wanted:
                feed(recv(SIZE))
                extend(iter(gets, False))
        return replies


def _connect(host: Mapping[str, Any]) -> socket.socket:
    if path := host.get("unix_socket_path"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        return sock
    sock = socket.create_connection((host["host"], host["port"]))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
