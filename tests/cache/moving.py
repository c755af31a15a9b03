"""What the tests of moving a cache's keys need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.cache import caches
from django.test import override_settings

from pindb.cache.options import read_options
from pindb.cache.plan import make_cluster
from pindb.cache.target import change_servers
from pindb.redis import Cluster

BACKEND = "pindb.cache.ShardedRedisCache"
PATTERN = ":*:*"


@contextmanager
def changing(
    location: Any, options: Mapping[str, Any] | None = None, **change: Any
) -> Iterator[tuple[Cluster, Cluster]]:
    """The servers of a cache as they are, and as they would be."""
    now = read_options(location, options or {})
    clusters = make_cluster(now), make_cluster(change_servers(now, **change))
    try:
        yield clusters
    finally:
        for cluster in clusters:
            cluster.disconnect_pools()


@contextmanager
def site(location: Any, options: Mapping[str, Any] | None = None, **settings: Any) -> Iterator[Any]:
    """The default cache of a site with these settings."""
    cache = {"BACKEND": BACKEND, "LOCATION": location, "OPTIONS": dict(options or {}), **settings}
    other = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    with override_settings(CACHES={"default": cache, "other": other}):
        yield caches["default"]
