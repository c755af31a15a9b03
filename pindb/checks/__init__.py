"""System checks: what is wrong with a site's settings, told when it starts."""

from __future__ import annotations

from pindb.checks.cookie import check_cookie
from pindb.checks.routing import check_methods, check_middleware, check_routers, check_sets
from pindb.checks.servers import check_caches, check_clusters
from pindb.checks.stores import check_store
from pindb.checks.values import check_consistency, check_names, check_values

__all__ = [
    "check_caches",
    "check_clusters",
    "check_consistency",
    "check_cookie",
    "check_methods",
    "check_middleware",
    "check_names",
    "check_routers",
    "check_sets",
    "check_store",
    "check_values",
]
