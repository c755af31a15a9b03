"""What Django promises of every cache: on one server and on many, by each router, configured either way."""

from __future__ import annotations

import gc
import pickle
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.signals import request_finished
from django.test import override_settings

from pindb.testing.redis import TestSetup
from tests.cache.tools import CUSTOM, ROUTERS, settings_of, sizes

Setup = tuple[int, str, str]

SETUPS: list[Setup] = [
    # With one server there is nothing to choose from.
    (1, "partition", "backend"),
    (1, "tests.cache.tools.SiteRouter", "client class"),
    (2, "partition", "client class"),
    (2, "consistent", "backend"),
    (2, "tests.cache.tools.SiteRouter", "client class"),
    *((5, router, way) for router in ROUTERS for way in ("backend", "client class")),
]
KEYS = [f"key:{number}" for number in range(40)]
MONTH = 30 * 24 * 60 * 60


class Unpicklable:
    def __getstate__(self) -> Any:
        raise pickle.PickleError("not this")


@pytest.fixture(params=SETUPS, ids=[f"{s}-{r.rpartition('.')[2]}-{w}" for s, r, w in SETUPS])
def setup(request: pytest.FixtureRequest, cache_urls: list[str]) -> Iterator[Setup]:
    """The caches of a site, on so many servers."""
    servers, router, way = request.param
    urls, options = cache_urls[:servers], {"ROUTER": router}

    with (
        override_settings(
            CACHES={
                "default": settings_of(urls, way, options),
                "prefix": settings_of(urls, way, options, KEY_PREFIX="a*[b]:"),
                "v2": settings_of(urls, way, options, VERSION=2),
                "custom": settings_of(urls, way, options, **CUSTOM),
                "forever": settings_of(urls, way, options, TIMEOUT=None),
                "closing": settings_of(urls, way, {**options, "CLOSE_CONNECTION": True}),
            }
        ),
        warnings.catch_warnings(),
    ):
        # Whatever it is: nothing here is done in a way that anybody should be warned of.
        warnings.simplefilter("error")
        yield request.param


@pytest.fixture
def cache(setup: Setup) -> Any:
    return site("default")


def site(alias: str) -> Any:
    return caches[alias]


# ---- one key -------------------------------------------------------------------------------------


def test_values_are_found_again_and_lie_on_all_servers(
    cache: Any, setup: Setup, cache_servers: TestSetup
) -> None:
    for key in KEYS:
        assert cache.get(key) is None
        assert cache.get(key, "default") == "default"
        assert cache.set(key, key.upper()) is True
    assert [cache.get(key) for key in KEYS] == [key.upper() for key in KEYS]
    found = sizes(cache_servers, 5)
    assert all(found[: setup[0]])
    assert sum(found[: setup[0]]) == sum(found) == len(KEYS)


def test_any_value(cache: Any) -> None:
    values: list[Any] = [
        *("text", "", "grüße \N{SNOWMAN}", b"\x00\xffbytes", b"", b"5", "5", 5, -1, 0, 2**70, True, False),
        *(1.5, float("inf"), None, [1, "2", None], (1, 2), {1: {2}}, {"ä": b"b"}, set(), range(3), 1j),
    ]
    for key, value in enumerate(values):
        cache.set(key, value)
        found = cache.get(key, "default")
        assert (type(found), found) == (type(value), value)
        assert key in cache
    every = dict(enumerate(values))
    assert cache.get_many(every) == every
    cache.clear()
    assert cache.set_many(every) == []
    assert list(map(repr, cache.get_many(every).values())) == list(map(repr, values))


def test_any_key(cache: Any) -> None:
    keys = ["", "grüße \N{SNOWMAN}", "a:b:c", "{tag}:1", "a b\r\nc", "x" * 1000, 5, 1.5]
    for key in keys:
        assert cache.set(key, [1]) is True
        assert cache.get(key) == [1]
        assert cache.get_many([key]) == {key: [1]}
        assert cache.set_many({key: 2}) == []
        assert cache.incr(key) == 3
        assert list(cache.iter_keys("*")) == cache.keys("*") == [str(key)]
        assert cache.has_key(key)
        assert cache.delete_many([key]) == 1
        assert key not in cache
    assert cache.set_many(dict.fromkeys(keys, 1)) == []
    assert cache.get_many(keys) == dict.fromkeys(keys, 1)
    assert cache.delete_many(keys) == len(keys)


