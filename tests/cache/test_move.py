"""Moving the keys of a cache to other servers."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from pindb.cache import move as moving
from pindb.cache.copies import WRITE
from pindb.cache.move import DELETE, READ, Failure, Move
from pindb.redis import HostConnectionError
from pindb.testing.redis import TestSetup
from tests.cache.moving import PATTERN, before, changing, finish, site
from tests.threads import again_and_again

VALUES = {f"key:{number}": f"value {number}" for number in range(300)}


def fill(location: list[str]) -> None:
    with site(location) as cache:
        assert cache.set_many(VALUES, timeout=1000) == []


def read(location: list[str], **settings: Any) -> dict[str, Any]:
    with site(location, **settings) as cache:
        found: dict[str, Any] = cache.get_many(VALUES)
    return found


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("change", ["add", "remove", "router"])
def test_everything_is_there_under_the_new_settings(urls: list[str], change: str, delete: bool) -> None:
    values = {
        "text": "ü" * 10,
        "bytes": bytes(range(256)),
        "large": "x" * 1_000_000,
        "number": 7,
        "nothing": None,
        "object": {"a": [1, 2.5]},
        **VALUES,
    }
    with site(urls[:3]) as cache:
        assert cache.set_many(values, timeout=1000) == []
        cache.set("for ever", 1, timeout=None)
        cache.set("other version", 2, version=5)
        cache.sadd("set", *range(1000))
        cache.sadd("small set", "a", "b")
        cache.hset("hash", "field", "value")
        cache.zadd("sorted", {"a": 1.5, "b": 2})
    location, options = urls[:3], {}
    if change == "router":
        how: dict[str, Any] = {"router": "partition"}
        options = {"ROUTER": "partition"}
    elif change == "add":
        how, location = {"add": urls[3:]}, urls
    else:
        how, location = {"remove": urls[:1]}, urls[1:3]
    with changing(urls[:3], **how) as (now, then):
        move = finish(Move(now, then, PATTERN, delete=delete, batch=50))
    assert not move.failures
    assert move.progress.copied > 0
    assert move.progress.deleted == (move.progress.copied if delete else 0)
    with site(location, options) as cache:
        assert cache.get_many(values) == values
        assert all(990 < cache.ttl(key) <= 1000 for key in values)
        assert cache.get("for ever") == 1
        assert cache.ttl("for ever") is None
        assert cache.get("other version", version=5) == 2
        assert cache.smembers("set") == set(range(1000))
        assert cache.smembers("small set") == {"a", "b"}
        assert cache.hkeys("hash") == ["field"]
        assert cache.zrange("sorted", 0, -1, withscores=True) == [("a", 1.5), ("b", 2.0)]
        if delete:
            assert len(cache.keys("*")) == len(values) + 5


def test_originals_are_kept_for_the_site(urls: list[str]) -> None:
    fill(urls[:3])
    with changing(urls[:3], router="partition") as (now, then):
        finish(Move(now, then, PATTERN))
    assert read(urls[:3]) == VALUES


def test_keys_of_others_stay_where_they_are(cache_servers: TestSetup, urls: list[str]) -> None:
    fill(urls[:3])
    with site(urls[:3], KEY_PREFIX="own") as cache:
        cache.set_many(VALUES)
    plain = [cache_servers.client(server) for server in range(4)]
    for client in plain:
        client.set("no cache's", 1)
    others = [set(client.keys(PATTERN)) for client in plain]
    with changing(urls[:3], remove=urls[:1], add=urls[3:]) as (now, then):
        finish(Move(now, then, "own:*:*", delete=True))
    assert [set(client.keys(PATTERN)) for client in plain] == others
    assert all(client.exists("no cache's") for client in plain)
    assert plain[0].keys("own*") == []
    for client in plain:
        client.close()


def test_running_again_after_an_interruption_goes_on(urls: list[str]) -> None:
    fill(urls[:3])
    with changing(urls[:3], router="partition") as (now, then):
        first = Move(now, then, PATTERN, batch=20)
        for progress in first.run():
            if progress.copied >= 40:
                break
        assert read(urls[:3]) == VALUES
        again = finish(Move(now, then, PATTERN, delete=True))
    assert again.progress.same == first.progress.copied
    assert again.progress.deleted == again.progress.same + again.progress.copied
    assert again.progress.seen == again.progress.total
    assert read(urls[:3], options={"ROUTER": "partition"}) == VALUES


def test_running_again_brings_what_has_changed(urls: list[str]) -> None:
    fill(urls[:1])
    with changing(urls[:1], add=urls[1:2], remove=urls[:1]) as (now, then):
        finish(Move(now, then, PATTERN))
        with site(urls[:1]) as cache:
            cache.set("key:1", "new")
            cache.touch("key:2", 50)
            cache.persist("key:3")
        again = finish(Move(now, then, PATTERN))
    assert (again.progress.copied, again.progress.same) == (1, len(VALUES) - 1)
    with site(urls[1:2]) as cache:
        assert cache.get("key:1") == "new"
        assert cache.ttl("key:2") <= 50
        assert cache.ttl("key:3") is None


@pytest.mark.parametrize("change", ["value", "touch", "persist"])
def test_what_changes_after_it_was_copied_is_not_deleted(
    urls: list[str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    fill(urls[:1])

    def act(cluster: Any, commands: Any) -> None:
        client = cluster.get_local_client(0)
        if change == "value":
            client.set(":1:key:5", "new", ex=1000)
        elif change == "touch":
            client.expire(":1:key:5", 5000)
        else:
            client.persist(":1:key:5")

    before(monkeypatch, DELETE, act)
    with changing(urls[:1], add=urls[1:2], remove=urls[:1]) as (now, then):
        move = finish(Move(now, then, PATTERN, delete=True))
        assert (move.progress.kept, move.progress.deleted) == (1, len(VALUES) - 1)
        assert now.get_local_client(0).keys() == [b":1:key:5"]
        again = finish(Move(now, then, PATTERN, delete=True))
        assert again.progress.deleted == 1
        assert now.get_local_client(0).dbsize() == 0


def test_a_key_that_expires_meanwhile_is_no_error(urls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fill(urls[:1])
    before(
        monkeypatch, READ, lambda cluster, commands: cluster.get_local_client(0).delete(":1:key:5") and None
    )
    with changing(urls[:1], add=urls[1:2], remove=urls[:1]) as (now, then):
        move = finish(Move(now, then, PATTERN))
    assert (move.progress.expired, move.progress.copied, move.failures) == (1, len(VALUES) - 1, [])


def test_a_target_that_dies_loses_nothing(cache_servers: TestSetup, urls: list[str]) -> None:
    fill(urls[:2])
    with changing(urls[:2], add=urls[2:]) as (now, then):
        move = Move(now, then, PATTERN, delete=True, batch=10)
        for step, _ in enumerate(move.run()):
            if step == 1:
                cache_servers.kill(3)
        assert {failure.address for failure in move.failures} == {then.hosts[3].address}
        assert isinstance(move.failures[0].error, HostConnectionError)
        assert move.progress.failed >= len(move.failures) > 0
        kept = [name for id_ in (0, 1) for name in now.get_local_client(id_).keys(PATTERN)]
        moved = then.get_local_client(2).keys(PATTERN)
        # What the dead server had already is gone with it; all else is there.
        lost = move.progress.deleted - len(moved)
        assert len({*kept, *moved}) == len(VALUES) - lost
        assert {failure.key for failure in move.failures} <= set(kept)
        cache_servers.start(3)
        then.disconnect_pools()
        # The circuit lets the next one try after some seconds; another process has not heard of it.
        with changing(urls[:2], add=urls[2:]) as (now, then):
            again = finish(Move(now, then, PATTERN, delete=True))
    assert again.failures == []
    assert len(read(urls)) == len(VALUES) - lost


def test_a_source_that_dies_does_not_keep_the_others_from_moving(
    cache_servers: TestSetup, urls: list[str]
) -> None:
    fill(urls[:3])
    with changing(urls[:3], remove=urls[:2], add=urls[3:]) as (now, then):
        held = now.get_local_client(1).dbsize()
        move = Move(now, then, PATTERN, batch=10)
        for step, _ in enumerate(move.run()):
            if step == 0:
                cache_servers.kill(0)
        assert Failure(now.hosts[0].address, None, move.failures[-1].error) in move.failures
        assert {failure.address for failure in move.failures} == {now.hosts[0].address}
        there = {name for id_ in then.hosts for name in then.get_local_client(id_).keys(PATTERN)}
        assert {*now.get_local_client(1).keys(PATTERN)} <= there
        assert now.get_local_client(1).dbsize() == held


@pytest.mark.parametrize("dead", [0, 3])
def test_nothing_is_moved_while_a_server_is_down(
    cache_servers: TestSetup, urls: list[str], dead: int
) -> None:
    fill(urls[:3])
    cache_servers.kill(dead)
    with changing(urls[:3], add=urls[3:]) as (now, then):
        move = Move(now, then, PATTERN, delete=True)
        with pytest.raises(HostConnectionError, match=f"{dead}.sock"):
            finish(move)
    assert (move.progress.copied, move.progress.deleted) == (0, 0)


def test_a_server_without_memory_is_told_with_the_keys(cache_servers: TestSetup, urls: list[str]) -> None:
    fill(urls[:3])
    with cache_servers.client(3) as target, changing(urls[:3], add=urls[3:]) as (now, then):
        target.config_set("maxmemory", 1)
        target.config_set("maxmemory-policy", "noeviction")
        move = finish(Move(now, then, PATTERN, delete=True))
        target.config_set("maxmemory", 0)
        assert move.progress.failed == len(move.failures) > 0
        assert (move.progress.copied, move.progress.deleted) == (0, 0)
        failure = move.failures[0]
        assert re.fullmatch(f"{then.hosts[3].address}: ':1:key:[0-9]+': .*maxmemory.*", str(failure))
        assert "EVAL" not in str(failure)
        assert finish(Move(now, then, PATTERN, delete=True)).progress.copied == move.progress.failed
    assert read(urls) == VALUES


def test_one_value_that_a_server_does_not_take_does_not_keep_the_others_from_moving(
    urls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(urls[:1])
    spoilt = []

    def spoil(cluster: Any, commands: Any) -> Any:
        (target, words), *rest = commands
        name, value = words[3], words[6]
        spoilt.append(name)
        return [(target, (*words[:6], value[:-1], *words[7:])), *rest]

    before(monkeypatch, WRITE, spoil)
    with changing(urls[:1], add=urls[1:2], remove=urls[:1]) as (now, then):
        move = finish(Move(now, then, PATTERN, delete=True))
        assert now.get_local_client(0).keys() == spoilt
    assert [failure.key for failure in move.failures] == spoilt
    assert isinstance(move.failures[0].error, ResponseError)
    assert move.progress.deleted == move.progress.copied == len(VALUES) - 1


def test_failures_without_number_are_counted(
    cache_servers: TestSetup, urls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "MAX_FAILURES", 3)
    fill(urls[:1])
    with cache_servers.client(1) as target, changing(urls[:1], add=urls[1:2], remove=urls[:1]) as (now, then):
        target.config_set("maxmemory", 1)
        move = finish(Move(now, then, PATTERN))
        target.config_set("maxmemory", 0)
    assert (move.progress.failed, len(move.failures)) == (len(VALUES), 3)


def test_writes_that_go_on_are_there_after_another_run(urls: list[str]) -> None:
    fill(urls[:3])
    numbers = itertools.count()
    written: dict[str, str] = {}
    with site(urls[:3]) as cache, changing(urls[:3], router="partition") as (now, then):

        def write() -> None:
            number = next(numbers)
            key = f"key:{number % 300}"
            cache.set(key, f"new {number}")
            written[key] = f"new {number}"

        with again_and_again(write):
            while len(written) < 10:
                finish(Move(now, then, PATTERN, batch=10))
        assert cache.get_many(VALUES) == {**VALUES, **written}
        assert finish(Move(now, then, PATTERN)).failures == []


def test_a_server_with_two_addresses_keeps_its_keys(urls: list[str], tmp_path: Path) -> None:
    fill(urls[:1])
    link = tmp_path / "link"
    link.symlink_to(urls[0].removeprefix("unix://").partition("?")[0])
    with changing(urls[:1], add=[f"unix://{link}?db=0"], remove=urls[:1]) as (now, then):
        move = finish(Move(now, then, PATTERN, delete=True))
    assert (move.progress.copied, move.progress.same, move.progress.deleted) == (0, 0, 0)
    assert read(urls[:1]) == VALUES


def test_copies_that_the_site_does_not_look_for_yet_are_left_alone(urls: list[str]) -> None:
    fill(urls[:3])
    with changing(urls[:3], router="partition") as (now, then):
        first = finish(Move(now, then, PATTERN))
        second = finish(Move(now, then, PATTERN))
        assert (second.progress.copied, second.progress.same) == (0, first.progress.copied)
