"""Servers behind Sentinel: masters, their replicas, and the sentinels that watch them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pindb.testing.redis._replication import ReplicatedServers
from pindb.testing.redis._servers import quoted

PREFIX = "sentinel-"

# Periods of sentinels in milliseconds, which can be set since Redis 7.0. With their own ones, a server that
# comes back is a master for eight seconds, and a sentinel that was paused does nothing for half a minute.
PERIODS = {
    "info-period": 200,
    # Four of these after a replica has said that it is a master, sentinels make it a replica again, unless
    # they have heard of a failover; and the one that leads the failover asks replicas once a second only.
    "publish-period": 500,
    "tilt-period": 1000,
}

#: Flags of a server or sentinel that a sentinel does not reach, or does not know.
DOWN = frozenset(["s_down", "o_down", "disconnected", "unknown"])


class SentinelSetup(ReplicatedServers["int | str"]):
    """Redis servers behind Sentinel, on free ports of 127.0.0.1: services of a master and its replicas each.

    Creating the object starts the servers and the sentinels, and waits until they know each other: about a
    second, or three with Redis 6.2. They end with `close`, with the ``with`` block of the object, or with the
    process, however that ends. Any number of setups can run at once.

    The services are called ``"shard0"``, ``"shard1"`` and so on. Servers are numbered from 0: first those of
    ``"shard0"``, its first master before its replicas, then those of the next service. Sentinels are called
    ``"sentinel-0"``, ``"sentinel-1"`` and so on; methods that take a server take either. A server keeps its
    number when it changes its role. Data are in memory only: a server that restarts is empty.

    A master that is killed or paused is replaced after one to two seconds, if the majority of the sentinels
    runs.

    Several threads may use a setup, as long as they do not change the same server.

    Arguments:
        replicas: the number of replicas of each master.
        sentinels: the number of sentinels.
        services: the number of masters.
        server_executable: the path of a ``redis-server`` or ``valkey-server``; None: see `find_server`.
        tls: listen with TLS, also between servers. Makes a certificate with the program ``openssl``.
        username: the only user who can log in to the masters and replicas. Needs a password.
        password: the password of this user; without `username`, the password of masters and replicas.
        sentinel_password: the password of the sentinels.
        configuration: additional directives for the configuration file of masters and replicas, by name.
        down_after: how long a server may be silent before a sentinel takes it for down, in seconds. On a very
            busy machine, shorter times lead to failovers that no test asked for.
        failover_timeout: how long the parts of a failover may take, in seconds.
        timeout: the time limit for a server to start or stop and for the sentinels to agree, in seconds.

    Attributes:
        services: the names of the services.
        executable: the path of the server program.
        version: the version of the server, for example ``(7, 0, 15)``.

    Raises:
        ValueError: an argument is invalid.
        RuntimeError: there is no server program, it was built without TLS, or it did not start.
        TimeoutError: the sentinels did not agree in time.
    """

    _not_running = "This SentinelSetup is closed."

    def __init__(
        self,
        replicas: int = 2,
        sentinels: int = 3,
        services: int = 1,
        server_executable: str | os.PathLike[str] | None = None,
        *,
        tls: bool = False,
        username: str | None = None,
        password: str | None = None,
        sentinel_password: str | None = None,
        configuration: Mapping[str, str] | None = None,
        down_after: float = 0.5,
        failover_timeout: float = 3.0,
        timeout: float = 20,
    ) -> None:
        for name, number, least in (
            ("replicas", replicas, 0),
            ("sentinels", sentinels, 1),
            ("services", services, 1),
        ):
            if number < least:
                raise ValueError(f"{name} is {number}. Write {least} or more.")
        for name, seconds in (("down_after", down_after), ("failover_timeout", failover_timeout)):
            if seconds <= 0:
                raise ValueError(f"{name} is {seconds}. Write seconds, more than 0.")
        words = {"username": username, "password": password, "sentinel_password": sentinel_password}
        for name, word in words.items():
            if re.search(r"[\s\"'\\]", word or ""):
                raise ValueError(
                    f"{name} has a space, a quote or a backslash, which sentinels cannot read back from "
                    "their files. Write one without."
                )
        self.services = tuple(f"shard{number}" for number in range(services))
        self._down_after = down_after
        self._failover_timeout = failover_timeout
        self._sentinel_password = sentinel_password
        self._sentinels = [f"{PREFIX}{number}" for number in range(sentinels)]
        self._each = 1 + replicas
        super().__init__(
            server_executable,
            tcp=True,
            tls=tls,
            username=username,
            password=password,
            configuration=configuration,
            timeout=timeout,
        )
        self._open_folder()

    def __repr__(self) -> str:
        where = "closed" if self._folder is None else str(self._folder.path)
        return (
            f"<SentinelSetup services={len(self.services)} servers={len(self._data_servers())} "
            f"sentinels={len(self._sentinels)} {where}>"
        )

    # ---- life ----------------------------------------------------------------------------------

    def _start_all(self) -> None:
        servers = self._data_servers()
        masters = servers[:: self._each]
        # One kind after the other: their files have the ports of those before.
        self._start_new(masters)
        replicas = [server for server in servers if server not in masters]
        if replicas:
            self._start_new(replicas)
            self._wait_while(self._unconnected, "the replicas to connect")
        self._start_new(self._sentinels)
        self.wait_until_ok()

    def _unconnected(self) -> str:
        for name, role in self._roles().items():
            if role[0] == b"slave" and role[3] != b"connected":
                return f"server {name} is not connected to its master"
        return ""

    def _names(self) -> list[str]:
        return [*self._data_servers(), *self._sentinels]

    def _data_servers(self) -> list[str]:
        return [str(server) for server in range(len(self.services) * self._each)]

    def _name(self, server: int | str) -> str:
        servers = len(self._data_servers())
        if server not in range(servers) and server not in self._sentinels:
            raise ValueError(
                f"There is no server {server!r}. Write a number from 0 to {servers - 1}, "
                f"or a name from {self._sentinels[0]!r} to {self._sentinels[-1]!r}."
            )
        return str(server)

    def _wait(self, name: str, *, new: bool = False) -> None:
        super()._wait(name, new=new)
        if name in self._sentinels and self.version >= (7, 0):
            words = [str(word) for pair in PERIODS.items() for word in pair]
            self._tell(name, ("SENTINEL", "DEBUG", *words))

    def _command(self, name: str) -> list[str | Path]:
        return [*super()._command(name), *(["--sentinel"] if name in self._sentinels else [])]

    def _login(self, name: str) -> list[str]:
        if name in self._sentinels:
            return [] if self._sentinel_password is None else [self._sentinel_password]
        return super()._login(name)

    def _directives(self, name: str) -> Mapping[str, str]:
        return {} if name in self._sentinels else super()._directives(name)

    def _lines(self, name: str) -> list[str]:
        if name not in self._sentinels:
            master = self._first(name)
            replicates = [] if name == master else [f"replicaof 127.0.0.1 {self._ports[master]}"]
            return [*self._replication_lines(), *replicates]
        lines = ["sentinel announce-ip 127.0.0.1", *(["tls-replication yes"] if self._tls else [])]
        if self._sentinel_password is not None:
            lines.append(f"sentinel sentinel-pass {quoted(self._sentinel_password)}")
        for service in self.services:
            lines += self._watch(service, self._sentinels.index(name))
        return lines

    def _watch(self, service: str, number: int) -> list[str]:
        """Return the lines by which a sentinel, by its number, watches a service."""
        port = self._ports[self._servers(service)[0]]
        settings = {
            # Sentinels that all stand for election at the same moment elect nobody for some seconds.
            "down-after-milliseconds": round(self._down_after * 1000) + 100 * number,
            "failover-timeout": round(self._failover_timeout * 1000),
            "parallel-syncs": self._each,
        }
        login = {
            "auth-user": self._username,
            "auth-pass": self._password,
        }
        return [
            f"sentinel monitor {service} 127.0.0.1 {port} {len(self._sentinels) // 2 + 1}",
            *(f"sentinel {name} {service} {value}" for name, value in settings.items()),
            *(
                f"sentinel {name} {service} {quoted(word)}"
                for name, word in login.items()
                if word is not None
            ),
        ]

    # ---- addresses -----------------------------------------------------------------------------

    @property
    def sentinels(self) -> list[tuple[str, int]]:
        """The addresses of the sentinels: host and port."""
        self._running_folder()
        return [("127.0.0.1", self._ports[name]) for name in self._sentinels]

    # ---- state ---------------------------------------------------------------------------------

    def master(self, service: str = "shard0") -> int:
        """Return the number of the master that a service has now, as the sentinels say; down or not.

        Raises:
            ValueError: there is no such service.
            RuntimeError: no sentinel answers.
        """
        self._servers(service)
        replies = self._ask(
            self._sentinels,
            ("SENTINEL", "MASTER", service),
            ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service),
        )
        if not replies:
            raise RuntimeError("No sentinel answers. Start or resume one.")
        # The sentinel that knows of the latest failover.
        _, address = max(replies.values(), key=lambda reply: int(_fields(reply[0])["config-epoch"]))
        return self._server(address[1].decode())

    def replicas(self, service: str = "shard0") -> list[int]:
        """Return the numbers of the replicas that a service has now, as the sentinels say; down or not."""
        master = self.master(service)
        return [int(name) for name in self._servers(service) if int(name) != master]

    def wait_until_ok(self, service: str | None = None, timeout: float | None = None) -> None:
        """Wait until services are well.

        That is: all sentinels know each other, agree on the master and find all servers up, and all servers
        but the master are connected to it as replicas. Servers and sentinels that do not run or are paused
        are left out.

        Arguments:
            service: the name of a service; None: all.
            timeout: the time limit in seconds; None: the setup's.

        Raises:
            TimeoutError: they were not well in time; the message says why.
        """
        for name in self.services if service is None else [service]:
            self._servers(name)
            self._wait_while(lambda name=name: self._trouble(name), f"{name} to be ok", timeout)  # type: ignore[misc]

    def wait_for_new_master(self, server: int, timeout: float | None = None) -> int:
        """Wait until a replica has taken the place of a master, and the service is well.

        Returns at once if that has happened before.

        Arguments:
            server: the number of the master that was killed, stopped or paused.
            timeout: the time limit in seconds; None: the setup's.

        Returns:
            The number of the new master.

        Raises:
            TimeoutError: there was no new master in time.
        """
        self._name(server)
        service = self.services[server // self._each]
        self._wait_while(
            lambda: "" if self.master(service) != server else "the sentinels have elected no other",
            f"a new master in the place of server {server}",
            timeout,
        )
        self.wait_until_ok(service, timeout)
        return self.master(service)

    # ---- changes -------------------------------------------------------------------------------

    def fail_over(self, service: str = "shard0") -> int:
        """Let a sentinel make a replica the master of a service, and wait until the service is well.

        Writes of the last moment may be lost: Sentinel asks the master for nothing.

        Returns:
            The number of the new master.

        Raises:
            ValueError: there is no such service.
            RuntimeError: no sentinel answers, or it refuses: there is no replica to choose, for example.
            TimeoutError: it did not become the master in time.
        """
        before = self.master(service)
        sentinel = next(name for name in self._answering() if name in self._sentinels)
        self._tell(sentinel, ("SENTINEL", "FAILOVER", service))
        return self.wait_for_new_master(before)

    # ---- what the sentinels say ----------------------------------------------------------------

    def _servers(self, service: str) -> list[str]:
        """Return the names of a service's servers, the first master first."""
        if service not in self.services:
            names = ", ".join(map(repr, self.services))
            raise ValueError(f"There is no service {service!r}. Write one of {names}.")
        number = self.services.index(service)
        return self._data_servers()[number * self._each :][: self._each]

    def _first(self, name: str) -> str:
        return str(int(name) // self._each * self._each)

    def _server(self, port: str) -> int:
        return next(int(name) for name in self._data_servers() if str(self._ports[name]) == port)

    def _trouble(self, service: str) -> str:
        """Return why a service is not well; an empty text if it is."""
        answering = self._answering()
        sentinels = [name for name in self._sentinels if name in answering]
        if not sentinels:
            return "no sentinel answers"
        words = ("MASTER", "REPLICAS", "SENTINELS", "GET-MASTER-ADDR-BY-NAME")
        replies = self._ask(sentinels, *(("SENTINEL", word, service) for word in words))
        masters = {address[1].decode() for _, _, _, address in replies.values()}
        if len(masters) != 1:
            return f"the sentinels say different masters: {sorted(masters)}"
        (port,) = masters
        master = str(self._server(port))
        if master not in answering:
            return f"the master is server {master}, which does not answer"
        others = [name for name in self._servers(service) if name in answering and name != master]
        for name in sentinels:
            if name not in replies:
                return f"{name} does not answer"
            view, replicas, peers, _ = replies[name]
            flags = _fields(view)["flags"]
            if flags != "master":
                return f"{name} says about the master: {flags}"
            if len(peers) != len(self._sentinels) - 1:
                return f"{name} knows {len(peers)} other sentinels"
            known = {fields["port"]: fields for fields in map(_fields, [*replicas, *peers])}
            for other in {*others, *sentinels} - {name}:
                flags = known.get(str(self._ports[other]), {"flags": "unknown"})["flags"]
                if DOWN & {*flags.split(",")}:
                    return f"{name} says about server {other}: {flags}"
        roles = self._roles()
        for name in others:
            role = roles.get(name, [b"down"])
            if role[0] != b"slave" or str(role[2]) != port or role[3] != b"connected":
                return f"server {name} is not a replica of server {master}"
        return "" if roles.get(master, [b"down"])[0] == b"master" else f"server {master} is not a master yet"


def _fields(reply: list[bytes]) -> dict[str, str]:
    """Read a reply that has names and values in turn."""
    words = [word.decode() for word in reply]
    return dict(zip(words[::2], words[1::2], strict=True))