def test_add_sets_only_what_is_not_there(cache: Any) -> None:
    for key in KEYS[:10]:
        assert cache.add(key, 1) is True
        assert cache.add(key, 2) is False
        assert cache.add(key, 2, timeout=0) is False
        assert cache.get(key) == 1
    assert cache.add("other", 1, timeout=0) is True
    assert cache.get("other") is None
    assert cache.add("third", 1, 50) is True
    assert 40 < cache.ttl("third") <= 50


def test_delete_tells_whether_there_was_something(cache: Any) -> None:
    for key in KEYS[:10]:
        assert cache.delete(key) is False
        cache.set(key, None)
        assert cache.delete(key) is True
        assert cache.get(key, "default") == "default"


def test_has_key_and_in(cache: Any) -> None:
    for key in KEYS[:10]:
        assert cache.has_key(key) is False
        assert key not in cache
        cache.set(key, None)
        assert cache.has_key(key) is True
        assert key in cache


def test_counting(cache: Any) -> None:
    for key in KEYS[:10]:
        cache.set(key, 41, timeout=50)
        assert cache.incr(key) == 42
        assert cache.incr(key, 10) == 52
        assert cache.decr(key) == 51
        assert cache.decr(key, 60) == -9
        assert cache.incr(key, -1) == cache.get(key) == -10
        assert 40 < cache.ttl(key) <= 50


def test_what_cannot_be_counted(cache: Any) -> None:
    for key in KEYS[:5]:
        for count in (cache.incr, cache.decr):
            with pytest.raises(ValueError, match="not found"):
                count(key)
        assert key not in cache
        cache.set(key, "text")
        with pytest.raises(TypeError):
            cache.incr(key)
        cache.set(key, None)
        with pytest.raises(TypeError):
            cache.incr(key)
        assert cache.get(key) is None


def test_counting_beyond_64_bits_and_in_fractions(cache: Any) -> None:
    for key in KEYS[:5]:
        cache.set(key, 2**63 - 1, timeout=50)
        assert cache.incr(key, 2) == cache.get(key) == 2**63 + 1
        assert cache.incr(key) == cache.get(key) == 2**63 + 2
        assert 40 < cache.ttl(key) <= 50
        cache.set(key, 1.5)
        assert cache.incr(key) == cache.get(key) == 2.5


def test_counting_from_nothing(cache: Any) -> None:
    for key in KEYS[:5]:
        assert cache.incr(key, 3, ignore_key_check=True) == 3
        assert cache.incr(key, ignore_key_check=True) == 4
        assert cache.ttl(key) is None


def test_timeouts(cache: Any) -> None:
    for timeout in (50, 15.5, 2 * MONTH):
        cache.clear()
        most = int(timeout * 1000)
        cache.set(KEYS[0], 1, timeout)
        cache.add(KEYS[1], 1, timeout)
        assert cache.set_many(dict.fromkeys(KEYS[2:6], 1), timeout) == []
        for key in KEYS[:6]:
            assert most - 10_000 < cache.pttl(key) <= most
            assert cache.touch(key, 100) is True
            assert 90_000 < cache.pttl(key) <= 100_000
            assert cache.touch(key, timeout) is True
            assert most - 10_000 < cache.pttl(key) <= most


def test_values_end_with_their_time(cache: Any) -> None:
    for key in KEYS[:3]:
        cache.set(key, 1, timeout=0.02)
    cache.set_many(dict.fromkeys(KEYS[3:6], 1), timeout=0.02)
    for key in KEYS[6:9]:
        cache.set(key, 1)
        assert cache.touch(key, 0.02) is True
    time.sleep(0.03)
    assert cache.get_many(KEYS[:9]) == {}
    assert not any(key in cache for key in KEYS[:9])
    assert cache.add(KEYS[0], 2) is True


