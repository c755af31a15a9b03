"""Settings of a cache: its servers, its router, and what happens when a server is down."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from pindb.redis import BaseRouter, ClusterConfigError, connections
from pindb.redis.backends import ClusterSettings
from pindb.redis.backends.redis import Redis
from pindb.redis.facade.create import read_settings
from pindb.redis.topology.breakers import RETRY_TIMEOUT
from pindb.redis.topology.hosts import is_positive
from pindb.redis.topology.sentinel_options import SCHEMES as SENTINEL

__all__ = ["ON_DOWN", "OPTIONS", "CacheOptions", "check_router", "is_name", "load_option", "read_options"]

#: The values of ``ON_DOWN``.
ON_DOWN = ("error", "miss", "rehash")

CONNECTION_OPTIONS = frozenset(
    {
        *("CONNECTION_POOL_CLASS", "CONNECTION_POOL_KWARGS", "PARSER_CLASS", "USERNAME", "PASSWORD"),
        *("SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT"),
    }
)

#: Options that belong into ``PINDB_CLUSTERS`` if ``LOCATION`` is the name of a cluster.
CLUSTER_OPTIONS = CONNECTION_OPTIONS | {"ROUTER", "ROUTER_OPTIONS", "HASH_TAGS"}

#: All options: pindb's own, and those of django-redis and Django that make sense with many servers.
OPTIONS = CLUSTER_OPTIONS | {
    *("ON_DOWN", "RETRY_TIMEOUT", "CLIENT_CLASS", "IGNORE_EXCEPTIONS", "CLOSE_CONNECTION"),
    *("SERIALIZER", "PICKLE_VERSION", "COMPRESSOR", "REPLICA_READ_ONLY", "MAX_ENTRIES", "CULL_FREQUENCY"),
    "LOG_IGNORED_EXCEPTIONS",
}

#: Options that have to be True or False: any non-empty str, even "False", would be true.
BOOLEANS = ("HASH_TAGS", "IGNORE_EXCEPTIONS", "CLOSE_CONNECTION")

#: Options of connections that each server has in its URL.
URL_OPTIONS = frozenset({"host", "port", "path", "db", "url"})

SENTINEL_SCHEMES = tuple(f"{scheme}://" for scheme in SENTINEL)
SCHEMES = ("redis://", "rediss://", "unix://", *SENTINEL_SCHEMES)


@dataclass(frozen=True)
class CacheOptions:
    """Parsed settings of a cache.

    Attributes:
        servers: the servers and the router.
        on_down: one of `ON_DOWN`.
        retry_timeout: for how many seconds a server that is down is left alone.
    """

    servers: ClusterSettings
    on_down: str
    retry_timeout: float


def read_options(location: Any, options: Mapping[str, Any]) -> CacheOptions:
    """Parse the settings of a cache.

    Arguments:
        location: its ``LOCATION``: URLs, in a list or separated by commas, or the name of a cluster.
        options: its ``OPTIONS``.

    Raises:
        ImproperlyConfigured: a setting is invalid; the message lists the allowed values.
    """
    if not isinstance(options, Mapping):
        raise ImproperlyConfigured(f"The cache's OPTIONS are a {type(options).__name__}. Write a dict.")
    unknown = sorted(str(name) for name in options.keys() - OPTIONS)
    if unknown and not _has_own_options(options):
        raise ImproperlyConfigured(
            f"The cache's OPTIONS have unknown names: {', '.join(unknown)}. Allowed are: "
            f"{', '.join(sorted(OPTIONS))}."
        )
    for flag in BOOLEANS:
        if options.get(flag) not in (None, True, False):
            raise ImproperlyConfigured(f"The cache's {flag} is {options[flag]!r}. Write True or False.")
    on_down = options.get("ON_DOWN", "error")
    if on_down not in ON_DOWN:
        raise ImproperlyConfigured(
            f"The cache's ON_DOWN is {on_down!r}. Write one of: {', '.join(map(repr, ON_DOWN))}."
        )
    urls = _urls(location)
    name = urls[0] if len(urls) == 1 and "://" not in urls[0] else None
    try:
        settings = _from_urls(urls, options) if name is None else _from_cluster(name, options)
        backend, servers = read_settings(settings)
        check_router(servers.router, on_down)
    except ClusterConfigError as error:
        raise ImproperlyConfigured(f"The cache's settings: {error}") from error
    if not issubclass(backend, Redis):
        raise ImproperlyConfigured(
            f"The cache's LOCATION is the cluster {name!r}, whose backend is {backend.__name__}. A "
            "cache needs Redis: name a cluster with the backend 'redis'."
        )
    router_options = dict(servers.router_options)
    if router_options.get("hash_tags") not in (None, True, False):
        raise ImproperlyConfigured(
            f"The hash_tags of the cache's router is {router_options['hash_tags']!r}. Write True or False."
        )
    of_router = router_options.pop("retry_timeout", RETRY_TIMEOUT)
    timeout = options.get("RETRY_TIMEOUT", servers.more.get("retry_timeout", of_router))
    if not is_positive(timeout):
        raise ImproperlyConfigured(f"The cache's RETRY_TIMEOUT is {timeout!r}. Write seconds, above 0.")
    retries = len(servers.hosts) if on_down == "rehash" else 0
    servers = replace(servers, router_options=router_options, max_connection_retries=retries)
    return CacheOptions(servers, on_down, timeout)


def check_router(router: type[BaseRouter], on_down: str) -> None:
    """Raise `ClusterConfigError` unless a router suits a cache with this ``ON_DOWN``."""
    if not router.by_key:
        raise ClusterConfigError(
            f"The router {router.__name__} does not place keys, so a cache could not find them again. Write "
            "'partition', 'consistent', or the dotted path of a router that does."
        )
    if on_down == "rehash" and not router.retryable:
        raise ClusterConfigError(
            f"The cache's ON_DOWN is 'rehash', but the router {router.__name__} has only one server for each "
            "key. Change ON_DOWN to 'error' or 'miss', or write \"ROUTER\": \"consistent\"."
        )


def _has_own_options(options: Mapping[str, Any]) -> bool:
    """Whether the site has its own serializer or compressor, which may read options of its own."""
    paths = [options.get(name) for name in ("SERIALIZER", "COMPRESSOR")]
    return any(path is not None and not str(path).startswith("django_redis.") for path in paths)


def _urls(location: Any) -> list[str]:
    if isinstance(location, str):
        location = _split(location)
    is_list = isinstance(location, (list, tuple))
    urls = [url.strip() for url in location if isinstance(url, str)] if is_list else []
    if not urls or not all(urls) or len(urls) != len(location):
        raise ImproperlyConfigured(
            'The cache\'s LOCATION is not a list of URLs. Write ["redis://host:6379/0", ...] '
            f"({', '.join(SCHEMES)}), or the name of a cluster in PINDB_CLUSTERS."
        )
    return urls


def _split(location: str) -> list[str]:
    """Cut URLs that are separated by commas, but not one that has several sentinels."""
    urls: list[str] = []
    for part in location.split(","):
        if urls and "://" not in part and urls[-1].lstrip().startswith(SENTINEL_SCHEMES):
            urls[-1] += f",{part}"
        else:
            urls.append(part)
    return urls


def is_name(location: Any) -> bool:
    """Whether a ``LOCATION`` is safe to show: a name, not a URL without scheme, which may hold a password."""
    return isinstance(location, str) and re.fullmatch(r"[\w.-]+", location) is not None


def _from_cluster(name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a cluster in ``PINDB_CLUSTERS``."""
    clusters = connections.settings
    if name not in clusters:
        shown = f" is {name!r}, which" if is_name(name) else ""
        raise ImproperlyConfigured(
            f"The cache's LOCATION{shown} is neither a URL ({', '.join(SCHEMES)}) nor a cluster "
            f"in PINDB_CLUSTERS, which has: {', '.join(map(repr, clusters)) or 'none'}."
        )
    both = sorted(CLUSTER_OPTIONS & options.keys())
    if both:
        raise ImproperlyConfigured(
            f"The cache's OPTIONS have {', '.join(both)}, but its LOCATION is the cluster {name!r}. Move "
            f"these settings to PINDB_CLUSTERS[{name!r}]."
        )
    return clusters[name]


