"""What is wrong with clusters and caches."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from pindb.conf import conf

__all__ = ["check_caches", "check_clusters"]


@register("pindb")
def check_clusters(**kwargs: Any) -> list[CheckMessage]:
    """The clusters: E008. Nothing is connected to."""
    if conf.PINDB_CLUSTERS == {}:
        return []
    try:
        # Only here: a site without clusters need not have redis-py.
        from pindb.redis import ClusterConfigError, Connections
    except ImportError as error:
        hint = "Install it, or drop the setting."
        return [Error(f"PINDB_CLUSTERS is set, but {error}", hint=hint, id="pindb.E008")]
    hint = "See the chapter on create_cluster in pindb's documentation."
    errors: list[CheckMessage] = []
    clusters = Connections(conf.PINDB_CLUSTERS)
    try:
        for name in clusters:
            try:
                clusters[name]
            except Exception as error:  # from a router or backend of the site's own, too
                errors.append(Error(f"PINDB_CLUSTERS: {error}", hint=hint, id="pindb.E008"))
    except ClusterConfigError as error:
        errors.append(Error(str(error), hint=hint, id="pindb.E008"))
    return errors


@register("pindb")
def check_caches(**kwargs: Any) -> list[CheckMessage]:
    """The caches that are pindb's: E009. Nothing is connected to."""
    errors: list[CheckMessage] = []
    for alias, cache in settings.CACHES.items():
        options = cache.get("OPTIONS") or {}
        paths = (cache.get("BACKEND"), options.get("CLIENT_CLASS"))
        if not any(str(path).startswith("pindb.cache.") for path in paths):
            continue
        try:
            # Only here: a site without such a cache need not have django-redis.
            from pindb.cache.options import read_options
            from pindb.cache.shards import Shards

            Shards(read_options(cache.get("LOCATION"), options))
        except (ImproperlyConfigured, ImportError) as error:
            hint = "See the chapter on the cache in pindb's documentation."
            errors.append(Error(f"CACHES[{alias!r}]: {error}", hint=hint, id="pindb.E009"))
    return errors
