"""Other servers, or another router, for a cache: what its settings would be then."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pindb.cache.options import CacheOptions, check_router
from pindb.redis import ClusterConfigError
from pindb.redis.core.options import keywords
from pindb.redis.routers.options import find_router
from pindb.redis.topology.hosts import Host

__all__ = ["change_servers", "describe_hosts", "mask"]


def change_servers(
    options: CacheOptions,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    router: str | None = None,
) -> CacheOptions:
    """The settings with servers added and removed, or with another router.

    Hosts are numbered as in a ``LOCATION`` without what is removed, and with what is added at its end;
    weights stay with their hosts. Of the router's options, another router keeps those that it takes.

    Arguments:
        options: the cache's settings.
        add: URLs of servers that it has not.
        remove: URLs of servers that it has; their passwords need not be in there.
        router: a short name, or a dotted path.

    Raises:
        ClusterConfigError: a server is there already, or is not there, or the router does not suit a cache.
    """
    servers = options.servers
    places = {host_id: _address(config, servers.defaults) for host_id, config in servers.hosts.items()}
    known = ", ".join(describe_hosts(options).values())
    gone = set()
    for url in remove:
        address = _address(url, servers.defaults)
        if address not in places.values():
            raise ClusterConfigError(f"The cache has no server {mask(url)} to remove. It has: {known}.")
        gone |= {host_id for host_id, place in places.items() if place == address}
    # Routers that count hosts need them without a gap; ids that have gaps mean something to a router.
    gapless = list(places) == list(range(len(places)))
    left = [host_id for host_id in places if host_id not in gone]
    ids = {host_id: place if gapless else host_id for place, host_id in enumerate(left)}
    hosts = {new: servers.hosts[old] for old, new in ids.items()}
    there = set(places.values())
    for url in add:
        address = _address(url, servers.defaults)
        if address in there:
            raise ClusterConfigError(
                f"The cache has the server {mask(url)} already, or it is added twice. The cache has: {known}."
            )
        there.add(address)
        hosts[max(hosts, default=-1) + 1] = {"url": url}
    if not hosts:
        raise ClusterConfigError("The cache would have no server left. Add one, or remove fewer.")
    router_options = dict(servers.router_options)
    weights = router_options.get("weights")
    if isinstance(weights, Mapping):
        router_options["weights"] = {ids[old]: weight for old, weight in weights.items() if old in ids}
    kind = servers.router
    if router is not None:
        kind = find_router(router)
        check_router(kind, options.on_down)
        taken = keywords(kind, 1)
        if taken is not None:
            router_options = {name: value for name, value in router_options.items() if name in taken}
    return replace(options, servers=replace(servers, hosts=hosts, router=kind, router_options=router_options))


def describe_hosts(options: CacheOptions) -> dict[int, str]:
    """The URLs of a cache's servers by their numbers, without what may be secret."""
    found = {}
    for host_id, config in options.servers.hosts.items():
        url = config if isinstance(config, str) else config.get("url")
        if url is None:
            scheme = "unix" if "unix_socket_path" in config else "redis"
            url = f"{scheme}://{_address(config, options.servers.defaults)}"
        found[host_id] = mask(url)
    return found


def mask(url: str) -> str:
    """A URL without what may be secret in it."""
    url = re.sub(r"^([^:]*://).*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"(?i)((?:username|password)=)[^&]*", r"\1***", url)


def _address(config: Any, defaults: Mapping[str, Any]) -> str:
    options = {"url": config} if isinstance(config, str) else dict(config)
    options.pop("identifier", None)
    host_id = options.pop("host_id", 0)
    try:
        return Host.from_config(host_id, options, defaults).address
    except ClusterConfigError:
        if isinstance(config, str):
            # Not the URL's own words if it is none: they may be a password.
            raise ClusterConfigError(
                "One of the servers to add or remove is no URL of Redis. Write redis://host:port/db, "
                "rediss://... or unix:///path?db=0."
            ) from None
        raise
