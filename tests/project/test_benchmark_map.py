"""``python -m benchmarks map``: it runs, checks the work before it times it, and has everybody's figures."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.map.cores import CAN_PIN, on_one_core
from benchmarks.map.jobs import GET, GET_BATCHED, MEMORY, SET, SET_BATCHED, SINGLE_GET, Load, check
from tests.processes import run_python

REDIS = {"redis-py", "floor", "pindb"}
UNITS = {GET_BATCHED: "GET/s", GET: "GET/s", SET_BATCHED: "SET/s", SET: "SET/s", SINGLE_GET: "GET/s"}


def run(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = f"import sys\n{before}\nfrom benchmarks.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    return run_python("-c", code, "map", "--quick", *arguments, PYTHONUTF8="1", COLUMNS="200")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """What a quick run prints, and its rows."""
    file = tmp_path_factory.mktemp("map") / "rows.json"
    done = run("--json", str(file), "--profile")
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text(encoding="utf-8"))


def test_rows_have_the_form_of_all_benchmarks(report: tuple[str, list[dict[str, Any]]]) -> None:
    rows = report[1]
    assert all(set(row) == {"case", "subject", "value", "unit"} for row in rows)
    assert all(row["value"] > 0 for row in rows)
    assert len({(row["case"], row["subject"], row["unit"]) for row in rows}) == len(rows)
    assert {row["case"] for row in rows} == {*UNITS, MEMORY}


@pytest.mark.parametrize("case", UNITS)
def test_everybody_has_a_figure_and_pindb_a_ratio_to_each(
    report: tuple[str, list[dict[str, Any]]], case: str
) -> None:
    printed, rows = report
    everybody = REDIS if "rb is left out" in printed else REDIS | {"rb"}
    if case in (GET_BATCHED, SET_BATCHED):
        everybody = everybody | {"create_cluster"}
    of_case = [row for row in rows if row["case"] == case]
    assert {row["subject"] for row in of_case if row["unit"] == UNITS[case]} == everybody
    ratios = {row["unit"] for row in of_case if row["subject"] == "pindb"} - {UNITS[case]}
    assert ratios == {f"ratio to {subject}" for subject in everybody - {"pindb"}}


def test_a_ratio_says_how_many_times_as_fast(report: tuple[str, list[dict[str, Any]]]) -> None:
    """The floor cannot be slower than the pipeline."""
    rows = {(row["case"], row["subject"], row["unit"]): row["value"] for row in report[1]}
    to_floor = rows[GET_BATCHED, "pindb", "ratio to floor"]
    assert to_floor < rows[GET_BATCHED, "pindb", "ratio to redis-py"]
    assert to_floor < 1


def test_memory_is_counted(report: tuple[str, list[dict[str, Any]]]) -> None:
    rows = [row for row in report[1] if row["case"] == MEMORY and row["unit"] == "bytes"]
    values = {row["subject"]: row["value"] for row in rows}
    # A promise cannot be smaller than an object with a slot.
    assert 32 < values["pindb"] < 1000


def test_it_says_whether_the_targets_are_met(report: tuple[str, list[dict[str, Any]]]) -> None:
    lines = report[0].splitlines()
    verdicts = [line for line in lines if line.startswith(("met: ", "missed: "))]
    assert any("redis-py" in line for line in verdicts)
    assert any("floor" in line for line in verdicts)
    assert any("create_cluster / pindb" in line for line in verdicts)


def test_the_profile_names_functions_of_pindb(report: tuple[str, list[dict[str, Any]]]) -> None:
    assert "mapping.py" in report[0]
    assert f"== {GET_BATCHED}" in report[0]


def test_without_rb_the_rest_is_measured_and_that_is_said() -> None:
    done = run(
        before="from benchmarks import peers\n"
        "def python(): raise peers.Unavailable('there is no compiler')\n"
        "peers.python = python"
    )
    assert done.returncode == 0, done.stderr
    assert "rb is left out: there is no compiler" in done.stdout
    assert "redis-py" in done.stdout
    assert "/ rb" not in done.stdout


@pytest.mark.parametrize(
    "job", [lambda: [b"1", b"2", b"0"], lambda: [b"1"], lambda: [b"2", b"1"], lambda: [None, b"2"]]
)
def test_wrong_results_are_not_timed(job: Callable[[], list[Any]]) -> None:
    load = Load(["a", "b"], [b"1", b"2"], ["a"], [b"1"])
    check({GET: lambda: [b"1", b"2"], SET: lambda: [True, True], SINGLE_GET: lambda: [b"1"]}, load)
    with pytest.raises(RuntimeError, match="wrong results"):
        check({GET: job}, load)


@pytest.mark.skipif(not CAN_PIN, reason="This system does not let processes be bound to cores.")
def test_processes_may_run_anywhere_again_after_a_round_on_one_core() -> None:
    before = os.sched_getaffinity(0)
    with on_one_core([os.getpid()]):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
