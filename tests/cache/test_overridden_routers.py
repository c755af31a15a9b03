"""Caches whose routers override some methods of another: what they say counts however a key is reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pindb.cache import ShardedRedisCache
from pindb.cache.plan import find_hosts
from pindb.redis import ConsistentHashingRouter, PartitionRouter
from tests.redis.routers.test_overriding import HOME, owners, routers


@pytest.mark.parametrize("router", routers(PartitionRouter, ConsistentHashingRouter))
def test_a_cache_and_its_plan_find_the_same_host(
    make_cache: Callable[..., ShardedRedisCache], router: Any
) -> None:
    cache = make_cache(4, ROUTER=router)
    names = [f"pinned:{i}" for i in range(6)]
    cache.set(names[0], 0)
    cache.add(names[1], 1)
    cache.set_many({name: place for place, name in enumerate(names) if place > 1}, 50)
    assert cache.get_many(names) == {name: place for place, name in enumerate(names)}
    assert [cache.get(name) for name in names] == list(range(6))
    cluster = cache.client.cluster
    assert owners(cluster) == {HOME: 6}
    assert find_hosts(cluster, [cache.make_key(name) for name in [*names, "a"]])[:6] == [HOME] * 6
    client = cache.client
    client.sadd("pinned:s", 1, 2)
    client.sadd("pinned:t", 2, 3)
    assert client.sinter("pinned:s", "pinned:t") == {2}
    assert client.sunionstore("pinned:u", "pinned:s", "pinned:t") == 3
    assert owners(cluster) == {HOME: 9}
    assert cache.delete_many(names) == 6
    assert owners(cluster) == {HOME: 3}
