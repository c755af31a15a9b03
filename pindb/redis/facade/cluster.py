"""What a cluster that `create_cluster` made is like, whatever its servers are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from pindb.redis.exceptions import ClusterConfigError, MaxRetriesExceededError
from pindb.redis.facade.results import get_values
from pindb.redis.routers import BaseRouter

__all__ = ["CallPath", "Called", "RoutedCluster"]


class Called(Protocol):
    """What takes the calls of a `CallPath`."""

    def execute(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method, by its dotted path."""


class CallPath:
    """A method of each host's connection, or an attribute that has one: ``cluster.connection_pool.reset``.

    Arguments:
        target: gets the calls.
        path: the method's name; dotted where it is an attribute's.
    """

    __slots__ = ("_path", "_target")

    def __init__(self, target: Called, path: str) -> None:
        self._target = target
        self._path = path

    def __repr__(self) -> str:
        return f"<{self._path} of {self._target!r}>"

    def __getattr__(self, name: str) -> CallPath:
        if name.startswith("__"):
            raise AttributeError(name)
        return CallPath(self._target, f"{self._path}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._target.execute(self._path, args, kwargs)


class RoutedCluster(ABC):
    """Takes any method of its hosts' connections, and calls it on the hosts that the router names.

    A call returns the result itself where one host answered, and a list of results in the hosts' order where
    several did. Iteration gives the hosts' ids, ``cluster[host_id]`` a host's connection. Make one for the
    whole application: it is safe under threads, and makes no connection before the first call.
    """

    MaxRetriesExceededError: ClassVar[type[Exception]] = MaxRetriesExceededError

    @property
    @abstractmethod
    def router(self) -> BaseRouter:
        """The router."""

    @abstractmethod
    def install_router(self, router: Any, **options: Any) -> None:
        """Route by another router from now on. For tests: keys do not move by themselves.

        Arguments:
            router: as in the settings: a short name, a class, or its dotted path; None: to every host.
            options: its arguments.

        Raises:
            BadHostSetup, ClusterConfigError: it does not suit the hosts, or does not take the options.
        """

    @property
    @abstractmethod
    def hosts(self) -> Mapping[int, Any]:
        """The hosts by their ids."""

    @abstractmethod
    def get_connection(self, host_id: int) -> Any:
        """The connection of a host, which has the methods of the backend's client.

        Raises:
            ClusterConfigError: there is no such host.
        """

    @abstractmethod
    def call(self, hosts: Sequence[int], path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method on hosts that are named; see `execute`."""

    @abstractmethod
    def map(self, workers: int | None = None, fail_silently: bool = False) -> Any:
        """A block whose calls return results-to-be and are made at its end, on all hosts at once.

        Arguments:
            workers: how many hosts are worked with at once; None: all.
            fail_silently: leave errors as values, and in the block's ``get_errors()``; otherwise the block
                ends with a `CommandError` that has them all.
        """

    @abstractmethod
    def disconnect(self) -> None:
        """Close all connections; they are made anew when they are needed."""

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
        return CallPath(self, name)

    def get_conn(self, *args: Any, **kwargs: Any) -> Any:
        """The connection of the host that has a key: ``cluster.get_conn("key").pipeline()``.

        Returns:
            The connection; a list of all of them without a key.
        """
        hosts = self.router.get_dbs("get_conn", *get_values(args, kwargs))
        connections = [self.get_connection(host_id) for host_id in hosts]
        return connections[0] if len(connections) == 1 else connections

    def execute(self, path: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Call a method by its name.

        Arguments:
            path: the name; a dotted path where it is an attribute's method.
            args, kwargs: its arguments.

        Returns:
            The result where one host answered, else a list of results in the hosts' order.

        Raises:
            UnroutableCommand: it does not say where it goes.
            HostConnectionError: a host could not be reached, nor another one in its place.
        """
        args, kwargs = get_values(args, kwargs or {})
        return self.call(self.router.get_dbs(path, args, kwargs), path, args, kwargs)


def check_workers(workers: Any) -> None:
    """Raise `ClusterConfigError` unless it is a number of workers, or None."""
    if workers is not None and (type(workers) is not int or workers < 1):
        raise ClusterConfigError(f"workers is {workers!r}. Write how many: 1 or more, or None for all.")


def follow(connection: Any, path: str) -> Any:
    """The attribute at a dotted path."""
    for name in path.split("."):
        connection = getattr(connection, name)
    return connection
