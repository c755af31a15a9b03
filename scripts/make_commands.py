#!/usr/bin/env python3
"""Write ``pindb/redis/core/commands.py``: where the keys stand in each command, as real servers say.

    .venv/bin/python scripts/make_commands.py --server redis-server --server valkey-server
    .venv/bin/python scripts/make_commands.py --check

Each ``--server`` is the path or name of a server program; name the newest first, since the first one that
knows a command is believed. Without any, it is the server that the tests use. What redis-py sends and no
server here knows (modules, Redis that is newer) is kept by hand in `BEYOND`. With ``--check`` nothing is
written: it fails when a server or redis-py knows a command that is not in the table or is there otherwise.

redis-py is installed where the tests run. Where a server is newer than the system's libraries, a script that
starts it with libraries of its own is a server program too.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pindb.testing.redis import TestSetup  # noqa: E402 (run as a program, the checkout is not on the path)

TARGET = ROOT / "pindb" / "redis" / "core" / "commands.py"

#: The longest line of the module.
LINE = 110

Keys = tuple[int, int, int]
MOVABLE: Keys = (-1, 0, 0)
NONE: Keys = (0, 0, 0)
ONE: Keys = (1, 1, 1)
SUB: Keys = (2, 2, 1)


class Row(NamedTuple):
    """Commands that are alike: the places of their keys, and the names of those that write and only read."""

    keys: Keys
    writing: str = ""
    reading: str = ""


# What redis-py 8.1 sends and none of the servers that the table was made from knows; names of two words are
# written with a bar. The places are those of redis-py's methods, which name each command's keys.
BEYOND = [
    # Redis 8.2 to 8.8, by redis/commands/core.py and vectorset/commands.py.
    Row(ONE, "DELEX INCREX XACKDEL XCFGSET XDELEX XNACK", "DIGEST VRANGE"),
    Row((1, 2, 1), "BLMOVEM LMOVEM"),
    Row(MOVABLE, reading="SDIFFCARD SUNIONCARD"),
    Row(ONE, "ARDEL ARDELRANGE ARINSERT ARMSET ARRING ARSEEK ARSET"),
    Row(ONE, reading="ARCOUNT ARGET ARGETRANGE ARGREP ARINFO ARLASTITEMS ARLEN ARMGET ARNEXT AROP ARSCAN"),
    Row(NONE, "HOTKEYS|GET HOTKEYS|RESET HOTKEYS|START HOTKEYS|STOP"),
    # Servers list DEBUG as one command without keys; this one has a key.
    Row(SUB, "DEBUG|OBJECT"),
    # Known to servers in Sentinel mode alone.
    Row(NONE, "SENTINEL"),
    # RedisJSON.
    Row(
        ONE,
        "JSON.ARRAPPEND JSON.ARRINSERT JSON.ARRPOP JSON.ARRTRIM JSON.CLEAR JSON.DEL JSON.FORGET JSON.MERGE "
        "JSON.NUMINCRBY JSON.NUMMULTBY JSON.NUMPOWBY JSON.SET JSON.STRAPPEND JSON.TOGGLE",
        "JSON.ARRINDEX JSON.ARRLEN JSON.GET JSON.OBJKEYS JSON.OBJLEN JSON.RESP JSON.STRLEN JSON.TYPE",
    ),
    Row((1, -2, 1), reading="JSON.MGET"),
    Row((1, -1, 3), "JSON.MSET"),
    Row(SUB, reading="JSON.DEBUG|MEMORY"),
    Row(NONE, reading="JSON.DEBUG|HELP"),
    # RedisBloom.
    Row(ONE, "BF.ADD BF.INSERT BF.LOADCHUNK BF.MADD BF.RESERVE"),
    Row(ONE, reading="BF.CARD BF.EXISTS BF.INFO BF.MEXISTS BF.SCANDUMP"),
    Row(ONE, "CF.ADD CF.ADDNX CF.DEL CF.INSERT CF.INSERTNX CF.LOADCHUNK CF.RESERVE"),
    Row(ONE, reading="CF.COUNT CF.EXISTS CF.INFO CF.MEXISTS CF.SCANDUMP"),
    Row(ONE, "CMS.INCRBY CMS.INITBYDIM CMS.INITBYPROB", "CMS.INFO CMS.QUERY"),
    Row(ONE, "TOPK.ADD TOPK.INCRBY TOPK.RESERVE", "TOPK.COUNT TOPK.INFO TOPK.LIST TOPK.QUERY"),
    Row(ONE, "TDIGEST.ADD TDIGEST.CREATE TDIGEST.RESET"),
    Row(
        ONE,
        reading="TDIGEST.BYRANK TDIGEST.BYREVRANK TDIGEST.CDF TDIGEST.INFO TDIGEST.MAX TDIGEST.MIN "
        "TDIGEST.QUANTILE TDIGEST.RANK TDIGEST.REVRANK TDIGEST.TRIMMED_MEAN",
    ),
    Row(MOVABLE, "CMS.MERGE TDIGEST.MERGE"),
    # RedisTimeSeries; those without keys go by labels, through all keys of a server.
    Row(
        ONE,
        "TS.ADD TS.ALTER TS.CREATE TS.DECRBY TS.DEL TS.INCRBY",
        "TS.GET TS.INFO TS.RANGE TS.READ TS.REVRANGE",
    ),
    Row((1, 2, 1), "TS.CREATERULE TS.DELETERULE"),
    Row((1, -1, 3), "TS.MADD"),
    Row(MOVABLE, reading="TS.NRANGE TS.NREVRANGE"),
    Row(NONE, reading="TS.MGET TS.MRANGE TS.MREVRANGE TS.QUERYINDEX TS.QUERYLABELS"),
    # RediSearch: the names of indexes, aliases and dictionaries are no keys; those of suggestions are.
    Row(
        NONE,
        "FT.ADD FT.ADDHASH FT.ALIASADD FT.ALIASDEL FT.ALIASUPDATE FT.ALTER FT.CONFIG FT.CREATE FT.CURSOR "
        "FT.DEL FT.DICTADD FT.DICTDEL FT.DROPINDEX FT.SYNUPDATE",
        "FT._LIST FT.AGGREGATE FT.ALIASLIST FT.DICTDUMP FT.EXPLAIN FT.EXPLAINCLI FT.HYBRID FT.INFO FT.MGET "
        "FT.PROFILE FT.SEARCH FT.SPELLCHECK FT.SYNDUMP FT.TAGVALS",
    ),
    Row(ONE, "FT.SUGADD FT.SUGDEL", "FT.SUGGET FT.SUGLEN"),
]

# How a server answers a browser that was lured to it; nobody sends them.
TRAPS = {"HOST:", "POST"}

# Lists that begin with an option, not with a command.
OPTIONS = {"LIBRARYNAME", "ON"}

HEADER = '''\
"""Where the keys stand in each command, as servers answer ``COMMAND``; data for routing.