def _from_urls(urls: list[str], options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a cluster of servers with these URLs."""
    invalid = [index for index, url in enumerate(urls) if not url.startswith(SCHEMES)]
    if invalid:
        # Without the URL, which may hold a password.
        raise ImproperlyConfigured(
            f"Item {invalid[0]} of the cache's LOCATION (counting from 0) is not a Redis URL. Write "
            "redis://host:port/db, rediss://... or unix:///path?db=0."
        )
    router_options = _dict(options, "ROUTER_OPTIONS")
    if "HASH_TAGS" in options:
        router_options["hash_tags"] = bool(options["HASH_TAGS"])
    pool_options = {
        **{name.lower(): _seconds(options, name) for name in ("SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT")},
        "parser_class": load_option(options, "PARSER_CLASS"),
    }
    given = {name: value for name, value in pool_options.items() if value is not None}
    given |= _dict(options, "CONNECTION_POOL_KWARGS")
    misplaced = sorted(URL_OPTIONS & given.keys())
    if misplaced:
        raise ImproperlyConfigured(
            f"The cache's CONNECTION_POOL_KWARGS have {', '.join(misplaced)}, which would be the same for "
            "all servers. Write it into the URLs of LOCATION."
        )
    if given.get("decode_responses"):
        raise ImproperlyConfigured(
            "The cache's CONNECTION_POOL_KWARGS have decode_responses, but a cache stores bytes, not text. "
            "Leave it out."
        )
    defaults = {name: options[name.upper()] for name in ("username", "password") if options.get(name.upper())}
    for name, value in defaults.items():
        if not isinstance(value, str):
            raise ImproperlyConfigured(
                f"The cache's {name.upper()} is a {type(value).__name__}. Write a str, or leave it out."
            )
    return {
        "hosts": [{"url": url} for url in urls],
        "router": options.get("ROUTER", "consistent"),
        "router_options": router_options,
        "defaults": defaults,
        "pool_cls": load_option(options, "CONNECTION_POOL_CLASS"),
        "pool_options": given,
    }


def _dict(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = options.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"The cache's {name} is a {type(value).__name__}. Write a dict.")
    return dict(value or {})


def _seconds(options: Mapping[str, Any], name: str) -> float | None:
    value = options.get(name)
    if value and not is_positive(value):
        raise ImproperlyConfigured(f"The cache's {name} is {value!r}. Write seconds, above 0.")
    return value or None


def load_option(options: Mapping[str, Any], name: str) -> Any:
    value = options.get(name)
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except Exception as error:
        raise ImproperlyConfigured(
            f"The cache's {name} is {value!r}, which cannot be imported: {error}"
        ) from error