def test_a_timeout_that_is_over_deletes(cache: Any) -> None:
    for timeout in (0, -1, -0.5, 0.00001):
        cache.set_many(dict.fromkeys(KEYS, 1))
        cache.set(KEYS[0], 2, timeout)
        assert KEYS[0] not in cache
        assert cache.touch(KEYS[1], timeout) is True
        assert cache.touch(KEYS[0], timeout) is False
        assert cache.set_many(dict.fromkeys(KEYS[2:], 2), timeout) == []
        assert cache.keys("*") == []


def test_values_for_ever(cache: Any) -> None:
    cache.set(KEYS[0], 1, timeout=None)
    cache.add(KEYS[1], 1, timeout=None)
    cache.set_many(dict.fromkeys(KEYS[2:5], 1), timeout=None)
    cache.set(KEYS[5], 1)
    assert cache.touch(KEYS[5], None) is True
    assert [cache.ttl(key) for key in KEYS[:6]] == [None] * 6
    assert cache.touch("missing", None) is False


def test_the_default_timeout(cache: Any) -> None:
    for one, least, most in ((cache, 299, 300), (site("forever"), None, None)):
        one.clear()
        one.set(KEYS[0], 1)
        one.add(KEYS[1], 1)
        one.set_many(dict.fromkeys(KEYS[2:5], 1))
        one.set(KEYS[5], 1, timeout=10)
        one.touch(KEYS[5])
        for key in KEYS[:6]:
            assert one.ttl(key) in (least, most)


def test_touch_of_nothing(cache: Any) -> None:
    assert cache.touch("missing") is False
    assert cache.touch("missing", 10) is False
    assert "missing" not in cache


def test_get_or_set(cache: Any) -> None:
    for key in KEYS[:5]:
        assert cache.get_or_set(key, "default", 50) == "default"
        assert cache.get_or_set(key, "other") == cache.get(key) == "default"
        assert 40 < cache.ttl(key) <= 50
        assert cache.get_or_set(key, lambda: "called", version=2) == "called"
        assert cache.get_or_set(key, lambda: 1 / 0, version=2) == "called"
        assert cache.get_or_set(f"none {key}", None) is None
        assert f"none {key}" in cache
    with pytest.raises(ZeroDivisionError):
        cache.get_or_set("another", lambda: 1 / 0)


def test_what_cannot_be_pickled_changes_nothing(cache: Any) -> None:
    cache.set_many(dict.fromkeys(KEYS, 1))
    with pytest.raises(pickle.PickleError):
        cache.set(KEYS[0], Unpicklable())
    with pytest.raises(pickle.PickleError):
        cache.add("new", Unpicklable())
    with pytest.raises(pickle.PickleError):
        cache.set_many({**dict.fromkeys(KEYS, 2), "new": Unpicklable()})
    assert cache.get_many([*KEYS, "new"]) == dict.fromkeys(KEYS, 1)


# ---- many keys -----------------------------------------------------------------------------------


def test_many_keys(cache: Any, setup: Setup, cache_servers: TestSetup) -> None:
    data = {key: (place, None)[place % 2] for place, key in enumerate(KEYS)}
    assert cache.set_many(data) == []
    assert all(sizes(cache_servers, setup[0]))
    assert cache.get_many(KEYS) == data
    assert list(cache.get_many(KEYS)) == KEYS
    assert cache.get_many([*KEYS, "missing", KEYS[0]]) == data
    assert cache.delete_many([*KEYS[:30], "missing"]) == 30
    assert cache.get_many(KEYS) == {key: data[key] for key in KEYS[30:]}


def test_many_keys_by_iterators(cache: Any) -> None:
    data = dict.fromkeys(KEYS, "value")
    cache.set_many(data)
    assert cache.get_many(iter(KEYS)) == data
    assert cache.get_many(key for key in KEYS) == data
    assert cache.get_many(data.keys()) == data
    assert cache.delete_many(key for key in KEYS[:20]) == 20
    assert cache.delete_many(set(KEYS[20:])) == 20
    assert cache.get_many(set(KEYS)) == {}


def test_no_keys(cache: Any) -> None:
    assert cache.set_many({}) == []
    assert cache.set_many({}, timeout=0) == []
    nothing: list[Any] = [[], (), iter([]), {}]
    for none in nothing:
        assert cache.get_many(none) == {}
        assert cache.delete_many(none) is None


