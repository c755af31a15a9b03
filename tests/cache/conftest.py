"""The Redis servers and the caches that the tests of `pindb.cache` run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.signals import setting_changed

from pindb.cache import ShardedRedisCache
from pindb.testing.redis import TestSetup
from tests.redis.tools import Clock, restore


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
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which servers are tried again; it stands still."""
    clock = Clock()
    monkeypatch.setattr("pindb._circuit.time", clock)
    return clock


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
def make_cache(cache_urls: list[str]) -> Callable[..., Any]:
    """Makes caches of so many servers; `params` are settings, and the rest are their ``OPTIONS``."""

    def make(servers: int = 3, params: dict[str, Any] | None = None, **options: Any) -> ShardedRedisCache:
        return ShardedRedisCache(cache_urls[:servers], {**(params or {}), "OPTIONS": options})

    return make
