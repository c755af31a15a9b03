"""``python -m benchmarks cache``: it runs, checks the work before it times it, and has all figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cache.comparison import CASES, DELETE_PATTERN
from benchmarks.cache.subjects import BUILT_IN, DEFAULT_CLIENT, PINDB, RING, SHARD_CLIENT

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """What a quick run prints, and its rows."""
    file = tmp_path_factory.mktemp("cache") / "rows.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "cache", "--quick", "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text(encoding="utf-8"))


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