def test_clear_empties_all_servers(cache: Any, setup: Setup, cache_servers: TestSetup) -> None:
    cache.set_many(dict.fromkeys(KEYS, 1))
    site("v2").set_many(dict.fromkeys(KEYS, 1))
    assert cache.clear() is None
    assert sizes(cache_servers, setup[0]) == [0] * setup[0]
    assert cache.get_many(KEYS) == {}


# ---- versions, prefixes and key functions --------------------------------------------------------


def test_versions(cache: Any) -> None:
    v2 = site("v2")
    for place, key in enumerate(KEYS[:10]):
        cache.set(key, place)
        assert v2.get(key) is None
        v2.set(key, -place)
        assert cache.get(key) == cache.get(key, version=1) == v2.get(key, version=1) == place
        assert v2.get(key) == cache.get(key, version=2) == -place
        assert cache.incr(key, version=2) == 1 - place
        assert v2.decr(key) == -place
        assert cache.add(key, 1, version=3) is True
        assert cache.add(key, 1, version=3) is False
        assert cache.has_key(key, version=3)
        assert not cache.has_key(key, version=4)
        assert cache.touch(key, 50, version=3) is True
        assert cache.ttl(key, version=3) <= 50 < cache.ttl(key)
        assert cache.delete(key, version=3) is True
        assert not v2.has_key(key, version=3)


def test_versions_of_many_keys(cache: Any) -> None:
    v2 = site("v2")
    cache.set_many(dict.fromkeys(KEYS, 1))
    cache.set_many(dict.fromkeys(KEYS, 2), version=2)
    v2.set_many(dict.fromkeys(KEYS, 3), version=3)
    assert v2.get_many(KEYS) == cache.get_many(KEYS, version=2) == dict.fromkeys(KEYS, 2)
    assert v2.get_many(KEYS, version=1) == cache.get_many(KEYS) == dict.fromkeys(KEYS, 1)
    assert cache.delete_many(KEYS, version=2) == len(KEYS)
    assert v2.get_many(KEYS) == {}
    assert cache.delete_pattern("*", version=3) == len(KEYS)
    assert sorted(v2.keys("*", version=1)) == sorted(cache.iter_keys("*", version=1)) == sorted(KEYS)


def test_moving_to_another_version_keeps_value_and_time(cache: Any) -> None:
    values: list[Any] = ["text", 5, None, [None], b"", {}]
    for key, value in zip(KEYS, values, strict=False):
        cache.set(key, value, timeout=50)
        assert cache.incr_version(key) == 2
        assert cache.get(key, "default") == "default"
        assert cache.get(key, "default", version=2) == value
        assert 49_000 < cache.pttl(key, version=2) <= 50_000
        assert cache.incr_version(key, 3, version=2) == 5
        assert cache.decr_version(key, version=5) == 4
        assert cache.decr_version(key, 3, version=4) == 1
        assert cache.get(key, "default") == value
        assert cache.keys(f"{key}*", version=5) == []
        assert site("v2").set(key, value, timeout=None) is True
        assert site("v2").incr_version(key) == 3
        assert cache.get(key, "default", version=3) == value
        assert cache.ttl(key, version=3) is None


def test_a_key_that_is_about_to_end_keeps_its_time_in_another_version(cache: Any) -> None:
    cache.set(KEYS[0], 1, timeout=0.4)
    assert cache.incr_version(KEYS[0]) == 2
    assert 0 < cache.pttl(KEYS[0], version=2) <= 400


def test_moving_what_is_not_there(cache: Any) -> None:
    for key in KEYS[:5]:
        with pytest.raises(ValueError, match="not found"):
            cache.incr_version(key)
        with pytest.raises(ValueError, match="not found"):
            cache.decr_version(key, version=3)


def test_prefixes_keep_caches_apart(cache: Any) -> None:
    prefix = site("prefix")
    cache.set_many(dict.fromkeys(KEYS, 1))
    assert prefix.get_many(KEYS) == {}
    prefix.set_many(dict.fromkeys(KEYS, 2))
    assert cache.get_many(KEYS) == dict.fromkeys(KEYS, 1)
    assert prefix.delete_many(KEYS) == len(KEYS)
    assert cache.get_many(KEYS) == dict.fromkeys(KEYS, 1)


