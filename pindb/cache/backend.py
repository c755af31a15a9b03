"""Cache backend for many Redis servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django_redis.cache import RedisCache

from pindb.cache.client import INTERRUPTING

__all__ = ["ShardedRedisCache"]

CLIENT = "pindb.cache.ShardedClient"


class ShardedRedisCache(RedisCache):  # type: ignore[misc]
    """django-redis's cache backend, with `ShardedClient` as its client.

    The asynchronous methods run the synchronous ones in a thread. So ``aget_many`` sends one command per
    server, ``aincr`` is atomic, and all of them take django-redis's extra arguments; Django's own versions
    handle keys one by one, with Django's arguments only.

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
    call.__doc__ = f"Asynchronous version of `{name}`."
    return call


# The methods whose asynchronous version in Django goes key by key or takes fewer arguments, and those that
# django-redis adds.
for _name in ("get", "set", "close", "decr_version", *INTERRUPTING.split()):
    setattr(ShardedRedisCache, f"a{_name}", _asynchronous(_name))
