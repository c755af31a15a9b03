"""A move that is repeated: what was deleted since comes back nowhere, and what the site has written stays."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.contrib.sessions.backends.cache import SessionStore
from django.core.management import call_command
from django.test import override_settings

from pindb.cache import copies
from pindb.cache import move as moving
from pindb.cache.copies import DELETE_COPY, PREFIX, WRITE
from pindb.cache.fanout import send_to_hosts
from pindb.cache.move import DELETE, Move
from pindb.redis import HostConnectionError
from pindb.testing.redis import TestSetup
from tests.cache.moving import BACKEND, PATTERN, before, changing, finish, site
from tests.threads import in_threads

KEYS = [f"key:{number}" for number in range(60)]


@pytest.fixture
def one(urls: list[str]) -> Callable[..., Move]:
    """Moves all keys of the first server to the second."""

    def run(**options: Any) -> Move:
        with changing(urls[:1], add=urls[1:2], remove=urls[:1]) as (now, then):
            return finish(Move(now, then, options.pop("pattern", PATTERN), **options))

    return run


def fill(location: list[str]) -> None:
    with site(location) as cache:
        cache.set_many(dict.fromkeys(KEYS, "x"), 1000)


def alive(location: list[str], **settings: Any) -> dict[str, Any]:
    with site(location, **settings) as cache:
        found: dict[str, Any] = cache.get_many(KEYS)
    return found


# ---- what is deleted comes back nowhere ----------------------------------------------------------


@pytest.mark.parametrize("change", ["add", "remove", "router"])
def test_sessions_that_were_deleted_stay_so(urls: list[str], change: str) -> None:
    def of(location: list[str], router: str = "consistent") -> Any:
        options = {"ROUTER": router}
        cache = {"BACKEND": BACKEND, "LOCATION": location, "OPTIONS": options}
        return override_settings(CACHES={"default": cache})

    new: tuple[Any, ...] = (urls[:4],)
    arguments: dict[str, Any] = {"add": urls[3:]}
    if change == "remove":
        new, arguments = (urls[1:3],), {"remove": urls[:1]}
    elif change == "router":
        new, arguments = (urls[:3], "partition"), {"router": "partition"}
    with of(urls[:3]):
        sessions = [SessionStore() for _ in range(100)]
        for session in sessions:
            session["user"] = 1
            session.create()
        names = [str(session.session_key) for session in sessions]
        call_command("pindb", "plan", **arguments, move=True)
        for session in sessions[:40]:
            session.delete()
    with of(*new):
        assert sum(SessionStore().exists(name) for name in names) >= 60
    with of(urls[:3]):
        call_command("pindb", "plan", **arguments, move=True)
    with of(*new):
        found = [SessionStore().exists(name) for name in names]
    assert found == [False] * 40 + [True] * 60


@pytest.mark.parametrize("ending", ["delete", "clear", "expire", "restart"])
def test_whatever_way_an_original_went(
    cache_servers: TestSetup, urls: list[str], one: Callable[..., Move], ending: str
) -> None:
    with site(urls[:1]) as cache:
        cache.set_many(dict.fromkeys(KEYS, "x"), 1 if ending == "expire" else 1000)
        cache.set("for ever", "x", None)
    one()
    with site(urls[:1]) as cache:
        cache.delete("for ever")
        if ending == "delete":
            cache.delete_many(KEYS)
        elif ending == "clear":
            cache.clear()
        elif ending == "expire":
            time.sleep(1.1)
        else:
            cache_servers.kill(0)
            cache_servers.start(0)
    again = one()
    assert again.progress.orphans_deleted == (1 if ending == "expire" else 61)
    assert not again.failures
    with site(urls[1:2]) as cache:
        assert cache.keys("*") == []
    # All is done, and forgotten.
    assert one().progress.orphans_deleted == 0


def test_kinds_of_values(urls: list[str], one: Callable[..., Move]) -> None:
    def fill(cache: Any) -> None:
        cache.sadd("small set", "a", "b")
        cache.sadd("numbers", *range(5))
        cache.sadd("large set", *(f"member {number}" for number in range(3000)))
        for number in range(700):
            cache.hset("hash", f"field {number}", "x" * 70)
        cache.zadd("sorted", {f"member {number}": number for number in range(500)})
        cache.set("text", "x" * 100_000)

    with site(urls[:1]) as cache:
        fill(cache)
    one()
    with site(urls[:1]) as cache:
        cache.clear()
    with site(urls[1:2]) as cache:
        # Tables that grow are in another order afterwards.
        cache.set_many({f"other:{number}": 1 for number in range(5000)})
        cache.hdel("other", "x")
    assert one().progress.orphans_deleted == 6
    with site(urls[1:2]) as cache:
        assert [key for key in cache.keys("*") if not key.startswith("other")] == []


def test_what_was_written_again_at_its_source_is_copied_again(
    urls: list[str], one: Callable[..., Move]
) -> None:
    with site(urls[:1]) as cache:
        cache.set_many(dict.fromkeys(KEYS, "old"), 1000)
    one()
    with site(urls[:1]) as cache:
        cache.delete_many(KEYS)
        cache.set_many(dict.fromkeys(KEYS[:20], "new"), 1000)
    again = one()
    assert (again.progress.orphans_deleted, again.progress.copied) == (40, 20)
    assert alive(urls[1:2]) == dict.fromkeys(KEYS[:20], "new")


def test_what_is_written_again_while_the_copy_is_taken_back(
    urls: list[str], one: Callable[..., Move], monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(urls[:1]) as cache:
        cache.set_many(dict.fromkeys(KEYS, "x"), None)
    one()
    with site(urls[:1]) as cache:
        cache.delete_many(KEYS[:10])

    def act(*_: Any) -> None:
        with site(urls[:1]) as cache:
            cache.set(KEYS[0], "x", None)
            cache.set(KEYS[1], "new", None)

    before(monkeypatch, DELETE_COPY, act)
    one()
    assert alive(urls[1:2]) == {KEYS[0]: "x", KEYS[1]: "new", **dict.fromkeys(KEYS[10:], "x")}


# ---- what the site has written stays -------------------------------------------------------------


def test_what_the_site_wrote_at_the_target_stays(urls: list[str], one: Callable[..., Move]) -> None:
    with site(urls[:1]) as cache:
        cache.set_many(dict.fromkeys(KEYS, "x"), 1000)
        cache.set("for ever", "x", None)
        cache.sadd("set", *range(2000))
        cache.sadd("small", "a", "b")
    one()
    with site(urls[:1]) as cache:
        cache.clear()
    with site(urls[1:2]) as cache:
        cache.set("new", "x")
        cache.set(KEYS[0], "y", 1000)
        cache.touch(KEYS[1], 2000)
        cache.touch(KEYS[2], None)
        cache.delete(KEYS[3])
        cache.set(KEYS[3], "y")
        # The same value, at another time.
        time.sleep(0.05)
        cache.set(KEYS[4], "x", 1000)
        cache.set("for ever", "x", 1000)
        cache.srem("set", 5)
        cache.sadd("set", -5)
        cache.sadd("small", "c")
    assert one().progress.orphans_deleted == 55
    with site(urls[1:2]) as cache:
        assert sorted(cache.keys("*")) == sorted(["for ever", "new", "set", "small", *KEYS[:5]])
    assert one().progress.orphans_deleted == 0


def test_what_the_site_writes_at_the_target_meanwhile_stays(
    urls: list[str], one: Callable[..., Move], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(urls[:1])
    one()
    with site(urls[:1]) as cache:
        cache.clear()

    def act(*_: Any) -> None:
        with site(urls[1:2]) as cache:
            cache.set(KEYS[0], "y")

    before(monkeypatch, DELETE_COPY, act)
    assert one().progress.orphans_deleted == 59
    assert alive(urls[1:2]) == {KEYS[0]: "y"}


def test_the_copies_of_a_move_that_is_done_are_the_site_s(urls: list[str]) -> None:
    """The next servers come when the originals of the last move have long expired."""
    with site(urls[:2]) as cache:
        cache.set_many(dict.fromkeys(KEYS, "x"), 1000)
    with changing(urls[:2], add=urls[2:3]) as (now, then):
        moved = finish(Move(now, then, PATTERN)).progress.copied
        assert moved > 5
        for host_id in now.hosts:
            now.get_local_client(host_id).flushdb()
    with site(urls[:3]) as cache:
        assert len(cache.get_many(KEYS)) == moved
    for _ in range(2):
        with changing(urls[:3], add=urls[3:]) as (now, then):
            assert finish(Move(now, then, PATTERN)).progress.orphans_deleted == 0
    assert len(alive(urls[:3])) == moved
    assert len(alive(urls)) == moved


def test_other_caches_on_the_same_servers_are_others(urls: list[str], one: Callable[..., Move]) -> None:
    def both() -> list[int]:
        return [len(alive(urls[1:2], KEY_PREFIX=prefix)) for prefix in ("a", "b")]

    for prefix in ("a", "b"):
        with site(urls[:1], KEY_PREFIX=prefix) as cache:
            cache.set_many(dict.fromkeys(KEYS, "x"), 1000)
        one(pattern=f"{prefix}:*:*")
    with site(urls[:1]) as cache:
        cache.clear()
    assert both() == [60, 60]
    one(pattern="a:*:*")
    assert both() == [0, 60]
    # Another database of the same source is another source.
    other = [url.replace("db=0", "db=1") for url in urls]
    with changing(other[:1], add=urls[1:2], remove=other[:1]) as (now, then):
        assert finish(Move(now, then, "b:*:*")).progress.orphans_deleted == 0
    one(pattern="b:*:*")
    assert both() == [0, 0]


# ---- originals that the move itself has deleted --------------------------------------------------


def test_copies_whose_originals_the_move_has_deleted_stay(urls: list[str], one: Callable[..., Move]) -> None:
    fill(urls[:1])
    for delete in (False, True, False, True):
        assert one(delete=delete).progress.orphans_deleted == 0
    assert alive(urls[1:2]) == dict.fromkeys(KEYS, "x")


@pytest.mark.parametrize("script", [WRITE, DELETE])
@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("earlier", [False, True])
def test_an_interruption_at_any_step_loses_nothing(
    urls: list[str],
    one: Callable[..., Move],
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    delete: bool,
    earlier: bool,
) -> None:
    fill(urls[:1])
    if earlier:
        one()
    number = 0

    def asking(cluster: Any, commands: Iterable[Any], **options: Any) -> list[Any]:
        nonlocal number
        commands = list(commands)
        if commands and commands[0][1][1] == script:
            number += 1
            if number == 2:
                # Some have run, and the rest not.
                send_to_hosts(cluster, commands[: len(commands) // 2])
                raise KeyboardInterrupt
        return send_to_hosts(cluster, commands, **options)

    monkeypatch.setattr(moving, "send_to_hosts", asking)
    if script == WRITE or delete:
        with pytest.raises(KeyboardInterrupt):
            one(delete=delete, batch=20)
    monkeypatch.undo()
    assert one().progress.orphans_deleted == 0
    assert one(delete=True).progress.orphans_deleted == 0
    assert alive(urls[1:2]) == dict.fromkeys(KEYS, "x")


def test_two_moves_at_once_of_which_one_deletes(
    urls: list[str], one: Callable[..., Move], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(urls[:1])

    def act(*_: Any) -> None:
        assert one(delete=True).progress.deleted == 60

    # The other one has read, and not written yet.
    before(monkeypatch, WRITE, act)
    one()
    monkeypatch.undo()
    assert one().progress.orphans_deleted == 0
    assert alive(urls[1:2]) == dict.fromkeys(KEYS, "x")


# ---- servers that fail ---------------------------------------------------------------------------


def test_a_source_that_does_not_answer_is_no_source_without_keys(
    cache_servers: TestSetup, urls: list[str], one: Callable[..., Move], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(urls[:1])
    one()
    with site(urls[:1]) as cache:
        cache.delete_many(KEYS[:30])
    with changing(urls[:1], add=urls[1:2], remove=urls[:1]) as (now, then):
        move = Move(now, then, PATTERN)
        find = copies.CopyRecords.find

        def dying(self: Any) -> Any:
            for found in find(self):
                cache_servers.kill(0)
                yield found

        monkeypatch.setattr(copies.CopyRecords, "find", dying)
        finish(move)
    assert move.progress.orphans_deleted == 0
    assert len(move.failures) >= 60
    assert all(isinstance(failure.error, HostConnectionError) for failure in move.failures)
    assert len(alive(urls[1:2])) == 60


def test_a_target_that_does_not_answer_is_told(
    cache_servers: TestSetup, urls: list[str], one: Callable[..., Move], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(urls[:1])
    one()
    with site(urls[:1]) as cache:
        cache.clear()
    before(monkeypatch, DELETE_COPY, lambda *_: cache_servers.kill(1))
    move = one()
    assert move.progress.orphans_deleted == 0
    assert move.progress.failed == 60
    assert "key:" in str(move.failures[0])


# ---- what is remembered --------------------------------------------------------------------------


def test_what_is_remembered_has_an_end(
    cache_servers: TestSetup, urls: list[str], one: Callable[..., Move], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "MAX_RECORDS", 20)
    fill(urls[:1])
    with cache_servers.client(1) as target:
        for _ in range(2):
            assert one().progress.unrecorded == 40
            (name,) = target.keys(PREFIX + b"*")
            assert target.hlen(name) == 20
            assert 6 * 24 * 3600 < target.ttl(name) <= 7 * 24 * 3600
        one(delete=True)
        (name,) = target.keys(PREFIX + b"*")
        assert target.hlen(name) == 20
        assert 0 < target.ttl(name) <= 600


def test_what_is_remembered_is_not_moved(urls: list[str], cache_servers: TestSetup) -> None:
    fill(urls[:1])
    for source, target in ((0, 1), (1, 2)):
        with changing([urls[source]], add=[urls[target]], remove=[urls[source]]) as pair:
            finish(Move(*pair, "*"))
    with cache_servers.client(2) as client:
        assert len(client.keys(PREFIX + b"*")) == 1
        assert client.dbsize() == 61


def test_the_command_says_what_it_took_back(
    urls: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "MAX_RECORDS", 50)
    with site(urls[:1]) as cache:
        cache.set_many(dict.fromkeys(KEYS, "x"), 1000)
        words = {"add": urls[1:2], "remove": urls[:1], "move": True}
        call_command("pindb", "plan", **words)
        assert "10 copies not recorded" in capsys.readouterr().out
        cache.delete_many(KEYS)
        call_command("pindb", "plan", **words)
        assert "50 copies deleted, since their originals are gone" in capsys.readouterr().out


# ---- all of it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_site_does_between_moves(urls: list[str], seed: int) -> None:
    """After the last move, the new settings find what the old ones find, and what was written with them."""
    chance = random.Random(seed)
    written: dict[str, str] = {}
    with changing(urls[:2], add=urls[2:4]) as (now, then):
        for step in range(6):
            with site(urls[:2]) as cache:
                for number in range(30):
                    key = chance.choice(KEYS)
                    if key in written:
                        continue
                    act = chance.choice(["set", "set", "delete", "touch", "for ever"])
                    if act == "set":
                        cache.set(key, f"old {step}", 1000)
                    elif act == "for ever":
                        cache.set(key, f"old {step} {number}", None)
                    elif act == "touch":
                        cache.touch(key, 500)
                    else:
                        cache.delete(key)
            move = Move(now, then, PATTERN, batch=chance.choice([1, 7, 100]))
            for progress in move.run():
                if chance.random() < 0.1 and progress.seen:
                    break
            # Of two processes, one has the new settings already. (What is at its source is moved again.)
            for key in chance.sample(KEYS, 3):
                with site(urls[:2]) as cache:
                    cache.delete(key)
                with site(urls[:4]) as cache:
                    cache.set(key, f"new {step}", 2000)
                written[key] = f"new {step}"
        finish(Move(now, then, PATTERN))
    expected = {**alive(urls[:2]), **written}
    found = alive(urls[:4])
    stays = {key for key in found if key not in expected}
    assert (stays, found) == (set(), expected)


def test_moves_at_the_same_time(urls: list[str]) -> None:
    with site(urls[:2]) as cache:
        cache.set_many(dict.fromkeys(KEYS, "x"), 1000)

        def work(place: int) -> None:
            if place == 3:
                for key in KEYS[:40]:
                    cache.delete(key)
                return
            with changing(urls[:2], add=urls[2:4]) as (now, then):
                for _ in range(3):
                    assert finish(Move(now, then, PATTERN, batch=7)).failures == []

        in_threads(4, work)
    with changing(urls[:2], add=urls[2:4]) as (now, then):
        finish(Move(now, then, PATTERN))
    assert alive(urls[:4]) == dict.fromkeys(KEYS[40:], "x")
