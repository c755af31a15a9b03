"""One cache in many threads and in forked processes, and the connections that it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.core.cache import caches
from django.core.signals import request_finished, request_started
from django.test import override_settings

from pindb.testing.redis import TestSetup
from tests.processes import end_of, start_child
from tests.threads import in_threads

SERVERS = 3
THREADS = 8


@pytest.fixture(params=[False, True], ids=["kept open", "closed after each request"])
def closes(request: pytest.FixtureRequest, cache_urls: list[str]) -> Iterator[bool]:
    """A site's cache, which closes its connections after each request or not."""
    options = {"CLOSE_CONNECTION": request.param, "SOCKET_TIMEOUT": 10}
    cache = {"BACKEND": "pindb.cache.ShardedRedisCache", "LOCATION": cache_urls[:SERVERS], "OPTIONS": options}
    with override_settings(CACHES={"default": cache}):
        yield request.param


def connections(servers: TestSetup) -> list[int]:
    """How many connections each server has, beside the one that asks."""
    found = []
    for server in range(SERVERS):
        with servers.client(server) as client:
            found.append(len(client.client_list()) - 1)
    return found


def serve(number: int) -> None:
    """A request that uses the cache."""
    request_started.send(sender=None)
    cache: Any = caches["default"]
    cache.set(f"{number % 97}", number)
    assert cache.get_many([f"{number % 97}", "nothing", "at all", "here"])
    request_finished.send(sender=None)


def test_ten_thousand_requests_leave_no_connections_behind(closes: bool, cache_servers: TestSetup) -> None:
    before = connections(cache_servers)
    # With connections made anew for each request, fewer show the same.
    requests = 1_000 if closes else 10_000
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(serve, range(requests)))
    left = [after - earlier for after, earlier in zip(connections(cache_servers), before, strict=True)]
    assert max(left) <= THREADS
    if not closes:
        assert min(left) >= 1


def client_ids(servers: TestSetup) -> set[tuple[int, str]]:
    """The connections of all servers."""
    found = set()
    for server in range(SERVERS):
        with servers.client(server) as client:
            own = str(client.client_id())
            found |= {(server, each["id"]) for each in client.client_list() if each["id"] != own}
    return found


def test_a_forked_process_makes_connections_of_its_own(
    make_cache: Callable[..., Any], cache_servers: TestSetup
) -> None:
    cache = make_cache(SERVERS)
    keys = [f"key:{number}" for number in range(60)]
    cache.set_many(dict.fromkeys(keys, "parent"))
    before = client_ids(cache_servers)

    def work() -> None:
        assert cache.get_many(keys) == dict.fromkeys(keys, "parent")
        assert cache.set_many(dict.fromkeys(keys, "child")) == []
        assert client_ids(cache_servers) > before

    for _ in range(3):
        assert end_of(start_child(work)) == 0
        assert cache.get_many(keys) == dict.fromkeys(keys, "child")
        cache.set_many(dict.fromkeys(keys, "parent"))
    # The parent goes on with the connections that it had.
    assert client_ids(cache_servers) == before


def test_children_that_work_at_once_do_not_get_each_other_s_replies(
    make_cache: Callable[..., Any], cache_servers: TestSetup
) -> None:
    cache = make_cache(SERVERS)
    cache.set("shared", 0)

    def child(name: int) -> None:
        for number in range(200):
            key, value = f"{name}:{number}", f"value of {name}:{number}"
            cache.set(key, value)
            assert cache.get(key) == value
            cache.incr("shared")

    pids = [start_child(partial(child, name), 60) for name in range(4)]
    child(9)
    assert [end_of(pid) for pid in pids] == [0] * 4
    assert cache.get("shared") == 5 * 200


def test_threads_that_work_at_once_do_not_get_each_other_s_replies(make_cache: Callable[..., Any]) -> None:
    cache = make_cache(SERVERS)
    cache.set("shared", 0)

    def work(name: int) -> None:
        for number in range(50):
            data = {f"{name}:{number}:{place}": f"{name}:{place}" for place in range(9)}
            assert cache.set_many(data) == []
            assert cache.get_many(data) == data
            cache.incr("shared")
            assert cache.delete_many(data) == 9

    in_threads(16, work)
    assert cache.get("shared") == 16 * 50


def test_caches_with_the_same_settings_share_their_connections(
    make_cache: Callable[..., Any], cache_servers: TestSetup
) -> None:
    before = len(client_ids(cache_servers))
    for _ in range(20):
        make_cache(SERVERS).set_many(dict.fromkeys(map(str, range(30)), 1))
    assert len(client_ids(cache_servers)) - before == SERVERS
    make_cache(SERVERS, ON_DOWN="miss").set_many(dict.fromkeys(map(str, range(30)), 1))
    assert len(client_ids(cache_servers)) - before == 2 * SERVERS