Made by ``scripts/make_commands.py`` from {origin}.
Do not edit.
"""

from __future__ import annotations

from typing import Final

__all__ = ["COMMANDS", "MADE_FROM", "MOVABLE", "READONLY", "Keys"]

# The places of the first and of the last key, and the step from one key to the next, counted in words from
# the command's name at 0; each word of a name of two words counts. A last place below 0 counts from the
# end, where -1 is the last word. The first place is 0 where there is no key.
Keys = tuple[int, int, int]

# In place of the three numbers: the places depend on the arguments, by a count or a keyword among them.
MOVABLE: Final[Keys] = {movable}

# The servers and the library that were asked.
MADE_FROM: Final[tuple[str, ...]] = {made_from}

'''


class Command(NamedTuple):
    """What the table holds about a command."""

    keys: Keys
    readonly: bool


Table = dict[str, Command]


def ask(executable: str | None) -> tuple[str, Table]:
    """What a server calls itself, and its table of commands.

    Commands with subcommands stand there by those, and by themselves only where they need none.
    """
    with TestSetup(1, 1, executable) as setup, setup.client(0, protocol=2) as client:
        info = client.info("server")
        version = ".".join(map(str, setup.version))
        name = f"{str(info.get('server_name', 'redis')).capitalize()} {version}"
        # As it came: what redis-py makes of it lacks the parts that Redis 7 added.
        client.response_callbacks.pop("COMMAND", None)
        answer = client.execute_command("COMMAND")
    return name, dict(sorted(_commands(answer)))


def _commands(answer: list[Any]) -> Iterator[tuple[str, Command]]:
    for entry in answer:
        name, arity, flags, *places = entry[:6]
        subcommands = entry[9] if len(entry) > 9 else []
        yield from _commands(subcommands)
        full_name = name.decode().upper().replace("|", " ")
        if full_name in TRAPS or (subcommands and arity < -1):
            continue
        specifications = entry[8] if len(entry) > 8 else []
        movable = b"movablekeys" in flags or (specifications and not places[0])
        first, last, step = places
        yield full_name, Command(MOVABLE if movable else (first, last, step), b"readonly" in flags)


def merged(answers: Iterable[Table]) -> Table:
    """One table of several servers' answers; the first that knows a command is believed."""
    table: Table = {}
    for asked in answers:
        containers = _containers(table)
        # Servers before Redis 7 do not list subcommands, and give one place for all of them.
        table |= {name: asked[name] for name in asked if name not in table and name not in containers}
    return table


def _containers(table: Table) -> set[str]:
    return {name.split()[0] for name in table if " " in name}


