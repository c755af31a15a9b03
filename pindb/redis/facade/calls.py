"""Clusters whose hosts are called by the methods of their clients, whatever these are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol

from pindb.redis.backends.base import ClusterSettings
from pindb.redis.core.promises import Promise, reject_all
from pindb.redis.core.retries import too_many_retries, was_refused
from pindb.redis.exceptions import (
    Call,
    CommandCancelled,
    CommandError,
    HostConnectionError,
    HostListExhausted,
    HostTimeoutError,
)
from pindb.redis.facade.cluster import CallPath, RoutedCluster, check_workers
from pindb.redis.facade.results import Result, get_values, results_of
from pindb.redis.routers import BaseRouter
from pindb.redis.routers.options import find_router, make_router
from pindb.redis.topology.hosts import no_such_host

__all__ = ["CallsMap", "ConnectionCluster"]


class CalledHost(Protocol):
    """The part of `pindb.redis.backends.BaseConnection` that a cluster uses."""

    @property
    def identifier(self) -> str: ...

    @property
    def connection(self) -> Any: ...

    def call(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any: ...

    def disconnect(self) -> None: ...


class ConnectionCluster(RoutedCluster):
    """A cluster of `BaseConnection` hosts; see `RoutedCluster`.

    Arguments:
        hosts: the hosts by their ids.
        settings: the router, its options, and how often a call goes to another host.
    """

    def __init__(self, hosts: Mapping[int, CalledHost], settings: ClusterSettings) -> None:
        self._hosts = dict(hosts)
        self._retries = settings.max_connection_retries
        self._router = make_router(settings.router, self, settings.router_options)

    def install_router(self, router: Any, **options: Any) -> None:
        self._router = make_router(find_router(router), self, options)

    @property
    def router(self) -> BaseRouter:
        return self._router

    @property
    def hosts(self) -> Mapping[int, CalledHost]:
        return self._hosts

    def find_words(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Nothing: what is called here is no Redis command."""

    def get_connection(self, host_id: int) -> CalledHost:
        try:
            return self._hosts[host_id]
        except (KeyError, TypeError):
            raise no_such_host(host_id, self._hosts) from None

    def call(self, hosts: Sequence[int], path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if len(hosts) == 1:
            return self.call_one(hosts[0], path, args, kwargs)
        return [self.get_connection(host_id).call(path, args, kwargs) for host_id in hosts]

    def call_one(self, host_id: int, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method on a host, or on another one where that refuses the connection."""
        router = self._router
        retries = self._retries if router.retryable else 0
        for retries_left in reversed(range(retries + 1)):
            try:
                result = self.get_connection(host_id).call(path, args, kwargs)
            except (HostConnectionError, HostTimeoutError) as error:
                if not retries or not was_refused(error):
                    raise
                router.mark_connection_down(host_id)
                if not retries_left:
                    raise too_many_retries(retries, error) from error
                host_id = router.get_dbs(path, args, kwargs)[0]
            else:
                break
        if router.down_connections:
            router.mark_connection_up(host_id)
        return result

    def map(self, workers: int | None = None, fail_silently: bool = False) -> CallsMap:
        return CallsMap(self, workers, fail_silently)

    def disconnect(self) -> None:
        for host in self._hosts.values():
            host.disconnect()


class CallsMap:
    """Keeps calls until its block ends, and makes them then: one thread for each host, in the calls' order.

    Arguments:
        cluster: the cluster.
        workers: how many threads at the most; None: one for each host.
        fail_silently: leave errors as values, and in `get_errors`, instead of raising `CommandError`.
    """

    def __init__(self, cluster: ConnectionCluster, workers: int | None, fail_silently: bool) -> None:
        check_workers(workers)
        self._cluster = cluster
        self._workers = workers
        self._fail_silently = fail_silently
        self._calls: list[tuple[Call, Promise]] = []
        # By host, the calls that go to it; a call to several hosts has a promise for each.
        self._by_host: dict[int, list[tuple[Call, Promise, bool]]] = {}
        self._errors: list[tuple[Call, BaseException]] = []
        self._sent: list[Promise | list[Promise]] | None = None

    def __enter__(self) -> CallsMap:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.join()
        else:
            self.cancel()

    def __len__(self) -> int:
        """How many calls wait."""
        return len(self._calls)

    def __bool__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> CallPath:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return CallPath(self, name)

    def execute(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Keep a call, and return its result-to-be."""
        call = Call(path, *get_values(args, kwargs))
        try:
            hosts = self._cluster.router.get_dbs(*call)
        except HostListExhausted as error:
            promise = Promise.rejected(error)
        else:
            promises = [Promise() for _ in hosts]
            for host_id, each in zip(hosts, promises, strict=True):
                self._by_host.setdefault(host_id, []).append((call, each, len(hosts) == 1))
            promise = promises[0] if len(promises) == 1 else Promise.all(promises)
        self._calls.append((call, promise))
        return Result(promise)

    def cancel(self) -> None:
        """Drop all calls that wait."""
        calls, self._calls, self._by_host = self._calls, [], {}
        self._sent = [promise for _, promise in calls]
        reject_all((promise for _, promise in calls), CommandCancelled("The call was cancelled."))

    def join(self) -> None:
        """Make all calls that wait; their results are there then.

        Raises:
            CommandError: some failed, after all others were made; not with ``fail_silently``.
        """
        calls, by_host = self._calls, self._by_host
        self._calls, self._by_host = [], {}
        self._sent = [promise for _, promise in calls]
        try:
            if len(by_host) == 1 or self._workers == 1:
                for waiting in by_host.items():
                    self._make(waiting)
            elif by_host:
                # The clients block, so only threads can use several at once.
                with ThreadPoolExecutor(min(self._workers or len(by_host), len(by_host))) as pool:
                    list(pool.map(self._make, by_host.items()))
        except BaseException:
            interrupted = CommandCancelled("The call was interrupted.")
            reject_all((each for waiting in by_host.values() for _, each, _ in waiting), interrupted)
            raise
        self._errors = [(call, promise.reason) for call, promise in calls if promise.is_rejected]
        if self._errors and not self._fail_silently:
            raise CommandError(self._errors)

    def _make(self, waiting: tuple[int, list[tuple[Call, Promise, bool]]]) -> None:
        host_id, calls = waiting
        cluster = self._cluster
        for call, promise, alone in calls:
            try:
                if alone:
                    result = cluster.call_one(host_id, *call)
                else:
                    result = cluster.get_connection(host_id).call(*call)
            except Exception as error:
                promise.reject(error)
            else:
                promise.resolve(result)

    def get_errors(self) -> list[tuple[Call, BaseException]]:
        """What failed, in the order of the calls; empty before the end of the block."""
        return list(self._errors)

    def get_results(self) -> list[Any]:
        """The values of all calls, in their order; see `ResultsClient.get_results`."""
        return results_of(self._sent)
