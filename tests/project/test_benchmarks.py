"""``python -m benchmarks``: it runs, and its figures have the form that every benchmark uses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.processes import run_command

REFERENCE = "django-multidb-router"
ROUTERS = {
    *("no router", "random router", REFERENCE, "django-multidb-router, site router"),
    *("django_replicated", "pindb, plain", "pindb, strict", "pindb"),
}
MIDDLEWARE = {"no middleware", REFERENCE, "pindb"}
CASES = {
    "read, unpinned": (ROUTERS, "ns"),
    "first read of a request": (ROUTERS, "ns"),
    "read, pinned": (ROUTERS, "ns"),
    "write, pinned": (ROUTERS, "ns"),
    "first write of a request": (ROUTERS - {"pindb, strict"}, "ns"),
    "request, no cookie": (MIDDLEWARE, "µs"),
    "request, pinned cookie": (MIDDLEWARE, "µs"),
    "request, new pin": (MIDDLEWARE, "µs"),
    "async request, no cookie": (MIDDLEWARE, "µs"),
}


def run(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "benchmarks"]
    return run_command(sys.executable, *start, *arguments, env={"PYTHONUTF8": "1"}, timeout=120)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """What a quick run of the router benchmark prints and writes: output, JSON, Markdown."""
    folder = tmp_path_factory.mktemp("benchmarks")
    files = folder / "rows.json", folder / "tables.md"
    done = run("router", "--quick", "--json", str(files[0]), "--markdown", str(files[1]))
    assert done.returncode == 0, done.stderr
    rows, tables = (file.read_text(encoding="utf-8") for file in files)
    return done.stdout, rows, tables


def test_rows_have_the_form_of_all_benchmarks(report: tuple[str, str, str]) -> None:
    rows = json.loads(report[1])
    assert all(set(row) == {"case", "subject", "value", "unit"} for row in rows)
    assert all(row["value"] > 0 for row in rows)
    assert len({(row["case"], row["subject"], row["unit"]) for row in rows}) == len(rows)


@pytest.mark.parametrize("case", CASES)
def test_every_subject_has_a_figure_and_a_ratio(report: tuple[str, str, str], case: str) -> None:
    subjects, unit = CASES[case]
    rows = [row for row in json.loads(report[1]) if row["case"] == case]
    assert {row["subject"] for row in rows if row["unit"] == unit} == subjects
    ratios = {row["subject"] for row in rows if row["unit"] == f"ratio to {REFERENCE}"}
    assert ratios == subjects - {REFERENCE}
    assert {row["unit"] for row in rows} == {unit, f"ratio to {REFERENCE}"}


def test_nothing_but_the_known_cases(report: tuple[str, str, str]) -> None:
    assert {row["case"] for row in json.loads(report[1])} == set(CASES)


def test_the_table_says_whether_the_targets_are_met(report: tuple[str, str, str]) -> None:
    printed, _, markdown = report
    for case in CASES:
        assert case in printed
        assert f"| {case} |" in markdown
    verdicts = [line for line in printed.splitlines() if line.startswith(("met: ", "missed: "))]
    assert any("read, unpinned" in line for line in verdicts)
    assert any("request, no cookie" in line for line in verdicts)


def test_help_lists_the_benchmarks() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "router" in done.stdout


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    done = run("roter")
    assert done.returncode == 2
    assert "'roter'" in done.stderr
    assert "router" in done.stderr.replace("'roter'", "")


def test_a_missing_peer_is_named_with_what_to_install() -> None:
    done = run(
        code="import sys; sys.modules['multidb'] = None\n"
        "from benchmarks.__main__ import main; sys.exit(main(['router', '--quick']))"
    )
    assert done.returncode == 2
    assert "'multidb'" in done.stderr
    assert "pip install -e '.[test]'" in done.stderr
    assert "Traceback" not in done.stderr
