"""`create_cluster`: a cluster from one dict of settings."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pindb.redis.core.options import check_names, load_class, read_dict, read_retries, shown
from pindb.redis.exceptions import ClusterConfigError
from pindb.redis.facade.backend import MAX_CONNECTION_RETRIES, BaseBackend, ClusterSettings
from pindb.redis.facade.cluster import RoutedCluster
from pindb.redis.routers.options import find_router

__all__ = ["create_cluster", "read_settings"]

#: Backends by their short names.
BACKENDS = {
    "redis": "pindb.redis.backends.redis.Redis",
    "redis-cluster": "pindb.redis.backends.redis.RedisCluster",
    "memcached": "pindb.redis.backends.memcached.Memcached",
    "cassandra": "pindb.redis.backends.cassandra.Cassandra",
}

COMMON = frozenset(
    {"backend", "engine", "hosts", "router", "defaults", "router_options", "max_connection_retries"}
)
#: The settings of backends whose hosts pindb chooses; see `BaseBackend.routes`.
ROUTED = COMMON - {"backend", "engine", "hosts"}


def create_cluster(settings: Mapping[str, Any]) -> RoutedCluster:
    """Make a cluster with all commands of its servers as methods.

    ``create_cluster({"router": "partition", "hosts": {0: {"db": 0}, 1: {"db": 1}}}).incr("foo")``

    Arguments:
        settings: a dict, which is not changed, with these keys:

            - ``hosts``: the options of each host by its id, or a list of options.
            - ``backend`` or ``engine``: ``"redis"`` (the default), ``"memcached"``, ``"cassandra"``, the
              class of a backend, or its dotted path.
            - ``router``: ``"partition"``, ``"consistent"``, ``"round_robin"``, the class of a router, or its
              dotted path. Without a router, every command goes to every host.
            - ``defaults``: default options for all hosts.
            - ``router_options``: additional arguments for the router.
            - ``max_connection_retries``: how often a command is retried on another host, if the router has
              one; the default is 20.
            - settings of the backend.

    Raises:
        ClusterConfigError: a key is unknown, or a value is invalid.
        BadHostSetup: the hosts do not suit the router.
        ImportError: the client library of the backend is missing; the message says what to install.
    """
    backend, parsed = read_settings(settings)
    return backend.make_cluster(parsed)


def read_settings(settings: Mapping[str, Any]) -> tuple[type[BaseBackend], ClusterSettings]:
    """Parse the settings of `create_cluster`, and return the backend with them."""
    if not isinstance(settings, Mapping):
        raise ClusterConfigError(
            f"The settings of a cluster are a {type(settings).__name__}. Write a dict: "
            "{'router': 'partition', 'hosts': {0: {'port': 6379}}}."
        )
    if "backend" in settings and "engine" in settings:
        raise ClusterConfigError("The cluster has a backend and an engine, which are the same. Write one.")
    named = settings.get("backend", settings.get("engine", "redis"))
    backend = _find_backend(named)
    if not issubclass(backend, BaseBackend):
        raise ClusterConfigError(
            f"backend is {shown(named)}, which does not derive from pindb.redis.backends.BaseConnection. "
            f"Derive it, or write one of: {', '.join(map(repr, BACKENDS))}."
        )
    more = backend.more_settings
    if more is not None:
        check_names("The cluster", settings, COMMON | more)
    if not backend.routes:
        for name in sorted(ROUTED & settings.keys()):
            raise ClusterConfigError(
                f"The cluster has a {name}, but the client of {backend.__name__} chooses hosts itself. Leave "
                f"out {name}."
            )
    return backend, ClusterSettings(
        hosts=_hosts(settings.get("hosts")),
        router=find_router(settings.get("router")),
        defaults=read_dict("defaults", settings.get("defaults")),
        router_options=read_dict("router_options", settings.get("router_options")),
        max_connection_retries=read_retries(settings.get("max_connection_retries", MAX_CONNECTION_RETRIES)),
        more={name: settings[name] for name in settings.keys() - COMMON},
    )


def _find_backend(named: Any) -> type[Any]:
    if not (isinstance(named, str) and named in BACKENDS):
        return load_class("backend", named, BACKENDS)
    module, _, name = BACKENDS[named].rpartition(".")
    found: type[Any] = getattr(import_module(module), name)
    return found


def _hosts(hosts: Any) -> dict[int, Any]:
    if not hosts:
        raise ClusterConfigError("The cluster has no hosts. Write 'hosts': {0: {'port': 6379}}.")
    if isinstance(hosts, (list, tuple)):
        options = (host if isinstance(host, Mapping) else {} for host in hosts)
        ids = [given.get("host_id", index) for index, given in enumerate(options)]
    elif isinstance(hosts, Mapping):
        ids, hosts = list(hosts), list(hosts.values())
    else:
        raise ClusterConfigError(
            f"hosts is a {type(hosts).__name__}. Write a dict by host id, {{0: {{'port': 6379}}}}, or a list."
        )
    pairs: dict[int, Any] = {}
    for host_id, host in zip(ids, hosts, strict=True):
        if isinstance(host_id, bool) or not isinstance(host_id, int):
            raise ClusterConfigError(
                f"The host id {shown(host_id)} is a {type(host_id).__name__}. Write an integer."
            )
        if host_id in pairs:
            raise ClusterConfigError(
                f"There are two hosts with the id {shown(host_id)}. Give each host an id of its own."
            )
        if not isinstance(host, (Mapping, str)):
            raise ClusterConfigError(
                f"Host {host_id} is a {type(host).__name__}, not a dict. Write its options: {{'port': 6379}}."
            )
        pairs[host_id] = host
    return dict(sorted(pairs.items()))
