"""`Cluster`: hosts with their connection pools, a router, and clients."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis
from redis.commands.core import Script

from pindb.redis.clients import FanoutClient, MappingClient, RoutingClient
from pindb.redis.core.methods import find_words
from pindb.redis.core.options import read_dict, read_retries, shown
from pindb.redis.core.promises import Promise, get_settled
from pindb.redis.exceptions import ClusterConfigError
from pindb.redis.routers import BaseRouter, PartitionRouter
from pindb.redis.routers.options import make_router
from pindb.redis.routers.slots import ReplicaReadingRouter, SlotRouter
from pindb.redis.topology.breakers import RETRY_TIMEOUT
from pindb.redis.topology.hosts import Host, is_positive
from pindb.redis.topology.nodes import AddressRemap, StartUpNodes
from pindb.redis.topology.slots import SlotHosts
from pindb.redis.topology.static import StaticHosts, named_options, pairs_of

__all__ = ["Cluster", "SlotCluster"]


class Cluster(StaticHosts):
    """Cluster of Redis servers, over which keys are sharded.

    Make one cluster for the whole application: it is safe under threads, and in forked processes. It does not
    connect before the first command.

    Arguments:
        hosts: the options of each host by its integer id, or an iterable of options with a ``host_id`` each.
            Options are ``host``, ``port``, ``db``, ``username``, ``password``, ``unix_socket_path``, ``ssl``,
            ``ssl_options``, ``url``, ``timeout`` (seconds) and ``name``. For the master of a service of Redis
            Sentinel, ``sentinel`` (a list of ``(host, port)``) and ``service_name`` take the place of
            ``host`` and ``port``; ``sentinel_username`` and ``sentinel_password`` are for the sentinels.
        host_defaults: default options for all hosts.
        pool_cls: the class of the connection pools; None: redis-py's ``ConnectionPool``.
        pool_options: keyword arguments for the pools and their connections: ``socket_timeout`` (seconds),
            ``decode_responses``, ``protocol``, ``max_connections`` ...
        router_cls: the class of the router; None: `PartitionRouter`.
        router_options: additional arguments for the router: ``weights``, ``hash_tags`` ...
        max_connection_retries: how often a command is retried on another host if its host refuses the
            connection, and the router has another host (see `RetryableRouter`). 0: keys never change their
            host.
        retry_timeout: the time before a host that is down is tried again, in seconds, by one caller. Until
            then, new connections to it fail at once, and routers that have another host skip it. None: every
            command tries to connect, as with redis-py, and routers skip a host for 5 seconds.
        late_is_down: treat a host as down if it does not reply within ``socket_timeout``. A read-only command
            is then retried once on another host, if the router has one.

    Attributes:
        hosts: the hosts by id.
        pool_options: as given.
        max_connection_retries, retry_timeout, late_is_down: as given.

    Raises:
        ClusterConfigError: a host or an option is invalid.
        BadHostSetup: the hosts do not suit the router. (Raised at the first use of the router.)
    """

    def __init__(
        self,
        hosts: Mapping[int, Mapping[str, Any]] | Iterable[Mapping[str, Any]],
        host_defaults: Mapping[str, Any] | None = None,
        pool_cls: type[Any] | None = None,
        pool_options: Mapping[str, Any] | None = None,
        router_cls: type[BaseRouter] | None = None,
        router_options: Mapping[str, Any] | None = None,
        max_connection_retries: int = 0,
        retry_timeout: float | None = None,
        late_is_down: bool = False,
    ) -> None:
        self.host_defaults = read_dict("host_defaults", host_defaults)
        self.router_cls: type[BaseRouter] = router_cls or PartitionRouter
        self.router_options = read_dict("router_options", router_options)
        self.max_connection_retries = read_retries(max_connection_retries)
        if retry_timeout is not None and not is_positive(retry_timeout):
            raise ClusterConfigError(
                f"retry_timeout is {shown(retry_timeout)}. Write seconds, above 0, or None."
            )
        options = read_dict("pool_options", pool_options)
        super().__init__(pool_cls or redis.ConnectionPool, options, retry_timeout, late_is_down)
        self._router: BaseRouter | None = None
        for host_id, config in pairs_of(hosts):
            self._add(Host.from_config(host_id, config, self.host_defaults))

    @classmethod
    def from_redis_cluster(
        cls,
        startup_nodes: Sequence[Mapping[str, Any] | str],
        address_remap: AddressRemap | None = None,
        read_from: str = "master",
        wait_timeout: float = 1.0,
        **options: Any,
    ) -> Cluster:
        """Return a cluster of the nodes of a Redis Cluster, which know themselves where each key is.

        Arguments:
            startup_nodes: options of nodes to ask for the others, or their URLs; one that answers is enough.
                All nodes are used with the user, password, TLS and timeouts of the first of these.
            address_remap: a function, or a dict, from an address (host, port) that nodes announce to the one
                at which this process can reach the node: for NAT and containers.
            read_from: which nodes serve commands that only read: ``"master"``; ``"replica"``, where there is
                one that is up and has its master's data (which may lag behind); or ``"nearest"``, by
                measured round trips.
            wait_timeout: for how long commands wait for nodes that ask for patience (TRYAGAIN while keys are
                moved, CLUSTERDOWN while a master is replaced), in seconds.
            options: more arguments for the class, without `hosts` and the router. The default of
                `retry_timeout` is 5 seconds, and that of `late_is_down` is True.

        Raises:
            ClusterConfigError: an option is invalid.
        """
        return SlotCluster(StartUpNodes(startup_nodes, address_remap, read_from, wait_timeout), **options)

    def __repr__(self) -> str:
        hosts = ", ".join(f"{host_id}: {host.address}" for host_id, host in self.hosts.items())
        return f"<{type(self).__name__} {{{hosts}}}>"

    # ---- hosts ---------------------------------------------------------------------------------

    def add_host(self, host_id: int, *address: Any, **options: Any) -> None:
        """Add a host. For tests: existing keys do not move.

        Arguments:
            host_id: a new id.
            address: a dict of options; or values of ``host``, ``port``, ``unix_socket_path``, ``db``,
                ``password``, ``ssl`` and ``ssl_options``, in this order.
            options: the options of a host, as for the class. The defaults are ``host_defaults``.

        Raises:
            ClusterConfigError: the id is taken, or an option is invalid.
        """
        given = named_options(address)
        twice = sorted(given.keys() & options.keys())
        if twice:
            raise ClusterConfigError(f"add_host() has the option {twice[0]} twice. Write it once.")
        host = Host.from_config(host_id, {**given, **options}, self.host_defaults)
        with self._lock.get():
            # In this order: a process that is forked in between must not have a router for other hosts.
            self._router = None
            self._add(host)

    def remove_host(self, host_id: int) -> None:
        """Remove a host, and close its connections. For tests: existing keys do not move.

        Raises:
            ClusterConfigError: there is no such host.
        """
        with self._lock.get():
            self._router = None
            self._remove(host_id)

    def get_local_client_for_key(self, key: Any) -> redis.Redis:
        """Return redis-py's own client for the host that has `key`."""
        return self.get_local_client(self.get_router().find_host(key))

    @property
    def encoder(self) -> Any:
        """redis-py's encoder of the connections."""
        return self.get_pool_for_host(next(iter(self.hosts))).get_encoder()

    # ---- clients -------------------------------------------------------------------------------

    def get_router(self) -> BaseRouter:
        """Return the router, made at its first use and after every change of the hosts.

        Raises:
            BadHostSetup: the hosts do not suit the router.
            ClusterConfigError: the router does not take the options.
        """
        return self._router or self._make_router()

    def _make_router(self) -> BaseRouter:
        with self._lock.get():
            if self._router is None:
                self._router = make_router(self.router_cls, self, self.router_options)
            return self._router

    def set_router(self, router_cls: type[BaseRouter], options: Mapping[str, Any]) -> None:
        """Switch to another router.

        Arguments:
            router_cls: the class of the router.
            options: additional arguments for the router.

        Raises:
            BadHostSetup, ClusterConfigError: see `get_router`. The current router stays.
        """
        with self._lock.get():
            self._router = make_router(router_cls, self, options)
            self.router_cls, self.router_options = router_cls, dict(options)

    find_words = staticmethod(find_words)

    def get_routing_client(self, auto_batch: bool = True, split_multi_key: bool = False) -> RoutingClient:
        """Return a client that sends each command at once to the host of its key. See `RoutingClient`."""
        return RoutingClient(self, auto_batch, split_multi_key)

    def map(
        self,
        timeout: float | None = None,
        max_concurrency: int | None = 64,
        auto_batch: bool = True,
        split_multi_key: bool = False,
    ) -> MappingClient:
        """Return a block whose commands return promises, and are sent all at once at its end.

        ``with cluster.map() as client: promise = client.get("key")``, and then ``promise.value``. The end of
        the block raises the first error without a handler. See `RoutingClient.map` and `MappingClient`.
        """
        return self.get_routing_client(auto_batch, split_multi_key).map(timeout, max_concurrency)

    def fanout(
        self,
        hosts: Iterable[int] | str | None = None,
        timeout: float | None = None,
        max_concurrency: int | None = 64,
        auto_batch: bool = True,
    ) -> FanoutClient:
        """Return a block whose commands go to the given hosts. See `RoutingClient.fanout`."""
        return self.get_routing_client(auto_batch).fanout(hosts, timeout, max_concurrency)

    def all(
        self, timeout: float | None = None, max_concurrency: int | None = 64, auto_batch: bool = True
    ) -> FanoutClient:
        """Return a block whose commands go to all hosts: ``with cluster.all() as client: client.ping()``."""
        return self.fanout("all", timeout, max_concurrency, auto_batch)

    def execute_commands(
        self,
        mapping: Mapping[Any, Sequence[Sequence[Any]]],
        *args: Any,
        hosts: Iterable[int] | str | None = None,
        **kwargs: Any,
    ) -> dict[Any, list[Promise]]:
        """Run commands on the hosts of routing keys, on all hosts at once.

        Arguments:
            mapping: a list of commands by routing key. Commands are tuples such as ``("SET", "key",
                "value")``, or ``(script, keys, args)`` with a `redis.commands.core.Script`. Scripts are
                loaded on hosts that do not have them, and run by their SHA.
            args, kwargs: arguments for `fanout`, without `hosts`.
            hosts: has no effect, as in rb: commands go to the host of their routing key.

        Returns:
            The settled promises of the commands, in order, by routing key.
        """
        if hosts is not None:
            self.resolve_hosts(hosts)
        client = self.fanout(None, *args, **kwargs)
        end = None if client.timeout is None else time.monotonic() + client.timeout
        self._load_scripts(mapping, client, end)
        results: dict[Any, list[Promise]] = {}
        for key, commands in mapping.items():
            target = client.target_key(key)
            results[key] = [target.execute_command(*_words(command)) for command in commands]
        client.join(_left(end))
        return results

    def _load_scripts(
        self, mapping: Mapping[Any, Sequence[Sequence[Any]]], client: FanoutClient, end: float | None
    ) -> None:
        """Load the scripts of a mapping on hosts that do not have them, until the time `end`."""
        router = self.get_router()
        needed: dict[int, dict[str, Script]] = {}
        for key, commands in mapping.items():
            scripts = {_sha(command[0]): command[0] for command in commands if isinstance(command[0], Script)}
            if scripts:
                needed.setdefault(router.find_host(key), {}).update(scripts)
        targets = {host_id: client.target([host_id]) for host_id in needed}
        promises = {host_id: targets[host_id].script_exists(*needed[host_id]) for host_id in needed}
        client.join(_left(end))
        for host_id, promise in promises.items():
            exist = get_settled(promise)[host_id]
            for script, exists in zip(needed[host_id].values(), exist, strict=True):
                if not exists:
                    targets[host_id].script_load(script.script)
        client.join(_left(end))


