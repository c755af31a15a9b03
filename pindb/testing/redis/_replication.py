"""Servers with replicas: what setups of Redis Cluster and Sentinel have in common."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pindb.testing.processes import wait_for
from pindb.testing.redis._control import ErrorReply, Word
from pindb.testing.redis._servers import CONFIGURATION, RedisServers, Server, quoted

if TYPE_CHECKING:
    import redis

# The port of a cluster's bus is this much higher than the server's port.
BUS = 10_000

# All of these, and the ports of the bus, are below those that systems give to outgoing connections: a server
# that was away finds its port free when it comes back.
PORTS = range(10_000, 20_000)


class ReplicatedServers(RedisServers[Server]):
    """Masters and replicas on ports of 127.0.0.1.

    Subclasses say who makes a replica a master.
    """

    _defaults: ClassVar[Mapping[str, str]] = {
        **CONFIGURATION,
        # A replica gets its data at once.
        "repl-diskless-sync": "yes",
        "repl-diskless-sync-delay": "0",
        "repl-ping-replica-period": "1",
    }

    # ---- addresses -----------------------------------------------------------------------------

    def host(self, server: Server) -> dict[str, Any]:
        """Return the settings of a server: host, port, TLS and login."""
        return self._address(self._name(server))

    def client(self, server: Server, **options: Any) -> redis.Redis:
        """Return a redis-py client of a server, without retries.

        Arguments:
            server: the server.
            options: keyword arguments for `redis.Redis`, for example ``decode_responses=True``.

        Raises:
            RuntimeError: redis-py is not installed.
        """
        return self._client(self.host(server), options)

    # ---- servers -------------------------------------------------------------------------------

    def flush(self) -> None:
        """Delete all keys and scripts, and wait until replicas have done so. Paused servers are left out."""
        scripts, keys = ("SCRIPT", "FLUSH"), ("FLUSHALL",)
        self._flush(
            {
                name: [keys, scripts] if role[0] == b"master" else [scripts]
                for name, role in self._roles().items()
            }
        )
        self.wait_until_caught_up()

    def wait_until_caught_up(self, timeout: float | None = None) -> None:
        """Wait until all replicas that answer have all that their masters have now.

        Arguments:
            timeout: the time limit in seconds; None: the setup's.

        Raises:
            TimeoutError: they have not in time.
        """
        # ROLE of a master: its offset comes second; of a replica: host, port, state of the link, offset.
        roles = self._roles()
        offsets = {str(self._ports[name]): role[1] for name, role in roles.items() if role[0] == b"master"}
        waiting = [
            name
            for name, role in roles.items()
            if role[0] == b"slave" and role[2:3] and str(role[2]) in offsets
        ]

        def behind() -> str:
            now = self._roles()
            for name in waiting:
                role = now.get(name, [b""])
                if role[0] == b"slave" and role[4] < offsets.get(str(role[2]), 0):
                    return f"server {name} is behind"
            return ""

        self._wait_while(behind, "replicas to catch up", timeout)

    def _data_servers(self) -> list[str]:
        """Return the names of the servers that have data."""
        return self._names()

    def _roles(self) -> dict[str, list[Any]]:
        """Return the replies to ROLE of all servers with data that answer."""
        return {name: role for name, (role,) in self._ask(self._data_servers(), ("ROLE",)).items()}

    def _ask(self, names: Iterable[str], *commands: tuple[Word, ...]) -> dict[str, list[Any]]:
        """Return the replies of those servers that answer, by name."""
        answering = set(self._answering())
        found = {}
        for name in names:
            if name in answering:
                try:
                    with self._control(name) as control:
                        control.send(*commands)
                        replies = [control.receive() for _ in commands]
                except OSError:
                    # It has ended just now, or somebody else has paused it.
                    continue
                if not any(isinstance(reply, ErrorReply) for reply in replies):
                    found[name] = replies
        return found

    def _tell(self, server: Server, *commands: tuple[Word, ...]) -> list[Any]:
        """Send a server commands, all at once, and return the replies.

        Raises:
            RuntimeError: the server does not answer, or replies an error.
        """
        name = self._name(server)
        if name not in self._answering():
            raise RuntimeError(f"Server {name} does not run, or is paused.")
        try:
            with self._control(name) as control:
                control.send(*commands)
                replies = [control.receive() for _ in commands]
        except OSError as error:
            raise RuntimeError(f"Server {name} does not answer: {error}") from error
        for reply in replies:
            if isinstance(reply, ErrorReply):
                raise RuntimeError(f"Server {name} replies an error: {reply}")
        return replies

    def _wait_while(self, trouble: Callable[[], str], what: str, timeout: float | None = None) -> None:
        """Wait for `what` until `trouble` is an empty text; the TimeoutError has the last one."""
        last = ""

        def over() -> bool:
            nonlocal last
            last = trouble()
            return not last

        try:
            wait_for(over, what, self.timeout if timeout is None else timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error} ({last})") from None

    def _replication_lines(self) -> list[str]:
        """Return how a server logs in as a replica of another."""
        lines = ["tls-replication yes"] if self._tls else []
        if self._username is not None:
            lines.append(f"masteruser {quoted(self._username)}")
        if self._password is not None:
            lines.append(f"masterauth {quoted(self._password)}")
        return lines

    def _free_port(self, name: str) -> int:
        for _ in range(1000):
            port = random.SystemRandom().choice(PORTS)
            if port not in self._ports.values() and all(map(_is_free, (port, port + BUS))):
                return port
        raise RuntimeError(f"There is no free port from {PORTS[0]} to {PORTS[-1]}.")


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
