"""The command `pindb`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.core.management.color import make_style
from django.test import override_settings

from pindb.cache import ServerStats
from pindb.cache import move as moving
from pindb.management.tables import Output, readable_bytes
from pindb.testing.redis import TestSetup
from tests.cache.moving import BACKEND, site
from tests.redis.tools import restore

PASSWORD = "s3cret"
VALUES = {f"key:{number}": f"value {number}" for number in range(300)}


@pytest.fixture(scope="module")
def cache_servers() -> Iterator[TestSetup]:
    with TestSetup(servers=4, databases_each=1, tcp=True, password=PASSWORD) as setup:
        yield setup


@pytest.fixture
def urls(cache_servers: TestSetup) -> Iterator[list[str]]:
    ports = [cache_servers.host(server)["port"] for server in range(4)]
    yield [f"redis://:{PASSWORD}@127.0.0.1:{port}/0" for port in ports]
    restore(cache_servers)


@pytest.fixture
def cache(urls: list[str]) -> Iterator[Any]:
    with site(urls[:3], KEY_PREFIX="site") as cache:
        assert cache.set_many(VALUES, timeout=1000) == []
        yield cache


def run(*words: str, **options: Any) -> str:
    """What the command prints."""
    out = StringIO()
    try:
        call_command("pindb", *words, stdout=out, stderr=out, **options)
    finally:
        assert PASSWORD not in out.getvalue()
        assert "\x1b" not in out.getvalue()
    return out.getvalue()


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as caught:
        run(*words)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


def address(url: str) -> str:
    return url.partition("@")[2]


def row(text: str, url: str) -> list[str]:
    """The row of a server in a table."""
    return next(line for line in text.splitlines() if address(url) in line and "redis://" not in line).split()


# ---- cache -------------------------------------------------------------------------------------------


def test_the_servers_of_a_cache(cache: Any, urls: list[str]) -> None:
    text = run("cache")
    keys = 0
    for number, url in enumerate(urls[:3]):
        cells = row(text, url)
        assert cells[:3] == [str(number), address(url), "up"]
        keys += int(cells[3])
    assert keys == len(VALUES)
    assert run("cache", "default").splitlines()[1].split() == text.splitlines()[1].split()


def test_a_server_that_is_down(cache: Any, cache_servers: TestSetup, urls: list[str]) -> None:
    cache_servers.kill(1)
    text = run("cache")
    assert row(text, urls[1])[2] == "down"
    assert row(text, urls[0])[2] == "up"


def test_memory_is_readable() -> None:
    numbers = (0, 1023, 1024, 1536 * 1024, 2**30, 3 * 2**40)
    assert [*map(readable_bytes, numbers)] == ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "1.0 GiB", "3.0 TiB"]


# ---- where -------------------------------------------------------------------------------------------


def test_where_a_key_lives(cache: Any, cache_servers: TestSetup, urls: list[str]) -> None:
    text = run("where", "key:7")
    assert "site:1:key:7" in text
    server = next(number for number in range(3) if cache_servers.client(number).exists("site:1:key:7"))
    assert f"{server}, {address(urls[server])}" in text
    assert re.search(r"yes, expires in (99\d\.\d|1,000\.0) s", text)


def test_where_a_key_would_live(cache: Any) -> None:
    cache.set("for ever", 1, timeout=None)
    assert run("where", "for ever").endswith("yes, without expiry\n")
    assert run("where", "nowhere").endswith("no\n")
    text = run("where", "key:7", "--version", "2")
    assert "site:2:key:7" in text
    assert text.endswith("no\n")


def test_where_a_key_of_a_dead_server_lives(cache: Any, cache_servers: TestSetup, urls: list[str]) -> None:
    for server in range(3):
        cache_servers.kill(server)
    text = run("where", "key:7")
    assert "site:1:key:7" in text
    assert "unknown: " in text


# ---- plan --------------------------------------------------------------------------------------------


def test_a_plan_changes_nothing(cache: Any, cache_servers: TestSetup, urls: list[str]) -> None:
    text = run("plan", "--add", urls[3])
    found = re.match(r"Of 300 keys, (\d+) would move: (\d+\.\d)%", text)
    assert found is not None
    moving = found.group(1)
    assert float(found.group(2)) == pytest.approx(int(moving) / 3, abs=0.1)
    assert row(text, urls[3]) == ["3", "(new)", address(urls[3]), "0", moving, "0", moving]
    assert f"'redis://***@{address(urls[3])}'" in text
    assert cache_servers.client(3).dbsize() == 0


def test_a_plan_without_a_server_and_with_another_router(cache: Any, urls: list[str]) -> None:
    text = run("plan", "--remove", urls[0], "--router", "partition", "--limit", "100")
    assert "in a sample (about 33.33% of all)" in text
    assert "ROUTER: 'partition'" in text
    assert row(text, urls[0])[:2] == ["0", "(removed)"]
    assert row(text, urls[2])[:3] == ["2", "->", "1"]
    assert run("plan", "--remove", urls[0], "--all").startswith("Of 300 keys")


def test_a_plan_with_keys_that_are_made_up(cache: Any, cache_servers: TestSetup, urls: list[str]) -> None:
    cache_servers.kill(0)
    assert "--sample 20000" in refused("plan", "--add", urls[3])
    assert run("plan", "--add", urls[3], "--sample", "1000").startswith("Of 1,000 made-up keys, ")


def test_moving(cache: Any, urls: list[str]) -> None:
    first = run("plan", "--add", urls[3], "--move")
    moved = re.search(r"Of 300 keys, (\d+)", first)
    assert moved is not None
    assert first.endswith(f"Keys: {moved.group(1)} copied.\n")
    assert cache.get_many(VALUES) == VALUES
    second = run("plan", "--add", urls[3], "--move", "--delete", "--noinput")
    number = moved.group(1)
    assert second.endswith(f"Keys: 0 copied, {number} already there, {number} originals deleted.\n")
    with site(urls, KEY_PREFIX="site") as changed:
        assert changed.get_many(VALUES) == VALUES


def test_copies_of_an_earlier_move_are_told(cache: Any) -> None:
    run("plan", "--router", "partition", "--move")
    text = run("plan", "--router", "partition")
    found = re.match(r"Of 300 keys, (\d+)", text)
    assert found is not None
    assert f"\n{found.group(1)} more keys are on servers where the cache does not look for them: " in text


@pytest.mark.parametrize(("answer", "left"), [("no", 300), ("", 300), ("yes", 0)])
def test_deleting_is_asked_for(
    cache: Any,
    cache_servers: TestSetup,
    urls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    left: int,
) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    words = ("plan", "--remove", *urls[:3], "--add", urls[3], "--move", "--delete")
    if left:
        assert refused(*words) == "Cancelled. Nothing was moved or deleted."
    else:
        run(*words)
    assert sum(cache_servers.client(server).dbsize() for server in range(3)) == left


def test_what_fails_is_told_after_the_others_were_moved(
    cache: Any, cache_servers: TestSetup, urls: list[str]
) -> None:
    out, err = StringIO(), StringIO()
    with cache_servers.client(3) as target:
        target.config_set("maxmemory", 1)
        with pytest.raises(CommandError, match="keys failed; the first 20 are above") as caught:
            call_command("pindb", "plan", "--add", urls[3], "--move", stdout=out, stderr=err)
        target.config_set("maxmemory", 0)
    assert caught.value.returncode == 1
    lines = err.getvalue().splitlines()
    assert len(lines) == 20
    assert all(line.startswith(f"{address(urls[3])}: 'site:1:key:") and "maxmemory" in line for line in lines)
    assert "Keys: 0 copied, " in out.getvalue()


def test_an_interruption_says_how_to_go_on(
    cache: Any, urls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(moving.Move, "_move", interrupt)
    with pytest.raises(CommandError, match="same command again") as caught:
        run("plan", "--add", urls[3], "--move")
    assert caught.value.returncode == 130


def test_nothing_is_moved_to_a_server_that_is_down(
    cache: Any, cache_servers: TestSetup, urls: list[str]
) -> None:
    cache_servers.kill(3)
    assert refused("plan", "--add", urls[3], "--move").startswith("Nothing was moved: host 3 (127.0.0.1:")


def test_a_cluster_by_name(urls: list[str]) -> None:
    clusters = {"cached": {"router": "consistent", "hosts": dict(enumerate(urls[:2]))}}
    with override_settings(PINDB_CLUSTERS=clusters), site("cached") as cache:
        cache.set_many(VALUES)
        text = run("plan", "--add", urls[2], "--router", "partition", "--move")
        assert "PINDB_CLUSTERS['cached']" in text
        assert f"2: 'redis://***@{address(urls[2])}'," in text
        assert "router: 'partition'" in text
    clusters = {"cached": {"router": "partition", "hosts": dict(enumerate(urls[:3]))}}
    with override_settings(PINDB_CLUSTERS=clusters), site("cached") as cache:
        assert cache.get_many(VALUES) == VALUES


def test_weights_are_told(urls: list[str]) -> None:
    with site(urls[:3], {"ROUTER_OPTIONS": {"weights": {1: 2}}}):
        assert "weights: {0: 2}" in run("plan", "--remove", urls[0])


def test_keys_of_a_pattern(cache: Any, urls: list[str]) -> None:
    assert run("plan", "--add", urls[3], "--match", "site:1:key:?").startswith("Of 10 keys")


# ---- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("plan", "Write --add URL, --remove URL or --router NAME."),
        ("plan --add redis://x --delete", "has no effect without --move. Write both, or neither."),
        ("plan --remove redis://:pass@x", "no server redis://***@x to remove. It has: redis://***@127.0.0.1"),
        ("plan --router round_robin", "does not place keys"),
        ("plan --router rr", "Write one of 'partition'"),
        ("plan --add x", "not a Redis URL"),
        ("plan --add redis://x --sample 0", "0 is less than 1. Write 1 or more."),
        ("plan --add redis://x --limit many", "invalid"),
        ("cache nope", "There is no cache 'nope' in CACHES. There are: 'default', 'other'."),
        ("where key --cache other", f'Write "BACKEND": "{BACKEND}".'),
        ("", "cache | where | plan"),
    ],
)
def test_errors(cache: Any, words: str, message: str) -> None:
    assert message in refused(*words.split())


def test_a_server_that_is_there_already(cache: Any, urls: list[str]) -> None:
    assert "already" in refused("plan", "--add", urls[0])


def test_a_key_function_needs_a_pattern(urls: list[str]) -> None:
    with site(urls[:3], KEY_FUNCTION=lambda key, prefix, version: "constant"):
        assert "--match" in refused("plan", "--add", urls[3])


def test_without_django_redis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith(("django_redis", "pindb.cache", "pindb.management")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "django_redis", None)
    assert refused("cache") == 'pindb.cache needs django-redis: pip install "django-pindb[cache]"'


class Terminal(StringIO):
    """A terminal; writes as Django's `OutputWrapper` does."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def write(self, text: str, ending: str = "\n") -> int:
        return super().write(text + ending)


