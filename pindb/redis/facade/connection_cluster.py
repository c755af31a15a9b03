"""Clusters of hosts with blocking clients of any kind; their maps use threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pindb.redis.core.promises import Promise, reject_all
from pindb.redis.core.retries import Retries
from pindb.redis.exceptions import (
    Call,
    ClusterConfigError,
    CommandCancelled,
    HostConnectionError,
    HostListExhausted,
    HostTimeoutError,
)
from pindb.redis.facade.backend import ClusterSettings
from pindb.redis.facade.cluster import RoutedCluster
from pindb.redis.facade.results import Result
from pindb.redis.routers import BaseRouter
from pindb.redis.routers.options import find_router, make_router
from pindb.redis.topology.breakers import HostBreakers
from pindb.redis.topology.hosts import no_such_host

__all__ = ["ConnectionCluster"]


class ConnectionCluster(RoutedCluster):
    """Cluster of `BaseConnection` hosts; see `RoutedCluster`.

    Arguments:
        hosts: the hosts by their ids: instances of `BaseConnection`.
        settings: the router, its options, and how often a call is retried on another host.
    """

    def __init__(self, hosts: Mapping[int, Any], settings: ClusterSettings) -> None:
        self._hosts = dict(hosts)
        self.breakers = HostBreakers()
        self._retries = settings.max_connection_retries
        self._router = make_router(settings.router, self, settings.router_options)

    def install_router(self, router: Any, **options: Any) -> None:
        self._router = make_router(find_router(router), self, options)

    @property
    def router(self) -> BaseRouter:
        return self._router

    @property
    def hosts(self) -> Mapping[int, Any]:
        return self._hosts

    def find_words(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Return None: calls of other clients are not Redis commands."""

    def get_connection(self, host_id: int) -> Any:
        try:
            return self._hosts[host_id]
        except (KeyError, TypeError):
            raise no_such_host(host_id, self._hosts) from None

    def call(self, hosts: Sequence[int], path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if len(hosts) == 1:
            return self.call_one(hosts[0], path, args, kwargs)
        return [self._call_at(host_id, path, args, kwargs) for host_id in hosts]

    def _call_at(self, host_id: int, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method on a host, and on no other."""
        return self.get_connection(host_id).call(path, args, kwargs)

    def call_one(self, host_id: int, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method on a host, or on another one if that host refuses the connection."""
        router = self._router
        retries = Retries(router, self._retries)
        while True:
            try:
                result = self._call_at(host_id, path, args, kwargs)
                break
            except (HostConnectionError, HostTimeoutError) as error:
                end = retries.end(host_id, error, may_repeat=not error.sent)
                if end is not None:
                    raise end from end.__cause__
                host_id = router.get_dbs(path, args, kwargs)[0]
        if router.down_connections:
            router.heard_from(host_id)
        return result

    def _make_batch(self, workers: int | None) -> ThreadBatch:
        return ThreadBatch(self, workers)

    def disconnect(self) -> None:
        for host in self._hosts.values():
            host.disconnect()


class ThreadBatch:
    """Calls of a map, which one thread per host makes in their order, since the clients block.

    Arguments:
        cluster: the cluster.
        workers: the maximum number of threads; None: one per host.
    """

    has_methods = False

    def __init__(self, cluster: ConnectionCluster, workers: int | None) -> None:
        self._cluster = cluster
        self._workers = workers
        #: The calls with their promises, in order.
        self.calls: list[tuple[Call, Promise]] = []
        # The calls of each host, with the function that makes them; a promise for each host.
        self._by_host: dict[int, list[tuple[Callable[..., Any], Call, Promise]]] = {}
        #: The promises of the last block; a pending one before its end.
        self.settled = [Promise()]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._cluster!r}>"

    def __len__(self) -> int:
        return len(self.calls)

    def call(self, call: Call) -> Result:
        """Add a call of a method, and return its `Result`."""
        try:
            hosts = self._cluster.router.get_dbs(*call)
        except HostListExhausted as error:
            promise = Promise.rejected(error)
        else:
            # A call of several hosts may not be retried on another one.
            make = self._cluster.call_one if len(hosts) == 1 else self._cluster._call_at
            promises = [Promise() for _ in hosts]
            for host_id, each in zip(hosts, promises, strict=True):
                self._by_host.setdefault(host_id, []).append((make, call, each))
            promise = promises[0] if len(promises) == 1 else Promise.all(promises)
        self.calls.append((call, promise))
        return Result(promise)

    def send(self, timeout: float | None) -> bool:
        """Make all pending calls, settle their promises, and return whether all have succeeded."""
        if timeout is not None:
            self._reject_all("The call was never made.")
            raise ClusterConfigError(
                f"timeout is {timeout!r}, but only maps of Redis servers take a timeout. Write join(), and "
                "set the timeout of the hosts."
            )
        by_host = self._by_host
        try:
            if len(by_host) == 1 or self._workers == 1:
                for pending in by_host.items():
                    self._run(pending)
            elif by_host:
                with ThreadPoolExecutor(min(self._workers or len(by_host), len(by_host))) as pool:
                    list(pool.map(self._run, by_host.items()))
        except BaseException:
            self._reject_all("The call was interrupted.")
            raise
        return not any(promise.is_rejected for _, promise in self.calls)

    def _run(self, pending: tuple[int, list[tuple[Callable[..., Any], Call, Promise]]]) -> None:
        host_id, calls = pending
        for make, call, promise in calls:
            try:
                result = make(host_id, *call)
            except Exception as error:
                promise.reject(error)
            else:
                promise.resolve(result)

    def cancel(self) -> None:
        """End the block, without making calls that are pending."""
        self._reject_all("The call was cancelled.")
        self.settled = [promise for _, promise in self.calls]
        self.calls, self._by_host = [], {}

    def _reject_all(self, why: str) -> None:
        reject_all((promise for _, promise in self.calls), CommandCancelled(why))
