"""Cassandra backend of `create_cluster`, on DataStax's driver, which chooses hosts itself."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pindb.redis.backends.connection import BaseConnection
from pindb.redis.core.options import check_names, keywords, shown
from pindb.redis.exceptions import ClusterConfigError, HostConnectionError
from pindb.redis.facade.backend import ClusterSettings
from pindb.redis.facade.connection_cluster import ConnectionCluster
from pindb.redis.topology.hosts import check_host

try:
    from cassandra import UnresolvableContactPoints
    from cassandra.cluster import Cluster, NoHostAvailable, Session
except ImportError as error:
    raise ImportError(
        'The backend "cassandra" needs cassandra-driver: pip install "django-pindb[cassandra]"'
    ) from error

__all__ = ["Cassandra", "CassandraCluster"]


class Cassandra(BaseConnection):
    """Backend for Cassandra, and the single connection of its clusters: a `cassandra.cluster.Session`.

    The settings are ``hosts``, ``keyspace`` and the arguments of `cassandra.cluster.Cluster`. The hosts are
    contact points, as addresses or as dicts with a ``host``: the driver discovers all other hosts from them.

    Arguments:
        hosts: the addresses.
        keyspace: the default keyspace of the session.
        options: keyword arguments for the driver's ``Cluster``.

    Attributes:
        cluster_class: the driver's ``Cluster``, or a subclass of it.
    """

    more_settings = None
    routes = False
    network_errors = (NoHostAvailable,)
    refused_errors = ()
    cluster_class: ClassVar[Any] = Cluster

    def __init__(self, hosts: Sequence[str], keyspace: str | None = None, **options: Any) -> None:
        super().__init__(0)
        # With underscores: __setattr__() refuses the names of the session's attributes.
        self._addresses = list(hosts)
        self._keyspace = keyspace
        self._options = options

    @property
    def address(self) -> str:
        return f"cassandra://{','.join(self._addresses)}/{self._keyspace or ''}"

    def __str__(self) -> str:
        return self.address

    def __setattr__(self, name: str, value: Any) -> None:
        _check_settable(name)
        super().__setattr__(name, value)

    def connect(self) -> Any:
        cluster = None
        try:
            cluster = self.cluster_class(self._addresses, **self._options)
            return cluster.connect(self._keyspace)
        except BaseException as error:
            if cluster is not None:
                # The driver's cluster has started threads.
                cluster.shutdown()
            if not isinstance(error, (NoHostAvailable, UnresolvableContactPoints)):
                raise
            lost = HostConnectionError(f"{self}: {type(error).__name__}: {error}")
            lost.sent = False
            raise lost from error

    def close(self, connection: Any) -> None:
        connection.cluster.shutdown()

    @classmethod
    def make_cluster(cls, settings: ClusterSettings) -> CassandraCluster:
        options = dict(settings.more)
        known = keywords(cls.cluster_class, 1)
        if known is not None:
            check_names("The cluster", options, known | {"backend", "engine", "hosts", "keyspace"})
        keyspace = options.pop("keyspace", None)
        if keyspace is not None and not (isinstance(keyspace, str) and keyspace):
            raise ClusterConfigError(f"keyspace is {shown(keyspace)}. Write the name of a keyspace, or None.")
        hosts = [_address(host_id, host) for host_id, host in settings.hosts.items()]
        return CassandraCluster({0: cls(hosts, keyspace, **options)}, settings)


class CassandraCluster(ConnectionCluster):
    """Cassandra session as a cluster, with the methods and attributes of both.

    It has a single host, with the id 0. Calls are made immediately, also in a map.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._hosts[0]}>"

    def __getattr__(self, name: str) -> Any:
        super().__getattr__(name)  # Refuses private names.
        if callable(getattr(Session, name, None)):
            return lambda *args, **kwargs: self.call([0], name, args, kwargs)
        return getattr(self._hosts[0].connection, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _check_settable(name)
        super().__setattr__(name, value)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Execute a statement: ``cluster.execute("SELECT * FROM users WHERE id = %s", [1])``."""
        return self.call([0], "execute", args, kwargs)

    def map(self, workers: int | None = None, fail_silently: bool = False) -> Any:
        """Return a block for the sake of other clusters' interface: its calls are made immediately.

        Arguments:
            workers, fail_silently: have no effect.
        """
        return contextlib.nullcontext(self)


def _address(host_id: int, host: Any) -> str:
    if isinstance(host, Mapping):
        check_names(f"Host {host_id}", host, frozenset({"host", "host_id"}))
        host = host.get("host")
    if not (isinstance(host, str) and host):
        raise ClusterConfigError(
            f"Host {host_id} has the address {shown(host)}. Write a name or an IP address: '10.0.0.1'."
        )
    check_host(host_id, host)
    return host


def _check_settable(name: str) -> None:
    """Raise `AttributeError` for attributes of the session: a value would be lost with the session."""
    if not name.startswith("_") and hasattr(Session, name):
        raise AttributeError(
            f"{name} cannot be set, since a fork and disconnect() make a new session. Write an argument of "
            "cassandra.cluster.Cluster into the settings of the cluster, for example execution_profiles."
        )
