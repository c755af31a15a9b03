"""Base class of backends on clients of any kind."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from pindb._forks import Lock, watch_forks
from pindb.redis.core.options import check_names, keywords, shown
from pindb.redis.exceptions import ClusterConfigError, HostConnectionError, HostTimeoutError
from pindb.redis.facade.backend import BaseBackend, ClusterSettings
from pindb.redis.facade.cluster import RoutedCluster, get_by_path
from pindb.redis.facade.connection_cluster import ConnectionCluster

__all__ = ["BaseConnection"]

Connection = TypeVar("Connection", bound="BaseConnection")

#: Clients inherited by a fork. They are never deleted, because some clients send a farewell when they are, on
#: sockets that the parent process is using.
_inherited: list[Any] = []


class BaseConnection(BaseBackend):
    """Host of a cluster, and the backend for its kind of server. Custom backends override `connect`.

    It has the methods of its client, and those that a subclass adds. The client is made at the first use, and
    again in a forked process. It has to be safe under threads.

    Arguments:
        num: the id of the host in the cluster.
        identifier: the name on a hash ring; None: the `address`.

    Attributes:
        num: as given.
        network_errors: the client's exceptions for a server that cannot be reached, or has closed the
            connection.
        refused_errors: the exceptions among them after which certainly nothing was sent, so that the call may
            go to another host. If an exception has an attribute ``sent``, that counts instead.
    """

    network_errors: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    refused_errors: ClassVar[tuple[type[Exception], ...]] = (ConnectionRefusedError, socket.gaierror)

    def __init__(self, num: int, identifier: str | None = None) -> None:
        self.num = num
        self.name = identifier
        self._connection: Any = None
        self._connect_lock = Lock()
        watch_forks(self)

    def connect(self) -> Any:
        """Make the client. Any of `network_errors` raised here counts as a refused connection."""
        raise NotImplementedError(f"{type(self).__name__} must override connect().")

    def close(self, connection: Any) -> None:
        """Close the connections of a client that `connect` made."""
        connection.close()

    @property
    def address(self) -> str:
        """The address, without secrets; the name on a hash ring if no `identifier` was given."""
        return f"{type(self).__name__.lower()}://{self.num}"

    @property
    def identifier(self) -> str:
        """The name on a hash ring."""
        return self.name or self.address

    @property
    def connection(self) -> Any:
        """The client, made at the first use."""
        connection = self._connection
        if connection is None:
            with self._connect_lock.get():
                connection = self._connection
                if connection is None:
                    connection = self._connection = self.connect()
        # The local variable: another thread may call disconnect() meanwhile.
        return connection

    def disconnect(self) -> None:
        """Close the connections of the client. The next call makes a new client."""
        with self._connect_lock.get():
            connection, self._connection = self._connection, None
        if connection is not None:
            self.close(connection)

    def _after_fork(self) -> None:
        """Leave the client to the parent process, which shares its sockets."""
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None

    def __str__(self) -> str:
        return f"host {self.num} ({self.address})"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.connection, name)

    def call(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method of the client by its dotted path.

        Raises:
            HostConnectionError, HostTimeoutError: any of `network_errors`; the message names the host.
        """
        refused: tuple[type[Exception], ...] = self.network_errors
        try:
            method = get_by_path(self if self._has(path) else self.connection, path)
            refused = self.refused_errors
            return method(*args, **kwargs)
        except self.network_errors as error:
            kind = HostTimeoutError if isinstance(error, TimeoutError) else HostConnectionError
            lost = kind(f"{self}: {str(error) or type(error).__name__}")
            lost.sent = getattr(error, "sent", not isinstance(error, refused))
            raise lost from error

    def _has(self, path: str) -> bool:
        """Whether a path names a method that a subclass has added, rather than one of the client."""
        name = path.partition(".")[0]
        return callable(getattr(type(self), name, None)) and not hasattr(BaseConnection, name)

    @classmethod
    def make_cluster(cls, settings: ClusterSettings) -> RoutedCluster:
        if hasattr(cls, "retryable_exceptions") and cls.network_errors is BaseConnection.network_errors:
            raise ClusterConfigError(
                f"The backend {cls.__name__} has retryable_exceptions, an attribute of Nydus. Write "
                "network_errors, a tuple of the exceptions after which a host counts as down, and "
                "refused_errors, those among them after which nothing was sent, so that the call may go to "
                "another host."
            )
        return ConnectionCluster(
            {
                host_id: cls.from_config(host_id, config, settings.defaults)
                for host_id, config in settings.hosts.items()
            },
            settings,
        )

    @classmethod
    def from_config(
        cls: type[Connection], host_id: int, config: Any, defaults: Mapping[str, Any]
    ) -> Connection:
        """Make a host from its options.

        Raises:
            ClusterConfigError: an option is unknown, or its value is invalid.
        """
        if not isinstance(config, Mapping):
            raise ClusterConfigError(f"Host {host_id} is {shown(config)}. Write a dict: {{'host': ...}}.")
        options = {**defaults, **config}
        options.pop("host_id", None)
        known = cls.host_options()
        if known is not None:
            check_names(f"Host {host_id}", options, known)
        try:
            return cls(host_id, **options)
        except TypeError as error:
            raise ClusterConfigError(f"Host {host_id} has invalid options: {error}") from error

    @classmethod
    def host_options(cls) -> frozenset[str] | None:
        """Return the names of a host's options, which are the arguments of the class; None: any name."""
        return keywords(cls, 1)