def test_key_functions(cache: Any) -> None:
    custom = site("custom")
    data = dict.fromkeys(["a-b", *KEYS], 1)
    assert custom.set_many(data) == []
    assert cache.get_many(data) == {}
    assert custom.get_many(data) == data
    assert custom.get("a-b") == 1
    assert sorted(custom.keys("*")) == sorted(custom.iter_keys("*")) == sorted(data)
    assert custom.incr_version("a-b") == 2
    assert custom.keys("*", version=2) == ["a-b"]
    assert custom.client.get_client().get("CUSTOM--1-key:3") == b"1"
    assert custom.delete_pattern("key:*") == len(KEYS)


# ---- keys by patterns ----------------------------------------------------------------------------


def test_keys_by_patterns(cache: Any) -> None:
    cache.set_many(dict.fromkeys([*KEYS, "other", "x*y", "xzy"], 1))
    for find in (cache.keys, lambda pattern: list(cache.iter_keys(pattern))):
        assert sorted(find("key:*")) == sorted(KEYS)
        assert sorted(find("key:1?")) == KEYS[10:20]
        assert sorted(find("key:[12]")) == ["key:1", "key:2"]
        assert sorted(find("x*y")) == ["x*y", "xzy"]
        assert find("x[*]y") == ["x*y"]
        assert find("missing*") == []
    assert sorted(cache.iter_keys("key:*", itersize=1)) == sorted(KEYS)
    assert cache.delete_pattern("key:1*") == 11
    assert cache.delete_pattern("key:1*") == 0
    assert cache.delete_pattern("x[*]y", itersize=2) == 1
    assert sorted(cache.keys("*")) == sorted(["other", "xzy", *KEYS[:1], *KEYS[2:10], *KEYS[20:]])


def test_patterns_in_prefixes_are_none(cache: Any) -> None:
    prefix = site("prefix")
    prefix.set_many(dict.fromkeys(KEYS, 1))
    client = prefix.client.get_client()
    client.set("axb::1:key:1", "stray")
    client.set("a*b::1:key:1", "stray")
    assert len(prefix.keys("*")) == len(list(prefix.iter_keys("*"))) == len(KEYS)
    assert prefix.delete_pattern("*") == len(KEYS)
    assert sorted(client.keys("*")) == [b"a*b::1:key:1", b"axb::1:key:1"]
    assert prefix.delete_pattern("*", prefix="axb:") == 1


def test_a_pattern_deletes_more_keys_than_fit_in_one_go(cache: Any, setup: Setup) -> None:
    cache.set_many({f"many:{number}": number for number in range(3000)})
    cache.set_many(dict.fromkeys(KEYS, 1))
    assert cache.delete_pattern("many:*") == 3000
    assert sorted(cache.keys("*")) == sorted(KEYS)


# ---- the end of a request ------------------------------------------------------------------------


def test_a_closed_cache_opens_again(cache: Any) -> None:
    for one in (cache, site("closing"), site("v2")):
        assert one.close() is None
        one.set_many(dict.fromkeys(KEYS, 1))
        assert one.close(signal="any", sender=None) is None
        assert one.get_many(KEYS) == dict.fromkeys(KEYS, 1)
        request_finished.send(sender=None)
        assert one.get(KEYS[0]) == 1


def test_connections_close_after_a_request_where_that_is_asked_for(
    cache: Any, setup: Setup, cache_servers: TestSetup
) -> None:
    def connected() -> int:
        total = 0
        for server in range(setup[0]):
            with cache_servers.client(server) as client:
                total += len(client.client_list()) - 1
        return total

    def closed(at_most: int) -> int:
        deadline = time.monotonic() + 5
        while connected() > at_most and time.monotonic() < deadline:
            time.sleep(0.001)
        return connected()

    closing = site("closing")
    # Other tests' caches may have connections, and those that were just closed may still count.
    gc.collect()
    others = connected()
    time.sleep(0.02)
    others = min(others, connected())
    cache.set_many(dict.fromkeys(KEYS, 1))
    opened = connected()
    assert opened >= others + setup[0]
    cache.close()
    assert connected() == opened
    closing.get_many(KEYS)
    closing.close()
    assert closed(others) == others
