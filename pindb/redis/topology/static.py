"""Hosts that a cluster's settings name, with their pools, clients and circuit breakers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from threading import RLock
from typing import Any

import redis

from pindb._forks import Lock, watch_forks
from pindb.redis.core.options import shown
from pindb.redis.exceptions import ClusterConfigError, HostTimeoutError, HostUnavailableError
from pindb.redis.io.pools import adapt_pool, close_pool
from pindb.redis.topology.breakers import HostBreakers
from pindb.redis.topology.hosts import Host, no_such_host
from pindb.redis.topology.masters import MasterClient

__all__ = ["StaticHosts", "named_options", "pairs_of"]

#: The options that `Cluster.add_host` takes by position.
ADDRESS = ("host", "port", "unix_socket_path", "db", "password", "ssl", "ssl_options")


class StaticHosts:
    """Base class of `Cluster`: its hosts, their connection pools and clients, and whether they are up.

    Hosts come and go with `_add` and `_remove` only. Safe under threads, and in forked processes: those have
    pools of their own, and keep what is known of hosts that are down.

    Arguments:
        pool_cls: the class of the connection pools.
        pool_options: arguments for the pools and their connections.
        retry_timeout, late_is_down: see `Cluster`.

    Attributes:
        pool_cls, pool_options, retry_timeout, late_is_down: as given.
        hosts: the hosts by id.
        breakers: the hosts' circuit breakers.
    """

    def __init__(
        self,
        pool_cls: type[Any],
        pool_options: Mapping[str, Any],
        retry_timeout: float | None,
        late_is_down: bool,
    ) -> None:
        self.hosts: dict[int, Host] = {}
        self.breakers = HostBreakers(retry_timeout)
        self.pool_cls = pool_cls
        self.pool_options = pool_options
        self.retry_timeout = retry_timeout
        self.late_is_down = late_is_down
        self._pool_kind = adapt_pool(pool_cls)
        self._lock = Lock(RLock)
        self._pools: dict[int, Any] = {}
        self._clients: dict[int, redis.Redis] = {}
        self._endpoints: dict[int, tuple[Host, Any, dict[str, Any]]] = {}
        watch_forks(self)

    def _after_fork(self) -> None:
        """Leave the pools to the process that this one was forked from: redis-py's keep their locks."""
        self._pools, self._clients, self._endpoints = {}, {}, {}

    # ---- which hosts there are -----------------------------------------------------------------

    def _add(self, host: Host) -> None:
        """Add a host. All hosts are considered up then.

        Raises:
            ClusterConfigError: its id is taken.
        """
        with self._lock.get():
            if host.host_id in self.hosts:
                raise ClusterConfigError(
                    f"There are two hosts with the id {host.host_id}. Give each host an id of its own."
                )
            self.hosts = {**self.hosts, host.host_id: host}
            self.breakers.close()

    def _remove(self, host_id: int) -> None:
        """Remove a host and close its connections. All others are considered up then.

        Raises:
            ClusterConfigError: there is no such host.
        """
        with self._lock.get():
            finder = self._find(host_id).finder
            self.hosts = {other: host for other, host in self.hosts.items() if other != host_id}
            self._endpoints.pop(host_id, None)
            self._clients.pop(host_id, None)
            pool = self._pools.pop(host_id, None)
            self.breakers.close()
            self.breakers.forget(host_id)
        if pool is not None:
            close_pool(pool, idle_only=False)
        if finder is not None:
            finder.close()

    def _find(self, host_id: int) -> Host:
        """Return a host by its id.

        Raises:
            ClusterConfigError: there is no such host.
        """
        try:
            return self.hosts[host_id]
        except (KeyError, TypeError):
            raise no_such_host(host_id, self.hosts) from None

    def resolve_hosts(self, hosts: Iterable[int] | str) -> list[int]:
        """Return the given host ids as a list without duplicates; all host ids for ``"all"``.

        Raises:
            ClusterConfigError: there is no such host.
        """
        if isinstance(hosts, str) and hosts == "all":
            return list(self.hosts)
        if isinstance(hosts, str) or not isinstance(hosts, Iterable):
            raise ClusterConfigError(f"hosts is {shown(hosts)}. Write a list of host ids, or 'all'.")
        return [self._find(host_id).host_id for host_id in dict.fromkeys(hosts)]

    def one_for_each_database(self) -> list[int]:
        """Return the ids of the hosts, but only the first of several hosts with the same address."""
        # Other sentinels may have another service of the same name.
        first: dict[tuple[str, frozenset[Any]], int] = {}
        for host_id, host in self.hosts.items():
            first.setdefault((host.address, frozenset(host.sentinel)), host_id)
        return list(first.values())

    # ---- connections ---------------------------------------------------------------------------

    def get_pool_for_host(self, host_id: int) -> Any:
        """Return the connection pool of a host, made at its first use.

        Raises:
            ClusterConfigError: there is no such host, or an option of the pool is invalid.
        """
        pool = self._pools.get(host_id)
        if pool is None:
            with self._lock.get():
                host = self._find(host_id)
                pool = self._pools.get(host_id)
                if pool is None:
                    breaker = self.breakers[host_id] if self.breakers.fail_fast else None
                    pool = self._pools[host_id] = host.make_pool(self._pool_kind, self.pool_options, breaker)
        return pool

    def check_pools(self) -> None:
        """Raise `ClusterConfigError` for an invalid option of connections now, not at the first command."""
        for host_id in self.hosts:
            self.get_pool_for_host(host_id)

    def disconnect_pools(self, idle_only: bool = False) -> None:
        """Close all connections. The next command connects again.

        Connections in use are closed when they are released. Pools of a class that is not redis-py's close
        them immediately.

        Arguments:
            idle_only: close only connections that are not in use.
        """
        with self._lock.get():
            used = [(self._find(host_id), pool) for host_id, pool in self._pools.items()]
        for host, pool in used:
            close_pool(pool, idle_only)
            if host.finder is not None:
                host.finder.close()

    def get_local_client(self, host_id: int) -> redis.Redis:
        """Return redis-py's own client for a host.

        Raises:
            ClusterConfigError: there is no such host.
        """
        try:
            return self._clients[host_id]
        except KeyError:
            kind = redis.Redis if self._find(host_id).finder is None else MasterClient
            client = kind(connection_pool=self.get_pool_for_host(host_id))
            with self._lock.get():
                return self._clients.setdefault(host_id, client)

    def get_endpoint(self, host_id: int) -> tuple[Host, Any, dict[str, Any]]:
        """Return a host, its pool, and redis-py's response callbacks by the command's name in capitals."""
        endpoint = self._endpoints.get(host_id)
        if endpoint is None:
            callbacks = dict(self.get_local_client(host_id).response_callbacks)
            endpoint = self._endpoints[host_id] = (
                self._find(host_id),
                self.get_pool_for_host(host_id),
                callbacks,
            )
        return endpoint

    # ---- whether they are up -------------------------------------------------------------------

    def note_outage(self, host_id: int, error: BaseException) -> bool:
        """Open the circuit breaker of a host if an error means that it is down. Return whether it does."""
        if isinstance(error, HostUnavailableError):
            reason = f"It answered {error.code}"
        elif self.late_is_down and isinstance(error, HostTimeoutError) and error.sent and not error.by_caller:
            reason = "It did not answer in time"
        else:
            return False
        if self.breakers.fail_fast:
            self.breakers[host_id].fail(reason=reason)
        return True


