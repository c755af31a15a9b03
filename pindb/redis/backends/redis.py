"""Redis backend of `create_cluster`, on top of `pindb.redis.Cluster`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import redis

from pindb.redis.cluster import Cluster
from pindb.redis.core.options import check_names, shown
from pindb.redis.exceptions import ClusterConfigError
from pindb.redis.facade.backend import BaseBackend, ClusterSettings
from pindb.redis.facade.cluster import RoutedCluster, get_by_path
from pindb.redis.facade.redis_clients import MultiHostClient, RedisBatch, find_called_command
from pindb.redis.routers import BaseRouter, EveryHostRouter
from pindb.redis.routers.options import find_router
from pindb.redis.routers.slots import SlotRouter
from pindb.redis.topology.hosts import OPTIONS, Host

__all__ = ["Redis", "RedisCluster", "RoutedRedis"]

#: The options of `Cluster.from_redis_cluster`.
SLOT_OPTIONS = frozenset({"address_remap", "read_from", "wait_timeout"})


class Redis(BaseBackend):
    """Backend for Redis.

    It adds the settings ``pool_cls``, ``pool_options`` and ``retry_timeout`` of `Cluster` to those of all
    backends. Hosts have the options of `Cluster`'s hosts, and ``identifier``: the name on a hash ring, by
    default ``redis://host:port/db``.
    """

    more_settings = frozenset({"pool_cls", "pool_options", "retry_timeout"})

    @classmethod
    def make_cluster(cls, settings: ClusterSettings) -> RoutedRedis:
        return RoutedRedis(cls.make_servers(settings))

    @classmethod
    def make_servers(cls, settings: ClusterSettings, **more: Any) -> Cluster:
        """Make a `Cluster` from settings.

        Arguments:
            settings: the settings.
            more: additional arguments for `Cluster`.
        """
        defaults = dict(settings.defaults)
        check_names("defaults", defaults, OPTIONS - {"name"})
        if issubclass(settings.router, SlotRouter):
            return _make_slot_cluster(settings, defaults, {**settings.more, **more})
        hosts = {host_id: _with_name(host_id, config, defaults) for host_id, config in settings.hosts.items()}
        cluster = Cluster(
            hosts,
            host_defaults=defaults,
            router_cls=settings.router,
            router_options=settings.router_options,
            max_connection_retries=settings.max_connection_retries,
            **{**settings.more, **more},
        )
        # Raise errors of options for the router and the pools now, not at the first command.
        cluster.get_router()
        cluster.check_pools()
        return cluster


class RedisCluster(Redis):
    """Backend for a Redis Cluster, whose router is ``"slots"``. The hosts are nodes to ask for the others.

    It adds the settings ``address_remap``, ``read_from`` and ``wait_timeout`` of
    `Cluster.from_redis_cluster` to those of `Redis`.
    """

    more_settings = Redis.more_settings | SLOT_OPTIONS

    @classmethod
    def make_cluster(cls, settings: ClusterSettings) -> RoutedRedis:
        if settings.router not in (EveryHostRouter, SlotRouter):
            raise ClusterConfigError(
                f"The router is {settings.router.__name__}, but the nodes of a Redis Cluster decide "
                "themselves where keys are. Leave router out."
            )
        return super().make_cluster(replace(settings, router=SlotRouter))


def _make_slot_cluster(
    settings: ClusterSettings, defaults: Mapping[str, Any], more: Mapping[str, Any]
) -> Cluster:
    options = dict(settings.router_options)
    # What other routers do on request, hash slots do always.
    options.pop("hash_tags", None)
    check_names("router_options", options, SLOT_OPTIONS)
    nodes = list(settings.hosts.values())
    cluster = Cluster.from_redis_cluster(nodes, host_defaults=defaults, **options, **more)
    cluster.check_pools()
    return cluster


def _with_name(host_id: int, config: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a host, with its name on a hash ring."""
    options: dict[str, Any] = {"url": config} if isinstance(config, str) else dict(config)
    check_names(f"Host {host_id}", options, OPTIONS | {"identifier", "host_id"})
    identifier = options.pop("identifier", None)
    if identifier is not None and options.setdefault("name", identifier) != identifier:
        raise ClusterConfigError(
            f"Host {host_id} has the identifier {shown(identifier)} and the name {shown(options['name'])}. "
            "Both are its name on a hash ring. Write one of them."
        )
    if options.get("name") is None:
        options["name"] = f"redis://{Host.from_config(host_id, options, defaults).address}"
    return options


class RoutedRedis(RoutedCluster):
    """Cluster of Redis servers that has all Redis commands as methods; see `RoutedCluster`.

    It also sends a command by its words: ``cluster.execute_command("GET", "key")``.

    Arguments:
        cluster: the hosts, their pools, and the router.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._client = MultiHostClient(cluster)
        # The names of the methods that __getattr__() has cached.
        self._cached: list[str] = []

    def install_router(self, router: Any, **options: Any) -> None:
        self._cluster.set_router(find_router(router), options)
        for name in self._cached:
            self.__dict__.pop(name, None)
        self._cached = []

    @property
    def router(self) -> BaseRouter:
        return self._cluster.get_router()

    @property
    def hosts(self) -> Mapping[int, Host]:
        return self._cluster.hosts

    def get_connection(self, host_id: int) -> redis.Redis:
        return self._cluster.get_local_client(host_id)

    def __getattr__(self, name: str) -> Any:
        path = super().__getattr__(name)
        if self.router.routes_calls:
            return path
        # The next access finds the method without a call of __getattr__(), which takes longer than routing.
        self._cached.append(name)
        method = self.__dict__[name] = getattr(self._client, name, path)
        return method

    def call(self, hosts: Sequence[int], path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        command = find_called_command(path, args, kwargs)
        if command is not None:
            return self._client.send_to(
                hosts, *command, choose=lambda: self.router.get_dbs(path, args, kwargs)[0]
            )
        results = [get_by_path(self.get_connection(host_id), path)(*args, **kwargs) for host_id in hosts]
        return results[0] if len(results) == 1 else results

    def _make_batch(self, workers: int | None) -> RedisBatch:
        return RedisBatch(self._cluster, workers)

    def disconnect(self) -> None:
        self._cluster.disconnect_pools()