def test_a_terminal_shows_progress() -> None:
    file = Terminal()
    with Output(file).progress("Moving") as update:
        update(0, 10, "0 moved")
        update(5, 10, "not shown: too soon after the last")
        update(10, 10, "10 moved")
    first, last = file.getvalue().split("\r")[1:]
    assert first.startswith(f"Moving [{'.' * 30}] 0/10, -:--:-- left, 0 moved")
    assert last.startswith(f"Moving [{'#' * 30}] 10/10, 0:00:00 left, 10 moved")
    assert last.endswith("\n")


def test_a_file_shows_no_progress() -> None:
    file = StringIO()
    with Output(file).progress("Moving") as update:
        update(5, 10, "5 moved")
    assert file.getvalue() == ""


def test_a_terminal_shows_servers_that_are_down_in_colour() -> None:
    down = ServerStats(1, "10.0.2.2:6379/0", 0.5, is_up=False)
    texts = []
    for file in (Terminal(), StringIO()):
        Output(OutputWrapper(file), make_style("dark")).print_stats(
            [ServerStats(0, "x", 0.5, is_up=True), down]
        )
        texts.append(file.getvalue())
    in_terminal, in_file = texts
    assert [line for line in in_terminal.splitlines() if "\x1b" in line] == [
        line for line in in_terminal.splitlines() if "10.0.2.2" in line
    ]
    assert "\x1b" not in in_file


@pytest.mark.parametrize(("encoding", "rule"), [("utf-8", "─" * 20), ("ascii", "-" * 20)])
def test_a_table_can_be_printed_in_any_encoding(encoding: str, rule: str) -> None:
    file = TextIOWrapper(BytesIO(), encoding=encoding)
    Output(OutputWrapper(file)).print_stats([])
    file.seek(0)
    assert rule in file.read()
