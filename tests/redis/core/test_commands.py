"""The table of commands against servers that run, and against redis-py."""

from __future__ import annotations

import pytest
import redis

from pindb.redis.core.commands import COMMANDS, MADE_FROM, MOVABLE, READONLY, Keys
from pindb.testing.redis import TestSetup
from tests.processes import ROOT, run_python

SCRIPT = ROOT / "scripts" / "make_commands.py"


def test_the_script_finds_nothing_to_change(servers: TestSetup) -> None:
    done = run_python(SCRIPT, "--check", "--server", servers.executable)
    # An older redis-py sends less, a newer one more.
    newer = [line for line in done.stderr.splitlines() if not line.startswith("redis-py ")]
    assert newer == []
    if f"redis-py {redis.__version__}" in MADE_FROM:
        assert done.returncode == 0, done.stderr


def test_the_script_does_not_let_commands_get_lost(servers: TestSetup) -> None:
    before = (ROOT / "pindb" / "redis" / "core" / "commands.py").read_text()
    if servers.version >= (8,):
        pytest.skip("the server knows too much")
    done = run_python(SCRIPT, "--server", servers.executable)
    assert done.returncode == 1
    assert "HGETEX" in done.stderr
    assert "name a newer server" in done.stderr
    assert (ROOT / "pindb" / "redis" / "core" / "commands.py").read_text() == before


def test_it_was_made_from_the_newest() -> None:
    assert any(name.startswith("Redis 8.") for name in MADE_FROM)
    assert any(name.startswith("redis-py 8.") for name in MADE_FROM)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        *(("GET", (1, 1, 1)), ("SET", (1, 1, 1)), ("MGET", (1, -1, 1)), ("MSET", (1, -1, 2))),
        *(("DEL", (1, -1, 1)), ("BLPOP", (1, -2, 1)), ("RENAME", (1, 2, 1)), ("BITOP", (2, -1, 1))),
        *(("HGETEX", (1, 1, 1)), ("VADD", (1, 1, 1)), ("OBJECT ENCODING", (2, 2, 1))),
        *(("XINFO STREAM", (2, 2, 1)), ("XGROUP CREATE", (2, 2, 1)), ("MEMORY USAGE", (2, 2, 1))),
        *(("DEBUG OBJECT", (2, 2, 1)), ("SPUBLISH", (1, 1, 1)), ("JSON.SET", (1, 1, 1))),
        *(("JSON.MSET", (1, -1, 3)), ("JSON.MGET", (1, -2, 1)), ("FT.SEARCH", (0, 0, 0))),
        *(("PING", (0, 0, 0)), ("PUBLISH", (0, 0, 0)), ("CONFIG GET", (0, 0, 0)), ("COMMAND", (0, 0, 0))),
    ],
)
def test_places(name: str, keys: Keys) -> None:
    assert COMMANDS[name] == keys


@pytest.mark.parametrize(
    "name",
    [
        *(
            *("EVAL", "EVALSHA", "EVAL_RO", "FCALL", "ZUNION", "ZUNIONSTORE", "ZINTERSTORE"),
            *("SINTERCARD", "LMPOP"),
        ),
        *("BZMPOP", "SORT", "SORT_RO", "XREAD", "XREADGROUP", "GEORADIUS", "GEORADIUSBYMEMBER", "MIGRATE"),
        *("STRALGO", "MSETEX", "SDIFFCARD", "CMS.MERGE", "TDIGEST.MERGE", "TS.NRANGE"),
    ],
)
def test_places_that_depend_on_arguments(name: str) -> None:
    assert COMMANDS[name] is MOVABLE


@pytest.mark.parametrize("name", ["OBJECT", "XINFO", "XGROUP", "CONFIG", "ACL", "MEMORY", "NO SUCH", "HOST:"])
def test_what_is_no_command_by_itself_is_not_there(name: str) -> None:
    assert name not in COMMANDS


def test_names_and_places_are_well_formed() -> None:
    by_places = {keys: [name for name in COMMANDS if COMMANDS[name] == keys] for keys in COMMANDS.values()}
    assert all(names == sorted(names) for names in by_places.values())
    for name, keys in COMMANDS.items():
        words = len(name.split())
        assert name == name.upper()
        assert words in (1, 2)
        if keys is not MOVABLE:
            first, last, step = keys
            assert keys == (0, 0, 0) or (first >= words and (last >= first or last < 0) and step > 0), name


def test_readonly() -> None:
    assert COMMANDS.keys() >= READONLY
    assert {"GET", "MGET", "HGETALL", "ZRANGE", "XREAD", "OBJECT ENCODING", "JSON.GET", "EVAL_RO"} <= READONLY
    assert not {"SET", "GETDEL", "GETEX", "DEL", "INCR", "EVAL", "SORT", "JSON.SET", "PUBLISH"} & READONLY


def test_servers_find_the_same_keys(servers: TestSetup) -> None:
    """`COMMAND GETKEYS` runs the server's own search for keys, on arguments of our making."""
    checked = 0
    with servers.client(0, decode_responses=True) as client:
        known = {str(name).upper() for name in client.command()}
        for name, keys in COMMANDS.items():
            words = name.split()
            if words[0] not in known or keys is MOVABLE or keys == (0, 0, 0):
                continue
            found = None
            # As many arguments as a command may want; pairs and triples come out even somewhere.
            for count in range(1, 13):
                arguments = [*words, *(f"argument-{number}" for number in range(count))]
                try:
                    found = client.execute_command("COMMAND GETKEYS", *arguments)
                except redis.ResponseError as error:
                    assert "arguments" in str(error) or "Invalid" in str(error), name  # noqa: PT017
                    continue
                first, last, step = keys
                stop = len(arguments) + last if last < 0 else last
                assert found == arguments[first : stop + 1 : step], name
            checked += found is not None
    assert checked > 140
