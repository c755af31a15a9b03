"""Hosts whose clients are not pindb's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from pindb._forks import watch_forks
from pindb.redis.core.options import check_names, keywords, shown
from pindb.redis.exceptions import ClusterConfigError, HostConnectionError, HostTimeoutError
from pindb.redis.facade.backend import BaseBackend, ClusterSettings
from pindb.redis.facade.cluster import RoutedCluster, follow
from pindb.redis.facade.connections import ConnectionCluster

__all__ = ["BaseConnection"]

Connection = TypeVar("Connection", bound="BaseConnection")

#: The clients of the process that this one was forked from. Kept: at their end, some would say goodbye to
#: the server on sockets that the other process uses.
_inherited: list[Any] = []


class BaseConnection(BaseBackend):
    """One host of a cluster, and the backend for its kind of server. A site's own overrides `connect`.

    Its methods are those that a subclass adds, and the client's, which is made at the first use, anew in a
    forked process, and has to be safe under threads.

    Arguments:
        num: its number in the cluster.
        identifier: what it is called on a hash ring. A subclass that has no other name for its hosts passes
            None, and they are called by their numbers.

    Attributes:
        num: as given.
        network_errors: what the client raises when the server cannot be reached, or breaks off.
        refused_errors: those of them after which nothing can have been sent. An error with an attribute
            ``sent`` says itself whether something was.
    """

    network_errors: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    refused_errors: ClassVar[tuple[type[Exception], ...]] = (ConnectionRefusedError, socket.gaierror)

    def __init__(self, num: int, identifier: str | None = None) -> None:
        self.num = num
        self.name = identifier
        self._connection: Any = None
        self._connecting = threading.Lock()
        watch_forks(self)

    def connect(self) -> Any:
        """Make the client. What it raises of `network_errors` counts as refused."""
        raise NotImplementedError(f"{type(self).__name__} must override connect().")

    def close(self, connection: Any) -> None:
        """Close the connections of a client that `connect` made."""
        connection.close()

    @property
    def address(self) -> str:
        """Where it is, without secrets; what it is called on a hash ring where it has no ``name``."""
        return f"{type(self).__name__.lower()}://{self.num}"

    @property
    def identifier(self) -> str:
        """What it is called on a hash ring."""
        return self.name or self.address

    @property
    def connection(self) -> Any:
        """The client."""
        connection = self._connection
        if connection is None:
            with self._connecting:
                connection = self._connection
                if connection is None:
                    connection = self._connection = self.connect()
        # Another thread may disconnect in the meantime.
        return connection

    def disconnect(self) -> None:
        """Close the client's connections; a new client is made when one is needed."""
        with self._connecting:
            connection, self._connection = self._connection, None
        if connection is not None:
            self.close(connection)

    def _after_fork(self) -> None:
        """Leave the client to the process that this one was forked from: its sockets are that one's too."""
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None
        # Whoever held it is a thread of the other process.
        self._connecting = threading.Lock()

    def __str__(self) -> str:
        return f"host {self.num} ({self.address})"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.connection, name)

    def call(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method of the client, by its dotted path.

        Raises:
            HostConnectionError, HostTimeoutError: one of `network_errors`, with the host named.
        """
        refused: tuple[type[Exception], ...] = self.network_errors
        try:
            method = follow(self if self._has(path) else self.connection, path)
            refused = self.refused_errors
            return method(*args, **kwargs)
        except self.network_errors as error:
            kind = HostTimeoutError if isinstance(error, TimeoutError) else HostConnectionError
            lost = kind(f"{self}: {str(error) or type(error).__name__}")
            lost.sent = getattr(error, "sent", not isinstance(error, refused))
            raise lost from error

    def _has(self, path: str) -> bool:
        """Whether a call is for a method that a subclass has added, and not for the client."""
        name = path.partition(".")[0]
        return callable(getattr(type(self), name, None)) and not hasattr(BaseConnection, name)

    @classmethod
    def make_cluster(cls, settings: ClusterSettings) -> RoutedCluster:
        if hasattr(cls, "retryable_exceptions") and cls.network_errors is BaseConnection.network_errors:
            raise ClusterConfigError(
                f"The backend {cls.__name__} has retryable_exceptions, which are Nydus's. Write "
                "network_errors, a tuple of the exceptions after which a host counts as down, and "
                "refused_errors, those of them after which nothing can have been sent: only after these, a "
                "call goes to another host."
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
        """A host from its options.

        Raises:
            ClusterConfigError: they are not what it takes.
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
            raise ClusterConfigError(f"Host {host_id}: its options do not fit: {error}") from error

    @classmethod
    def host_options(cls) -> frozenset[str] | None:
        """The names of a host's options: the arguments of the class; None where it takes any."""
        return keywords(cls, 1)