def by_hand() -> Table:
    """The commands in `BEYOND`."""
    return {
        name.replace("|", " "): Command(row.keys, readonly)
        for row in BEYOND
        for names, readonly in ((row.writing, False), (row.reading, True))
        for name in names.split()
    }


def sent_by_redis_py() -> Iterator[str]:
    """The names of commands in the source of the installed redis-py, as far as they can be told from it."""
    import redis

    for path in sorted((Path(redis.__file__).parent / "commands").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "execute_command":
                words = node.args[:1]
            elif path.name == "core.py" and isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
                # pieces = ["XGROUP CREATE", name, ...]
                words = node.value.elts[:1]
            elif isinstance(node, ast.Constant):
                words = [node] if re.fullmatch(r"[A-Z]+\.[A-Z_]+", str(node.value)) else []
            else:
                continue
            for word in words:
                if isinstance(word, ast.Constant) and re.fullmatch(r"[A-Z][A-Z0-9_. -]*", str(word.value)):
                    yield str(word.value)


def lacking(table: Table) -> list[str]:
    """What redis-py sends and the table has not."""
    containers = _containers(table)
    # The second word may be an option: LOLWUT VERSION.
    return sorted(
        name
        for name in set(sent_by_redis_py()) - containers - OPTIONS
        if name not in table and name.split()[0] not in table
    )


def render(table: Table, made_from: list[str]) -> str:
    """The text of the module, as ``ruff format`` leaves it."""
    origin = f"{', '.join(made_from[:-1])} and {made_from[-1]}"
    quoted = ", ".join(f'"{name}"' for name in made_from)
    text = HEADER.format(origin=origin, movable=MOVABLE, made_from=f"({quoted})")
    by_places: dict[Keys, list[str]] = {}
    for name, command in sorted(table.items()):
        by_places.setdefault(command.keys, []).append(name)
    text += "_BY_PLACES: Final[dict[Keys, str]] = {\n"
    for places, names in sorted(by_places.items()):
        filled = _filled(names, 8)
        filled = f"({filled}\n    )" if filled.count("\n") > 1 else filled.strip()
        text += f"    {'MOVABLE' if places == MOVABLE else places}: {filled},\n"
    text += "}\n\n# The places of the keys of each command.\n"
    text += "COMMANDS: Final[dict[str, Keys]] = {\n    name: places for places, names in _BY_PLACES.items() "
    text += 'for name in names.split(", ")\n}\n\n_READING: Final = ('
    text += _filled([name for name, command in sorted(table.items()) if command.readonly], 4)
    text += "\n)\n\n# Commands that servers flag as reading only.\n"
    return text + 'READONLY: Final[frozenset[str]] = frozenset(_READING.split(", "))\n'


def _filled(names: list[str], indent: int) -> str:
    """The names as lines of one string, with commas between them."""
    # A name of two words is not broken.
    joined = ", ".join(name.replace(" ", "\0") for name in names)
    lines = textwrap.wrap(joined, LINE - indent - 3, break_on_hyphens=False)
    spaced = [line if line is lines[-1] else f"{line} " for line in lines]
    return "".join(f'\n{" " * indent}"{line}"' for line in spaced).replace("\0", " ")


def committed() -> Table:
    """The table as it is in the package."""
    from pindb.redis.core.commands import COMMANDS, READONLY

    return {name: Command(keys, name in READONLY) for name, keys in COMMANDS.items()}


def differences(table: Table, asked: Table) -> Iterator[str]:
    """What a server says otherwise than the table, a line for each."""
    containers = _containers(table)
    for name, command in asked.items():
        if name not in table:
            if name not in containers:
                yield f"{name} is not in the table; the server says {command}"
        elif table[name].keys != command.keys:
            yield f"{name} is {table[name].keys} in the table; the server says {command.keys}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Make pindb/redis/core/commands.py, or check it.")
    parser.add_argument("--server", action="append", help="a server program; the newest first")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the table is wrong")
    parser.add_argument("--forget", action="store_true", help="remove commands that nothing knows any more")
    options = parser.parse_args(arguments)
    import redis

    answers = dict(ask(executable) for executable in options.server or [None])
    problems = []
    if options.check:
        table = committed()
        for name, asked in answers.items():
            problems += [f"{name}: {line}" for line in differences(table, asked)]
    else:
        table = by_hand() | merged(answers.values())
        known = committed() if TARGET.exists() else {}
        if not options.forget:
            lost = sorted(known.keys() - table.keys())
            problems += [f"Lost would be {', '.join(lost)}: name a newer server"] if lost else []
    if not problems:
        problems = [f"redis-py {redis.__version__} sends {name}: add it to BEYOND" for name in lacking(table)]
    if problems:
        print("\n".join(sorted(problems)), file=sys.stderr)
        return 1
    if not options.check:
        TARGET.write_text(render(table, [*answers, f"redis-py {redis.__version__}"]))
        print(f"{len(table)} commands in {TARGET.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