def named_options(address: Sequence[Any]) -> Mapping[str, Any]:
    """Return the options that `Cluster.add_host` was given by position, by their names."""
    if len(address) == 1 and isinstance(address[0], Mapping):
        return dict(address[0])
    if len(address) > len(ADDRESS):
        raise ClusterConfigError(
            f"add_host() has {len(address)} options without a name. Without one, it takes: "
            f"{', '.join(ADDRESS)}."
        )
    return dict(zip(ADDRESS, address, strict=False))


def pairs_of(hosts: Any) -> Iterable[tuple[Any, Any]]:
    """Return the ids and options of hosts, as `Cluster` takes them."""
    if isinstance(hosts, Mapping):
        return hosts.items()
    if isinstance(hosts, (str, bytes)) or not isinstance(hosts, Iterable):
        raise ClusterConfigError(
            f"hosts is a {type(hosts).__name__}. Write a dict by id: {{0: {{'port': 6379}}}}, or a list of "
            "dicts that have a 'host_id'."
        )
    pairs = []
    for config in hosts:
        if not isinstance(config, Mapping) or "host_id" not in config:
            raise ClusterConfigError(
                "A host in the list has no 'host_id'. Write {'host_id': 0, 'port': 6379}, or give hosts as a "
                "dict by id."
            )
        pairs.append((config["host_id"], config))
    return pairs
