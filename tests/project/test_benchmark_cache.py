"""``python -m benchmarks cache``: it runs, checks the work before it times it, and has all figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import sleep
from typing import Any

import pytest
from django.core.cache.backends.redis import RedisCache as BuiltIn
from django_redis.cache import RedisCache

from benchmarks.cache.comparison import (
    CASES,
    DELETE_MANY,
    DELETE_PATTERN,
    can,
    check,
    make_job,
    time_without_refill,
)
from benchmarks.cache.subjects import BUILT_IN, DEFAULT_CLIENT, PINDB, RING, SHARD_CLIENT, Cache
from pindb.cache import ShardedRedisCache
from pindb.testing.redis import TestSetup
from tests.processes import output_of

DATA = {f"key:{number:05d}": f"{number:0200d}" for number in range(20)}


@pytest.fixture(scope="module")
def urls() -> Iterator[list[str]]:
    """The URLs of two servers."""
    with TestSetup(servers=2) as setup:
        yield [f"unix://{setup.host(server)['unix_socket_path']}?db=0" for server in range(2)]


@pytest.fixture
def cache(request: pytest.FixtureRequest, urls: list[str]) -> Iterator[Cache]:
    """A cache of the class that the test names, on one server or, if it can, on two; empty at first."""
    kind = request.param
    backend = kind(urls if kind is ShardedRedisCache else urls[0], {})
    backend.clear()
    yield Cache(backend, lambda key: True)
    backend.close()


EVERY_KIND = pytest.mark.parametrize("cache", [ShardedRedisCache, RedisCache, BuiltIn], indirect=True)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """What a quick run prints, and its rows."""
    file = tmp_path_factory.mktemp("cache") / "rows.json"
    printed = output_of("-m", "benchmarks", "cache", "--quick", "--json", file)
    return printed, json.loads(file.read_text(encoding="utf-8"))


def test_rows_have_the_form_of_all_benchmarks(report: tuple[str, list[dict[str, Any]]]) -> None:
    rows = report[1]
    assert all(set(row) == {"case", "subject", "value", "unit"} for row in rows)
    assert all(row["value"] > 0 for row in rows)
    assert {row["case"] for row in rows} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_everybody_has_a_figure(report: tuple[str, list[dict[str, Any]]], case: str) -> None:
    everybody = {PINDB, RING, SHARD_CLIENT, DEFAULT_CLIENT, BUILT_IN}
    if case == DELETE_PATTERN:
        everybody.remove(BUILT_IN)
    of_case = [row for row in report[1] if row["case"] == case]
    assert {row["subject"] for row in of_case if row["unit"] == "ms"} == everybody
    assert {row["subject"] for row in of_case if row["unit"] == f"ratio to {PINDB}"} == everybody - {PINDB}


def test_it_says_whether_the_targets_are_met(report: tuple[str, list[dict[str, Any]]]) -> None:
    verdicts = [line for line in report[0].splitlines() if line.startswith(("met: ", "missed: "))]
    assert len(verdicts) == 16
    assert any(SHARD_CLIENT in line for line in verdicts)


@EVERY_KIND
@pytest.mark.parametrize("name", [DELETE_MANY, DELETE_PATTERN])
def test_what_is_timed_as_deleting_deletes(cache: Cache, name: str) -> None:
    if not can(name, cache):
        pytest.skip("This cache has no such method.")
    cache.backend.set_many({**DATA, "other": "stays"})
    assert cache.backend.get_many(DATA) == DATA
    make_job(name, cache, DATA)()
    assert cache.backend.get_many([*DATA, "other"]) == {"other": "stays"}


@EVERY_KIND
@pytest.mark.parametrize("runs", [1, 3])
def test_deleting_finds_all_keys_each_time(cache: Cache, runs: int) -> None:
    """What is written anew before each run is there when the clock starts."""
    found = []

    def job() -> None:
        found.append(len(cache.backend.get_many(DATA)))
        cache.backend.delete_many(list(DATA))

    assert time_without_refill(job, lambda: cache.backend.set_many(DATA), runs) > 0
    assert found == [len(DATA)] * runs
    assert cache.backend.get_many(DATA) == DATA


def test_writing_anew_does_not_count() -> None:
    def refill() -> None:
        sleep(0.05)

    assert time_without_refill(lambda: None, refill, 2) < 0.05


@EVERY_KIND
def test_right_results_are_timed(cache: Cache) -> None:
    check("cache", cache, DATA)
    assert cache.backend.get_many(DATA) == DATA


class KeepsKeys(RedisCache):  # type: ignore[misc]
    def delete_many(self, *args: Any, **kwargs: Any) -> int:
        return len(DATA)


class KeepsMatches(RedisCache):  # type: ignore[misc]
    def delete_pattern(self, *args: Any, **kwargs: Any) -> int:
        return len(DATA)


class SetsNothing(RedisCache):  # type: ignore[misc]
    def set(self, *args: Any, **kwargs: Any) -> bool:
        return True


class GetsOneValue(RedisCache):  # type: ignore[misc]
    def get(self, *args: Any, **kwargs: Any) -> str:
        return DATA["key:00000"]


@pytest.mark.parametrize(
    ("cache", "name"),
    [
        (KeepsKeys, "delete_many"),
        (KeepsMatches, "delete_pattern"),
        (SetsNothing, "set"),
        (GetsOneValue, "get"),
    ],
    indirect=["cache"],
)
def test_wrong_results_are_not_timed(cache: Cache, name: str) -> None:
    with pytest.raises(RuntimeError, match=f"^a cache: wrong results of {name}$"):
        check("a cache", cache, DATA)


def test_a_cache_without_keys_on_the_first_server_is_not_timed(urls: list[str]) -> None:
    backend = RedisCache(urls[0], {})
    with pytest.raises(RuntimeError, match="keys on the first server"):
        check("a cache", Cache(backend, lambda key: False), DATA)
    backend.close()
