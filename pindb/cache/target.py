"""Settings of a cache after a change: with servers added or removed, or with another router."""

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
from pindb.redis.topology.sentinel import show

__all__ = ["change_servers", "describe_hosts", "mask"]


def change_servers(
    options: CacheOptions,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    router: str | None = None,
) -> CacheOptions:
    """Return the settings with servers added and removed, or with another router.

    Hosts are numbered as in a ``LOCATION`` from which the removed URLs are deleted, and to which the added
    URLs are appended. Hosts keep their weights. Another router gets those of the router's options that it
    takes.

    Arguments:
        options: the cache's settings.
        add: URLs of new servers.
        remove: URLs of current servers, with or without passwords.
        router: the short name or the dotted path of a router.

    Raises:
        ClusterConfigError: a server to add exists, a server to remove does not, or the router does not suit a
            cache.
    """
    servers = options.servers
    addresses = {host_id: _address(config, servers.defaults) for host_id, config in servers.hosts.items()}
    known = ", ".join(describe_hosts(options).values())
    removed = set()
    for url in remove:
        address = _address(url, servers.defaults)
        if address not in addresses.values():
            raise ClusterConfigError(f"The cache has no server {mask(url)} to remove. It has: {known}.")
        removed.add(address)
    # Renumber ids without gaps, which many routers require. Ids with gaps may mean something to a custom
    # router.
    gapless = list(addresses) == list(range(len(addresses)))
    left = [host_id for host_id, address in addresses.items() if address not in removed]
    ids = {host_id: index if gapless else host_id for index, host_id in enumerate(left)}
    hosts = {new: servers.hosts[old] for old, new in ids.items()}
    taken = set(addresses.values())
    for url in add:
        address = _address(url, servers.defaults)
        if address in taken:
            raise ClusterConfigError(
                f"The server {mask(url)} is added twice, or the cache already has it. The cache has: {known}."
            )
        taken.add(address)
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
        names = keywords(kind, 1)
        if names is not None:
            router_options = {name: value for name, value in router_options.items() if name in names}
    return replace(options, servers=replace(servers, hosts=hosts, router=kind, router_options=router_options))


def describe_hosts(options: CacheOptions) -> dict[int, str]:
    """Return the URLs of a cache's servers by host id, without secrets."""
    found = {}
    for host_id, config in options.servers.hosts.items():
        url = config if isinstance(config, str) else config.get("url")
        if url is None:
            url = _make_url(config, options.servers.defaults)
        found[host_id] = mask(url)
    return found


def _make_url(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    host = _host(config, defaults)
    if host.service_name is not None:
        return f"redis+sentinel://{','.join(map(show, host.sentinel))}/{host.address}"
    return f"{'redis' if host.unix_socket_path is None else 'unix'}://{host.address}"


def mask(url: str) -> str:
    """Return a URL with everything that may be secret replaced by ``***``."""
    url = re.sub(r"^([^:]*://).*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"(?i)((?:username|password)=)[^&]*", r"\1***", url)


def _address(config: Any, defaults: Mapping[str, Any]) -> str:
    return _host(config, defaults).address


def _host(config: Any, defaults: Mapping[str, Any]) -> Host:
    options = {"url": config} if isinstance(config, str) else dict(config)
    options.pop("identifier", None)
    host_id = options.pop("host_id", 0)
    try:
        return Host.from_config(host_id, options, defaults)
    except ClusterConfigError:
        if isinstance(config, str):
            # Without the text itself: it may be a password.
            raise ClusterConfigError(
                "A server to add or remove is not a Redis URL. Write redis://host:port/db, "
                "rediss://... or unix:///path?db=0."
            ) from None
        raise
