"""Base class of the clusters that `create_cluster` makes, whatever their servers are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pindb.redis.exceptions import ClusterConfigError, MaxRetriesExceededError
from pindb.redis.facade.maps import MethodProxy, ResultMap
from pindb.redis.facade.results import get_values
from pindb.redis.routers import BaseRouter

__all__ = ["RoutedCluster", "get_by_path"]


class RoutedCluster(ABC):
    """Cluster with the methods of its hosts' clients, which runs calls on the hosts that the router chooses.

    A call on one host returns its result; a call on several hosts returns a list of results, in the order of
    the hosts. Iterating over a cluster yields host ids; ``cluster[host_id]`` is the connection of a host.
    Make one cluster for the whole application: it is safe under threads, and does not connect before the
    first call.
    """

    MaxRetriesExceededError: ClassVar[type[Exception]] = MaxRetriesExceededError

    @property
    @abstractmethod
    def router(self) -> BaseRouter:
        """The current router."""

    @abstractmethod
    def install_router(self, router: Any, **options: Any) -> None:
        """Switch to another router. For tests: existing keys do not move.

        Arguments:
            router: as in the settings: a short name, a class, or its dotted path; None: every host.
            options: arguments for the router.

        Raises:
            BadHostSetup: the hosts do not suit the router.
            ClusterConfigError: there is no such router, or it does not take the options.
        """

    @property
    @abstractmethod
    def hosts(self) -> Mapping[int, Any]:
        """The hosts by their ids."""

    @abstractmethod
    def get_connection(self, host_id: int) -> Any:
        """Return the connection of a host, which has the methods of the backend's client.

        Raises:
            ClusterConfigError: there is no such host.
        """

    @abstractmethod
    def call(self, hosts: Sequence[int], path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method on the given hosts; see `execute`."""

    def map(self, workers: int | None = None, fail_silently: bool = False) -> Any:
        """Return a map: a block that defers its calls to its end, and then runs them on all hosts at once.

        Calls in the block return deferred results; see `Result`.

        Arguments:
            workers: how many hosts are used at once; None: all.
            fail_silently: keep errors as results, and in ``get_errors()`` of the map. Otherwise the end of
                the block raises a `CommandError` with all of them.
        """
        if workers is not None and (type(workers) is not int or workers < 1):
            raise ClusterConfigError(
                f"workers is {workers!r}. Write a number, 1 or more, or None for all hosts."
            )
        return ResultMap(self._make_batch(workers), fail_silently)

    def _make_batch(self, workers: int | None) -> Any:
        """Return the pending calls of a new map; see `ResultMap`."""
        raise NotImplementedError

    @abstractmethod
    def disconnect(self) -> None:
        """Close all connections. The next call connects again."""

    def __len__(self) -> int:
        return len(self.hosts)

    def __iter__(self) -> Iterator[int]:
        return iter(self.hosts)

    def __bool__(self) -> bool:
        return True

    def __contains__(self, host_id: object) -> bool:
        return host_id in self.hosts

    def __getitem__(self, host_id: int) -> Any:
        return self.get_connection(host_id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} hosts, {type(self.router).__name__}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return MethodProxy(self, name)

    def get_conn(self, *args: Any, **kwargs: Any) -> Any:
        """Return the connection of the host that has a key: ``cluster.get_conn("key").pipeline()``.

        Returns:
            The connection; without a key, a list of all connections.
        """
        hosts = self.router.get_dbs("get_conn", *get_values(args, kwargs))
        connections = [self.get_connection(host_id) for host_id in hosts]
        return connections[0] if len(connections) == 1 else connections

    def execute(self, path: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Call a method by its name.

        Arguments:
            path: the name; a dotted path if the method belongs to an attribute.
            args, kwargs: its arguments.

        Returns:
            The result of the host; a list of results if there are several hosts, in their order.

        Raises:
            UnroutableCommand: the router cannot choose the host, for example because there are several keys.
            HostConnectionError: neither the host nor another host in its place can be reached.
        """
        args, kwargs = get_values(args, kwargs or {})
        return self.call(self.router.get_dbs(path, args, kwargs), path, args, kwargs)


def get_by_path(connection: Any, path: str) -> Any:
    """Return the attribute at a dotted path."""
    for name in path.split("."):
        connection = getattr(connection, name)
    return connection
