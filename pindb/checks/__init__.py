"""System checks: what is wrong with a site's settings, told when it starts."""

from __future__ import annotations

from pindb.checks.routing import check_methods, check_middleware, check_sets
from pindb.checks.servers import check_caches, check_clusters
from pindb.checks.values import check_consistency, check_store, check_values

__all__ = [
    "check_caches",
    "check_clusters",
    "check_consistency",
    "check_methods",
    "check_middleware",
    "check_sets",
    "check_store",
    "check_values",
]
