"""Sharded Redis cache for Django, on the routers of `pindb.redis`. Needs django-redis.

Use ``"BACKEND": "pindb.cache.ShardedRedisCache"``, or django-redis's own backend with
``"OPTIONS": {"CLIENT_CLASS": "pindb.cache.ShardedClient"}``.

Private modules: the public names are in ``__all__``.
"""

from __future__ import annotations

try:
    import django_redis as _django_redis  # noqa: F401
except ImportError as error:
    raise ImportError('pindb.cache needs django-redis: pip install "django-pindb[cache]"') from error

from pindb.cache.backend import ShardedRedisCache
from pindb.cache.client import ShardedClient
from pindb.cache.statistics import ServerStats, stats

__all__ = ["ServerStats", "ShardedClient", "ShardedRedisCache", "stats"]
