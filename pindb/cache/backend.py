"""Django's cache backend on many Redis servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django_redis.cache import RedisCache

__all__ = ["ShardedRedisCache"]

CLIENT = "pindb.cache.ShardedClient"


class ShardedRedisCache(RedisCache):  # type: ignore[misc]
    """django-redis's backend with `ShardedClient`, without having to name that.

    Its asynchronous methods do what the others do, in a thread: many keys are one command for each server,
    and counting is atomic. (Those that Django gives every backend take keys one by one, and no arguments of
    django-redis's own.)

    Arguments:
        server: the cache's ``LOCATION``: URLs of Redis servers, or the name of a cluster in
            ``PINDB_CLUSTERS``.
        params: the cache's other settings.
    """

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        options = params.get("OPTIONS") or {}
        if not isinstance(options, Mapping):
            raise ImproperlyConfigured(f"The cache's OPTIONS are a {type(options).__name__}. Write a dict.")
        options = {"CLIENT_CLASS": CLIENT, **options}
        super().__init__(server, {**params, "OPTIONS": options})


def _asynchronous(name: str) -> Callable[..., Any]:
    async def call(self: ShardedRedisCache, *args: Any, **kwargs: Any) -> Any:
        return await sync_to_async(getattr(self, name), thread_sensitive=True)(*args, **kwargs)

    call.__name__ = call.__qualname__ = f"a{name}"
    call.__doc__ = f"`{name}` for asynchronous code."
    return call


#: The methods that Django makes of single gets and sets, or gives fewer arguments; and those that only
#: django-redis has.
ASYNCHRONOUS = (
    "get set add touch delete clear "
    "get_many set_many delete_many has_key incr decr incr_version decr_version close "
    "ttl pttl persist expire expire_at pexpire pexpire_at keys delete_pattern "
    "sadd scard sdiff sdiffstore sinter sinterstore sismember smembers smismember smove spop srandmember "
    "srem sscan sunion sunionstore hset hdel hlen hkeys hexists "
    "zadd zcard zcount zincrby zpopmax zpopmin zrange zrangebyscore zrank zrem zremrangebyscore zrevrange "
    "zrevrangebyscore zscore"
)
for _name in ASYNCHRONOUS.split():
    setattr(ShardedRedisCache, f"a{_name}", _asynchronous(_name))