class SlotCluster(SlotHosts, Cluster):
    """A Redis Cluster; see `Cluster.from_redis_cluster`."""

    def __init__(self, start_up: StartUpNodes, **options: Any) -> None:
        for name in sorted({"hosts", "router_cls", "router_options"} & options.keys()):
            raise _no_choice(f"from_redis_cluster() has {name}")
        router = SlotRouter if start_up.read_from == "master" else ReplicaReadingRouter
        defaults = {"retry_timeout": RETRY_TIMEOUT, "late_is_down": True, "router_cls": router}
        super().__init__({}, **{**defaults, **options})
        self._start(start_up, self.host_defaults)

    def set_router(self, router_cls: type[BaseRouter], options: Mapping[str, Any]) -> None:
        raise _no_choice(f"The router is {router_cls.__name__}")

    def __repr__(self) -> str:
        # Without asking a node.
        return f"<{type(self).__name__} {', '.join(f'{node.host}:{node.port}' for node in self._start_up)}>"


def _no_choice(what: str) -> ClusterConfigError:
    return ClusterConfigError(f"{what}, but the nodes decide themselves where keys are. Leave it out.")


def _left(end: float | None) -> float | None:
    return None if end is None else max(end - time.monotonic(), 0)


def _sha(script: Script) -> str:
    if not script.sha:
        # Older versions of redis-py hash a script at its first use.
        text = script.script
        data = text if isinstance(text, bytes) else str(text).encode()
        script.sha = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return str(script.sha)


def _words(command: Sequence[Any]) -> tuple[Any, ...]:
    script, *rest = command
    if not isinstance(script, Script):
        return tuple(command)
    keys = list(rest[0]) if rest else []
    arguments = list(rest[1]) if len(rest) > 1 else []
    return ("EVALSHA", _sha(script), len(keys), *keys, *arguments)
