"""The caches that are compared, each on databases of its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import django
from django.conf import settings
from django.core.cache import caches

from pindb.testing.redis import TestSetup

__all__ = ["BUILT_IN", "DEFAULT_CLIENT", "PINDB", "RING", "SERVERS", "SHARD_CLIENT", "Cache", "make_caches"]

SERVERS = 4
PINDB, RING = "pindb", "pindb, consistent"
SHARD_CLIENT, DEFAULT_CLIENT, BUILT_IN = "ShardClient", "DefaultClient", "Django's RedisCache"


class Cache:
    """A cache, and where its keys lie.

    Attributes:
        backend: the cache.
        is_first: whether a key is on the first server.
    """

    def __init__(self, backend: Any, is_first: Callable[[str], bool]) -> None:
        self.backend = backend
        self.is_first = is_first

    def keys_on_first(self, keys: Sequence[str], number: int) -> list[str]:
        """So many of the keys that lie on the first server."""
        return [key for key in keys if self.is_first(key)][:number]


def make_caches(setup: TestSetup) -> dict[str, Cache]:
    """The caches by the subject's name. Configures Django."""
    # ShardClient warns of its own calls.
    warnings.filterwarnings("ignore", module="django_redis")
    urls = [_urls(setup, db) for db in range(5)]
    django_redis = "django_redis.cache.RedisCache"
    settings.configure(
        # The most keys that a SCAN of the peers may look at, as fast as they get.
        DJANGO_REDIS_SCAN_ITERSIZE=1000,
        CACHES={
            "default": {
                "BACKEND": "pindb.cache.ShardedRedisCache",
                "LOCATION": urls[0],
                "OPTIONS": {"ROUTER": "partition"},
            },
            "ring": {"BACKEND": "pindb.cache.ShardedRedisCache", "LOCATION": urls[1]},
            "shards": {
                "BACKEND": django_redis,
                "LOCATION": urls[2],
                "OPTIONS": {"CLIENT_CLASS": "django_redis.client.ShardClient"},
            },
            "one": {"BACKEND": django_redis, "LOCATION": urls[3][0]},
            "built-in": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": urls[4][0]},
        },
    )
    django.setup()
    shards: Any = caches["shards"]
    return {
        PINDB: _ours("default"),
        RING: _ours("ring"),
        SHARD_CLIENT: Cache(
            shards, lambda key: shards.client.get_server_name(shards.client.make_key(key)) == urls[2][0]
        ),
        DEFAULT_CLIENT: Cache(caches["one"], lambda key: True),
        BUILT_IN: Cache(caches["built-in"], lambda key: True),
    }


def _ours(alias: str) -> Cache:
    backend: Any = caches[alias]
    router = backend.client.cluster.get_router()
    return Cache(backend, lambda key: router.get_host_for_key(backend.make_key(key)) == 0)


def _urls(setup: TestSetup, db: int) -> list[str]:
    return [f"unix://{setup.host(server)['unix_socket_path']}?db={db}" for server in range(SERVERS)]
