"""Cassandra behind `create_cluster`, by DataStax's driver, which finds its way to the hosts itself."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pindb.redis.backends.connection import BaseConnection
from pindb.redis.core.options import check_names, keywords, shown
from pindb.redis.exceptions import ClusterConfigError, HostConnectionError
from pindb.redis.facade.backend import ClusterSettings
from pindb.redis.facade.connections import ConnectionCluster
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
    """The backend for Cassandra, and the one connection of its clusters: a `cassandra.cluster.Session`.

    Its settings are ``hosts``, ``keyspace`` and the arguments of `cassandra.cluster.Cluster`. The hosts are
    addresses, or dicts with a ``host``, which the driver asks for all others.

    Arguments:
        hosts: the addresses.
        keyspace: what the session's statements are for where they do not say.
        options: arguments for the driver's ``Cluster``, by name.

    Attributes:
        cluster_class: the driver's ``Cluster``, or what a site has derived from it.
    """

    more_settings = None
    routes = False
    network_errors = (NoHostAvailable,)
    refused_errors = ()
    cluster_class: ClassVar[Any] = Cluster

    def __init__(self, hosts: Sequence[str], keyspace: str | None = None, **options: Any) -> None:
        super().__init__(0)
        # Not the names that the session has.
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
                # It has threads.
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
            raise ClusterConfigError(f"keyspace is {shown(keyspace)}. Write its name, or None.")
        hosts = [_address(host_id, host) for host_id, host in settings.hosts.items()]
        return CassandraCluster({0: cls(hosts, keyspace, **options)}, settings)


class CassandraCluster(ConnectionCluster):
    """A session of Cassandra's, with its methods and attributes beside those of all clusters.

    From outside it is a cluster of one host with the id 0. Calls are made at once, those in a map too.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._hosts[0]}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
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
        """A block whose calls are made at once and return plain results; their errors are raised there.

        Arguments:
            workers, fail_silently: as other clusters take them; without effect.
        """
        return contextlib.nullcontext(self)


def _address(host_id: int, host: Any) -> str:
    if isinstance(host, Mapping):
        check_names(f"Host {host_id}", host, frozenset({"host", "host_id"}))
        host = host.get("host")
    if not (isinstance(host, str) and host):
        raise ClusterConfigError(
            f"Host {host_id} has the address {shown(host)}. Write '10.0.0.1', or its name."
        )
    check_host(host_id, host)
    return host


def _check_settable(name: str) -> None:
    """Raise `AttributeError` for what the session has: it would be lost, or not get there at all."""
    if not name.startswith("_") and hasattr(Session, name):
        raise AttributeError(
            f"{name} cannot be set: a new session is made after a fork, and after disconnect(). Give the "
            "settings of the cluster an argument of cassandra.cluster.Cluster, execution_profiles say."
        )
