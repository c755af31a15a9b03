"""`Continuum`: python-continuum's interface and placement.

python-continuum is a ketama ring as well, with other names and numbers of points than `Ketama`.
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
    """A server on a `Continuum`. Two of the same address are equal.

    Attributes:
        hostname: the name or address of its machine.
        port: the port there.
        capacity: how large a part of the keys it is to get, beside the other servers' capacities.
    """

    hostname: str
    port: int
    capacity: float = field(default=1, compare=False)

    def __repr__(self) -> str:
        return f'<Server "{self.hostname}:{self.port}", capacity={self.capacity}>'


class Continuum:
    """A ring of servers, which places keys as python-continuum does.

    May be used and changed by many threads: `resolve` sees the ring from before a change or from after it.

    Arguments:
        totaldots: how many points all servers have together, rounded down for each server. With few, a
            server of little capacity may get none.
        autogenerate: make the ring anew whenever a server is added or removed. Switch it off to add many
            servers, and call `generate` after the last.

    Raises:
        ValueError: `totaldots` is less than 1.
    """

    def __init__(self, totaldots: int = 1000, autogenerate: bool = True) -> None:
        if totaldots < 1:
            raise ValueError(f"totaldots is {totaldots!r}; it must be 1 or more.")
        self.totaldots = totaldots
        self.autogenerate = autogenerate
        self._servers: tuple[Server, ...] = ()
        self.generate()

    def add_server(self, hostname: str, port: int, capacity: float = 1) -> Server:
        """Add a server.

        Arguments:
            hostname: the name or address of its machine.
            port: the port there.
            capacity: how large a part of the keys it is to get, beside the other servers' capacities.

        Returns:
            The server: what `resolve` returns for its keys, and what `remove_server` takes.

        Raises:
            TypeError: a server of this address was added already.
            ValueError: `capacity` is not above 0.
        """
        if not 0 < capacity < math.inf:
            raise ValueError(f"capacity is {capacity!r}; it must be above 0, and finite.")
        server = Server(hostname, port, capacity)
        with _changing.get():
            if server in self._servers:
                raise TypeError("server already added")
            self._change((*self._servers, server))
        return server

    def remove_server(self, server: Server) -> None:
        """Remove a server.

        Arguments:
            server: what `add_server` returned, or a `Server` of the same address.

        Raises:
            ValueError: it is not one of the servers.
        """
        with _changing.get():
            if server not in self._servers:
                raise ValueError(f"{server!r} is not one of the servers.")
            self._change(tuple(other for other in self._servers if other != server))

    def resolve(self, key: Key) -> Server:
        """The server of `key`.

        Arguments:
            key: what is placed; see `key_bytes`.

        Raises:
            IndexError: there are no servers, or `generate` was not called since the first was added.
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
        """Make the ring anew from the servers as they are now."""
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
    """Where the points of a server are: four for a digest, and those that are left over at 0, 1 and 2.

    The latter is what python-continuum does, and decides where the keys beyond the last point go: to the
    server that was added first of those with a remainder.
    """
    digests, remainder = divmod(count, POINTS_A_DIGEST)
    for i in range(digests):
        yield from points_of(f"{server.hostname}-{server.port}-{i}")
    yield from range(remainder)
