"""Checks of Redis clusters (``PINDB_CLUSTERS``) and of sharded caches (``CACHES``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from pindb.conf import conf

__all__ = ["check_caches", "check_clusters"]


@register("pindb")
def check_clusters(**kwargs: Any) -> list[CheckMessage]:
    """Check the clusters, without connecting to them: E008."""
    if conf.PINDB_CLUSTERS == {}:
        return []
    try:
        # Not at the top: a site without clusters need not have redis-py.
        from pindb.redis import ClusterConfigError, Connections
    except ImportError as error:
        hint = "Install the package, or remove the setting."
        return [Error(f"PINDB_CLUSTERS is set, but {error}", hint=hint, id="pindb.E008")]
    hint = "See the settings of create_cluster in pindb's documentation."
    errors: list[CheckMessage] = []
    clusters = Connections(conf.PINDB_CLUSTERS)
    try:
        for name in clusters:
            try:
                clusters[name]
            except Exception as error:  # a router or backend of the site may raise anything
                errors.append(Error(f"PINDB_CLUSTERS: {error}", hint=hint, id="pindb.E008"))
    except ClusterConfigError as error:
        errors.append(Error(str(error), hint=hint, id="pindb.E008"))
    return errors


@register("pindb")
def check_caches(**kwargs: Any) -> list[CheckMessage]:
    """Check pindb's caches, without connecting to them: E009."""
    caches: Any = settings.CACHES
    if not isinstance(caches, Mapping):  # Django reports it
        return []
    errors: list[CheckMessage] = []
    hint = "See the options of caches in pindb's documentation."
    for alias, cache in caches.items():
        if not _is_sharded(cache):
            continue
        try:
            _try_cache(cache)
        except (ImproperlyConfigured, ImportError) as error:
            errors.append(Error(f"CACHES[{alias!r}]: {error}", hint=hint, id="pindb.E009"))
        except Exception as error:  # a router, pool or serializer of the site may raise anything
            why = f"{type(error).__name__}: {error}"
            errors.append(Error(f"CACHES[{alias!r}]: {why}", hint=hint, id="pindb.E009"))
    return errors


def _is_sharded(cache: Any) -> bool:
    if not isinstance(cache, Mapping):
        return False
    options = cache.get("OPTIONS")
    client = options.get("CLIENT_CLASS") if isinstance(options, Mapping) else None
    return any(str(path).startswith("pindb.cache.") for path in (cache.get("BACKEND"), client))


def _try_cache(cache: Mapping[str, Any]) -> None:
    """Make a cache as Django does, and all objects that the cache would make at its first use."""
    # Not at the top: a site without such a cache need not have django-redis.
    from pindb.cache.options import read_options
    from pindb.cache.shards import Shards

    location = cache.get("LOCATION")
    Shards(read_options(location, cache.get("OPTIONS") or {}))
    if isinstance(cache.get("BACKEND"), str):
        params = {name: value for name, value in cache.items() if name not in ("BACKEND", "LOCATION")}
        _ = import_string(cache["BACKEND"])(location, params).client
