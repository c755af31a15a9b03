"""Consistent hashing with the interface and the placement of python-continuum.

python-continuum is a ketama ring too, but names and counts its points differently than `Ketama`.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field

from pindb._forks import Lock
from pindb.hashing.keys import Key, key_bytes
from pindb.hashing.rings import POINTS_A_DIGEST, add_up, first_point, make_ring, md5, points_of, upper_bits

__all__ = ["Continuum", "Server"]

_changing = Lock()


@dataclass(frozen=True, repr=False)
class Server:
    """Server on a `Continuum`. Servers with the same address are equal.

    Attributes:
        hostname: the name or address of the machine.
        port: the port.
        capacity: the share of keys that it gets, relative to the capacities of the other servers.
    """

    hostname: str
    port: int
    capacity: float = field(default=1, compare=False)

    def __repr__(self) -> str:
        return f'<Server "{self.hostname}:{self.port}", capacity={self.capacity}>'


class Continuum:
    """Consistent hash ring of servers that places keys as python-continuum does.

    Safe under threads: `resolve` sees the ring as it was before a change, or as it is after it.

    Arguments:
        totaldots: the number of points of all servers together, rounded down for each server. If it is small,
            a server with a small capacity may get no points, and so no keys.
        autogenerate: rebuild the ring whenever a server is added or removed. To add many servers, switch this
            off and call `generate` after the last one.

    Raises:
        ValueError: `totaldots` is less than 1.
    """

    def __init__(self, totaldots: int = 1000, autogenerate: bool = True) -> None:
        if totaldots < 1:
            raise ValueError(f"totaldots is {totaldots!r}. Write 1 or more.")
        self.totaldots = totaldots
        self.autogenerate = autogenerate
        self._servers: tuple[Server, ...] = ()
        self.generate()

    def add_server(self, hostname: str, port: int, capacity: float = 1) -> Server:
        """Add a server.

        Arguments:
            hostname: the name or address of the machine.
            port: the port.
            capacity: the share of keys that it gets, relative to the capacities of the other servers.

        Returns:
            The server, as `resolve` returns it and `remove_server` takes it.

        Raises:
            TypeError: the ring already has a server with this address.
            ValueError: `capacity` is not above 0.
        """
        if not 0 < capacity < math.inf:
            raise ValueError(f"capacity is {capacity!r}. Write a finite number above 0.")
        server = Server(hostname, port, capacity)
        with _changing.get():
            if server in self._servers:
                raise TypeError("server already added")
            self._change((*self._servers, server))
        return server

    def remove_server(self, server: Server) -> None:
        """Remove a server.

        Arguments:
            server: a server that `add_server` returned, or a `Server` with the same address.

        Raises:
            ValueError: the ring does not have this server.
        """
        with _changing.get():
            if server not in self._servers:
                raise ValueError(f"The ring has no {server!r}.")
            self._change(tuple(other for other in self._servers if other != server))

    def resolve(self, key: Key) -> Server:
        """Return the server of `key`.

        Arguments:
            key: the key; see `key_bytes`.

        Raises:
            IndexError: there are no servers, or `generate` was not called after the first was added.
            TypeError: `key` is not text, bytes or an integer.
        """
        table, known, points, owners = self._ring
        if type(key) is str:
            key = key.encode()
        elif type(key) is not bytes:
            key = key_bytes(key)
        digest = md5(key).digest()
        index = table[upper_bits(digest)[0]]
        server = known[index] if index else owners[bisect(points, first_point(digest)[0])]
        if server is None:
            raise IndexError("empty continuum")
        return server

    def generate(self) -> None:
        """Rebuild the ring from the current servers."""
        servers = self._servers
        total = float(add_up(server.capacity for server in servers))
        self._ring = make_ring(
            (point, order, server)
            for order, server in enumerate(servers)
            for point in _points(server, int(self.totaldots * (server.capacity / total)))
        )

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers, in the order in which they were added."""
        return self._servers

    def __len__(self) -> int:
        return len(self._servers)

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} servers>"

    def _change(self, servers: tuple[Server, ...]) -> None:
        self._servers = servers
        if self.autogenerate:
            self.generate()


def _points(server: Server, count: int) -> Iterator[int]:
    """Yield the points of a server: four per digest, and up to three remaining ones at 0, 1 and 2.

    python-continuum places the remaining points like this. So keys beyond the last point go to the first
    added server with a remainder.
    """
    digests, remainder = divmod(count, POINTS_A_DIGEST)
    for i in range(digests):
        yield from points_of(f"{server.hostname}-{server.port}-{i}")
    yield from range(remainder)
