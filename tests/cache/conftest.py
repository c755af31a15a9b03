"""The Redis servers and the caches that the tests of `pindb.cache` run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.signals import setting_changed
from django_redis.cache import RedisCache

from pindb.cache import ShardedRedisCache
from pindb.testing.redis import TestSetup
from tests.redis.tools import restore


@pytest.fixture(scope="session")
def cache_servers() -> Iterator[TestSetup]:
    """Five servers on Unix sockets, with two databases each; all run, and are empty, as a test begins."""
    with TestSetup(servers=5, databases_each=2) as setup:
        yield setup


@pytest.fixture(autouse=True)
def clean_cache_servers(cache_servers: TestSetup) -> Iterator[None]:
    """Undo what a test did to the servers, and forget what is known of them."""
    yield
    restore(cache_servers)
    setting_changed.send(sender=None, setting="CACHES", value=None, enter=False)


@pytest.fixture
def cache_urls(cache_servers: TestSetup) -> list[str]:
    """The URLs of the servers' first databases."""
    hosts = [cache_servers.host(server) for server in range(cache_servers.servers)]
    return [f"unix://{host['unix_socket_path']}?db=0" for host in hosts]


@pytest.fixture
def urls(cache_urls: list[str]) -> list[str]:
    """The URLs of four servers, for a cache that changes its servers."""
    return cache_urls[:4]


@pytest.fixture
def one(cache_servers: TestSetup) -> Iterator[Any]:
    """A cache of django-redis's own, on a database of its own on one server."""
    location = f"unix://{cache_servers.host(0)['unix_socket_path']}?db=1"
    cache = RedisCache(location, {"TIMEOUT": 1000, "OPTIONS": {"CLOSE_CONNECTION": True}})
    yield cache
    cache.close()


@pytest.fixture
def make_cache(cache_urls: list[str]) -> Callable[..., Any]:
    """Makes caches of so many servers; `params` are settings, and the rest are their ``OPTIONS``."""

    def make(servers: int = 3, params: dict[str, Any] | None = None, **options: Any) -> ShardedRedisCache:
        return ShardedRedisCache(cache_urls[:servers], {**(params or {}), "OPTIONS": options})

    return make
