"""Servers that know nothing of each other, and pindb's clusters of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pindb.testing.redis._servers import RedisServers

if TYPE_CHECKING:
    import redis

    from pindb.redis import Cluster


class TestSetup(RedisServers[int]):
    """Redis servers on Unix sockets, or on free ports of 127.0.0.1.

    Creating the object starts the servers, in well under a second. They end with `close`, with the ``with``
    block of the object, or with the process, however that ends. Any number of setups can run at once. Servers
    are numbered from 0. They store nothing on disk: a restarted server is empty.

    Several threads may use a setup, as long as they do not start or stop the same server.

    Arguments:
        servers: the number of servers.
        databases_each: the number of databases per server; each is a host of the cluster.
        server_executable: the path of a ``redis-server`` or ``valkey-server``; None: see `find_server`.
        tcp: listen on ports of 127.0.0.1 instead of Unix sockets.
        tls: listen on ports with TLS. Makes a certificate with the program ``openssl``, and the hosts trust
            only that.
        username: the only user who can log in. Needs a password.
        password: the password of this user; without `username`, the password of the server.
        configuration: additional directives for the servers' configuration file, by name.
        timeout: the time limit for a server to start or stop, in seconds.

    Attributes:
        servers: the number of servers.
        databases_each: the number of databases per server.
        executable: the path of the server program.
        version: the version of the server, for example ``(7, 0, 15)``.
        hosts: settings of all hosts for `pindb.redis.Cluster`, by host id: first the databases of the first
            server, then those of the second server, and so on.

    Raises:
        ValueError: an argument is invalid.
        RuntimeError: there is no server program, it was built without TLS, or it did not start.
    """

    _not_running = "This TestSetup is closed."

    # pytest collects classes whose names begin with "Test".
    __test__ = False

    def __init__(
        self,
        servers: int = 4,
        databases_each: int = 8,
        server_executable: str | os.PathLike[str] | None = None,
        *,
        tcp: bool = False,
        tls: bool = False,
        username: str | None = None,
        password: str | None = None,
        configuration: Mapping[str, str] | None = None,
        timeout: float = 20,
    ) -> None:
        if servers < 1:
            raise ValueError(f"servers is {servers}. Write 1 or more.")
        if databases_each < 1:
            raise ValueError(f"databases_each is {databases_each}. Write 1 or more.")
        self.servers = servers
        self.databases_each = databases_each
        super().__init__(
            server_executable,
            tcp=tcp,
            tls=tls,
            username=username,
            password=password,
            configuration=configuration,
            timeout=timeout,
        )
        self._open_folder()

    def __repr__(self) -> str:
        where = "closed" if self._folder is None else str(self._folder.path)
        return f"<TestSetup servers={self.servers} databases_each={self.databases_each} {where}>"

    def _start_all(self) -> None:
        self._start_new(self._names())

    def _names(self) -> list[str]:
        return [str(server) for server in range(self.servers)]

    def _name(self, server: int) -> str:
        if server not in range(self.servers):
            raise ValueError(f"There is no server {server!r}. Write a number from 0 to {self.servers - 1}.")
        return str(server)

    def _lines(self, name: str) -> list[str]:
        return [f"databases {self.databases_each}"]

    def _socket(self, server: int) -> Path:
        return self._path(self._name(server), ".sock")

    # ---- addresses -----------------------------------------------------------------------------

    @property
    def hosts(self) -> dict[int, dict[str, Any]]:
        """The settings of all hosts by id: one host per database of each server."""
        pairs = ((server, db) for server in range(self.servers) for db in range(self.databases_each))
        return {host_id: self.host(server, db) for host_id, (server, db) in enumerate(pairs)}

    def host(self, server: int, db: int = 0) -> dict[str, Any]:
        """Return the settings of a server's database, for `pindb.redis.Cluster` and its `add_host`."""
        return {"db": db, **self._address(self._name(server))}

    def client(self, server: int, db: int = 0, **options: Any) -> redis.Redis:
        """Return a redis-py client of a server's database, without retries.

        Arguments:
            server: the number of the server.
            db: the number of the database.
            options: keyword arguments for `redis.Redis`, for example ``decode_responses=True``.

        Raises:
            RuntimeError: redis-py is not installed.
        """
        return self._client(self.host(server, db), options)

    def make_cluster(self, **options: Any) -> Cluster:
        """Return a cluster of all `hosts`.

        Arguments:
            options: keyword arguments for `pindb.redis.Cluster`.
        """
        from pindb.redis import Cluster

        return Cluster(self.hosts, **options)

    def flush(self) -> None:
        """Delete all keys and scripts on all running servers."""
        running = filter(self._running_folder().is_running, self._names())
        self._flush({name: [("FLUSHALL",), ("SCRIPT", "FLUSH")] for name in running})


@contextlib.contextmanager
def make_test_cluster(
    *args: Any, cluster_options: Mapping[str, Any] | None = None, **kwargs: Any
) -> Iterator[Cluster]:
    """Start servers, and return a cluster of them: ``with make_test_cluster() as cluster:``.

    Arguments:
        args, kwargs: arguments for `TestSetup`.
        cluster_options: keyword arguments for `pindb.redis.Cluster`.
    """
    with TestSetup(*args, **kwargs) as setup:
        cluster = setup.make_cluster(**(cluster_options or {}))
        try:
            yield cluster
        finally:
            cluster.disconnect_pools()
