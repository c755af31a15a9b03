"""System checks of a site's settings, by what they look at. ``manage.py check`` runs them.

Private.
"""

from __future__ import annotations

from pindb.checks.clusters import check_caches, check_clusters
from pindb.checks.cookie import check_cookie
from pindb.checks.middleware import check_methods, check_middleware, check_routers
from pindb.checks.sets import check_sets
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
