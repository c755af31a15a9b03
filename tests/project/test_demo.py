"""The demo: it ends well, it notices when routing is broken, and it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from pindb.testing.processes import wait_for
from testproject.queries import shorten
from testproject.walk.visitors import Page
from tests.processes import ROOT, run_command

DEMO = [sys.executable, "-m", "testproject.walk"]


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for temporary files that every user can reach, unlike pytest's own: servers run as another."""
    folder = Path(tempfile.mkdtemp(prefix="demo-"))
    folder.chmod(0o1777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def temporary() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


def environment(temporary: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PINDB_", "DJANGO_"))}
    return {**kept, "TMPDIR": str(temporary), "NO_COLOR": "1"}


def walk(temporary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*DEMO, *arguments, env=environment(temporary), timeout=120)


def started(temporary: Path, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    options: dict[str, Any] = {"cwd": ROOT, "env": environment(temporary), "text": True}
    return subprocess.Popen([*DEMO, *arguments], stdout=stdout, stderr=subprocess.PIPE, **options)


def processes_of(temporary: Path) -> list[str]:
    """The command lines of the processes that were started with the temporary folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(temporary).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def assert_nothing_is_left(temporary: Path) -> None:
    # The helpers that guard the servers' folders end a moment after the demo.
    def nothing_is_left() -> bool:
        return not processes_of(temporary) and not any(temporary.iterdir())

    with suppress(TimeoutError):
        wait_for(nothing_is_left, "the end of all", 10)
    assert processes_of(temporary) == []
    assert list(temporary.iterdir()) == []


def stale_reads_by_writers(output: str) -> int:
    last = output.rstrip().splitlines()[-1]
    found = re.fullmatch(r"stale reads by writers: (\d+)", last)
    assert found, output
    return int(found[1])


def in_the_readme() -> list[str]:
    """The lines that the README says the demo prints."""
    shown = re.search(
        r"^\$ python3 testproject/demo\.py\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S
    )
    assert shown is not None
    return [line for line in shown[1].splitlines() if line != "..."]


def without_counts(text: str) -> list[str]:
    """The lines of an output, without what differs from run to run."""
    text = re.sub(r"(reads|default-[01]): \d+", r"\1: N", text)
    return [" ".join(line.split()) for line in text.splitlines()]


def test_walk(temporary: Path) -> None:
    done = walk(temporary)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stale_reads_by_writers(done.stdout) == 0
    assert set(without_counts("\n".join(in_the_readme()))) <= set(without_counts(done.stdout))
    assert "WRONG" not in done.stdout
    # The lag is real: the reader met it.
    assert re.search(r"^reader .* default-1 .* STALE, 1 missing", done.stdout, re.MULTILINE)
    assert re.search(r"^writer .* default .* yes +fresh, 4 notices", done.stdout, re.MULTILINE)
    assert re.search(r"^writer .* default-[01] .* no +fresh, 4 notices", done.stdout, re.MULTILINE)
    assert "A write to board.Notice on the DB set 'default', which is not pinned." in done.stdout
    second_act = done.stdout.partition("PINDB_CONSISTENCY = 'position'")[2]
    assert re.search(r"^writer .* default .* yes +fresh, 5 notices", second_act, re.MULTILINE)
    assert re.search(r"^writer .* default-1 .* yes +fresh, 5 notices", second_act, re.MULTILINE)
    assert re.search(r"^reader .* default-0 .* no +STALE, 1 missing", second_act, re.MULTILINE)
    assert "The writer's cookie is gone." in second_act
    reads = re.search(r"reads: (\d+) \((.*)\), failures: 0", second_act)
    assert reads
    by = {alias: int(count) for alias, count in re.findall(r"(default\S*): (\d+)", reads[2])}
    assert sum(by.values()) == int(reads[1])
    assert min(by["default-0"], by["default-1"]) >= 10
    assert re.search(r"started again.*\n(?s:.*)^reader .* default-1 .* fresh, 5", second_act, re.MULTILINE)
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert_nothing_is_left(temporary)


@pytest.mark.parametrize("broken", ["middleware", "router"])
def test_walk_notices_broken_routing(temporary: Path, broken: str) -> None:
    done = walk(temporary, "--break", broken)
    assert done.returncode == 1, done.stdout + done.stderr
    assert stale_reads_by_writers(done.stdout) > 0
    assert "wrong: writer, GET /: from default-1, not default" in done.stdout
    # The second act too, to its end.
    assert "wrong: writer, GET /: from default-0, not default-1" in done.stdout
    assert "failures: 0" in done.stdout
    assert "Traceback" not in done.stderr


@contextmanager
def serving(end: signal.Signals) -> Iterator[dict[str, str]]:
    """A block with the site up; afterwards a signal ends the demo, and nothing of it may be left.

    Yields:
        The addresses that the demo prints, by what it calls them.
    """
    with temporary_folder() as temporary:
        with started(temporary, "--serve") as demo:
            try:
                assert demo.stdout is not None
                addresses = {}
                for line in demo.stdout:
                    name, _, address = line.partition(":")
                    if "http://" in address:
                        addresses[name] = address.strip()
                    if "Ctrl-C" in line:
                        break
                yield addresses
                assert processes_of(temporary)
            finally:
                demo.send_signal(end)
                _, errors = demo.communicate(timeout=60)
        assert demo.returncode == 0
        assert errors.strip() == f"Stopped by {end.name}."
        assert_nothing_is_left(temporary)


# test_demo_serve.py ends it by SIGTERM.
def test_serve_until_told_to_stop() -> None:
    with serving(signal.SIGINT) as addresses:
        page = httpx.get(addresses["The notice board"], trust_env=False)
        assert page.status_code == 200
        assert "Who served this page" in page.text
        assert "default-" in page.text


def test_interrupted_while_starting(temporary: Path) -> None:
    with started(temporary, stdout=subprocess.DEVNULL) as demo:
        wait_for(lambda: list(temporary.glob("pindb-postgres-*/master.pid")), "the master's start", 30)
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert errors.strip() == "Stopped by SIGINT."
    assert_nothing_is_left(temporary)


def test_site_without_addresses() -> None:
    kept = {name: value for name, value in os.environ.items() if name != "PINDB_DEMO_DATABASES"}
    done = run_command(sys.executable, "testproject/manage.py", "check", env=kept)
    assert done.returncode == 1
    assert "PINDB_DEMO_DATABASES is missing" in done.stderr
    assert "python3 testproject/demo.py --serve" in done.stderr


def test_help_needs_nothing_installed() -> None:
    # -I and -S: no packages but the standard library's.
    done = run_command(sys.executable, "-I", "-S", "testproject/demo.py", "--help")
    assert done.returncode == 0, done.stderr
    assert "--serve" in done.stdout


def test_page_is_read_as_it_is_shown() -> None:
    page = Page(
        "<meta charset=utf-8><div data-board>"
        '<article data-notice="7"><h2 data-field="title">Tea &amp; talk</h2>'
        '<p data-field="body">Two<br>lines</p> outside <button>Thanks <b data-field="thanks">3</b></button>'
        "</article></div>"
    )
    assert page.notices == {7: ("Tea & talk", "Twolines", 3)}
    assert Page("<div data-board></div>").notices == {}
    assert Page("<h1>Log in</h1>").notices is None
    assert Page("<p data-refusal> Not <b>x</b> </p>").refusal == "Not"


@pytest.mark.parametrize(
    ("sql", "short"),
    [
        ('SELECT "a"."b",\n "a"."c" FROM "a" WHERE "a"."b" = %s', "SELECT … FROM a WHERE a.b = %s"),
        ('UPDATE "a" SET "b" = %s', "UPDATE a SET b = %s"),
        ("SELECT 1", "SELECT 1"),
    ],
)
def test_shorten(sql: str, short: str) -> None:
    assert shorten(sql) == short


def test_shorten_leaves_no_long_lines() -> None:
    assert len(shorten("INSERT INTO a VALUES (" + "%s, " * 500)) <= 110
