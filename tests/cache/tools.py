"""What several tests of `pindb.cache` need."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pindb.hashing import Key, hash_tag
from pindb.redis import BaseRouter
from pindb.testing.redis import TestSetup
from tests.redis.tools import keys_on

#: The two ways of writing the same cache in ``CACHES``, as functions of the router.
BACKENDS = {"backend": "pindb.cache.ShardedRedisCache", "client class": "django_redis.cache.RedisCache"}
ROUTERS = ("partition", "consistent", "tests.cache.tools.SiteRouter")


class SiteRouter(BaseRouter):
    """A router of a site's own, which goes by a checksum of the key written backwards."""

    def get_host_for_key(self, key: Key) -> int:
        if self.hash_tags:
            key = hash_tag(key)
        data = key.encode() if isinstance(key, str) else bytes(key)
        return sorted(self.cluster.hosts)[zlib.adler32(data[::-1]) % len(self.cluster.hosts)]


def settings_of(
    urls: Sequence[str], way: str = "backend", options: Mapping[str, Any] | None = None, **params: Any
) -> dict[str, Any]:
    """A cache's settings, as one of ``CACHES``."""
    given = dict(options or {})
    if way == "client class":
        given["CLIENT_CLASS"] = "pindb.cache.ShardedClient"
    return {"BACKEND": BACKENDS[way], "LOCATION": list(urls), "OPTIONS": given, **params}


def sizes(servers: TestSetup, number: int, db: int = 0) -> list[int]:
    """How many keys each of the first servers has."""
    found = []
    for server in range(number):
        with servers.client(server, db) as client:
            found.append(client.dbsize())
    return found


def outcome(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call returns, or the type of what it raises."""
    try:
        return call(*args, **kwargs)
    except Exception as error:
        return type(error)


def of_server(cache: Any, server: int, number: int = 1, prefix: str = "key") -> list[str]:
    """Keys of the cache that lie on a server."""
    names = keys_on(cache.client.cluster, server, number, f":1:{prefix}")
    return [name.removeprefix(":1:") for name in names]


def losses(cache: Any) -> tuple[int, int]:
    """The counters: what was missed, and what was dropped."""
    found = cache.client.shards.losses
    return found.missed_reads, found.dropped_writes


def shout(key: Any, prefix: Any, version: Any) -> str:
    """A ``KEY_FUNCTION``."""
    return f"CUSTOM-{prefix}-{version}-{key}"


def hear(key: str) -> str:
    """The ``REVERSE_KEY_FUNCTION`` of `shout`."""
    return key.split("-", 3)[3]


#: The settings for both.
CUSTOM = {"KEY_FUNCTION": f"{__name__}.shout", "REVERSE_KEY_FUNCTION": f"{__name__}.hear"}
