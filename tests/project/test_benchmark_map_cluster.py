"""``python -m benchmarks map --cluster``: it runs, and has the figures of all clients that are installed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.map.cluster.jobs import GET, MGET, SET, SINGLE_GET, check
from benchmarks.map.jobs import Load
from tests.processes import run_python

UNITS = {GET: "GET/s", SET: "SET/s", MGET: "keys/s", SINGLE_GET: "GET/s"}
PEERS = {"valkey-glide": "glide_sync", "coredis": "coredis"}


def run(*arguments: str, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    missing = "".join(f"sys.modules[{PEERS[peer]!r}] = None\n" for peer in without)
    code = f"import sys\n{missing}from benchmarks.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    words = ["-c", code, "map", "--cluster", "--quick", *arguments]
    return run_python(*words, PYTHONUTF8="1", COLUMNS="200")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """What a quick run prints, and its rows."""
    file = tmp_path_factory.mktemp("map-cluster") / "rows.json"
    done = run("--json", str(file), "--profile")
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text(encoding="utf-8"))


def everybody(case: str, printed: str) -> set[str]:
    peers = {peer for peer in PEERS if f"{peer} is left out" not in printed}
    if case == MGET:
        return {"pindb", "pindb, plain servers", "redis-py, mget_nonatomic"} | (peers - {"coredis"})
    return {"pindb", "pindb, plain servers", "redis-py"} | peers


@pytest.mark.parametrize("case", UNITS)
def test_everybody_has_a_figure_and_pindb_a_ratio_to_each(
    report: tuple[str, list[dict[str, Any]]], case: str
) -> None:
    printed, rows = report
    of_case = [row for row in rows if row["case"] == case]
    assert all(row["value"] > 0 for row in of_case)
    assert {row["subject"] for row in of_case if row["unit"] == UNITS[case]} == everybody(case, printed)
    ratios = {row["unit"] for row in of_case if row["subject"] == "pindb"} - {UNITS[case]}
    assert ratios == {f"ratio to {subject}" for subject in everybody(case, printed) - {"pindb"}}


def test_rows_have_the_form_of_all_benchmarks(report: tuple[str, list[dict[str, Any]]]) -> None:
    rows = report[1]
    assert all(set(row) == {"case", "subject", "value", "unit"} for row in rows)
    assert len({(row["case"], row["subject"], row["unit"]) for row in rows}) == len(rows)
    assert {row["case"] for row in rows} == set(UNITS)


@pytest.mark.parametrize("case", UNITS)
def test_it_says_whether_the_targets_are_met(report: tuple[str, list[dict[str, Any]]], case: str) -> None:
    verdicts = [line for line in report[0].splitlines() if line.startswith(("met: ", "missed: "))]
    assert any(f"{case}: time of pindb / redis-py" in line for line in verdicts)


def test_the_profile_names_functions_of_pindb(report: tuple[str, list[dict[str, Any]]]) -> None:
    assert f"== {MGET}" in report[0]
    assert "mapping.py" in report[0]


def test_peers_that_are_not_installed_are_left_out_and_that_is_said() -> None:
    done = run(without=("valkey-glide", "coredis"))
    assert done.returncode == 0, done.stderr
    for peer in PEERS:
        assert f"{peer} is left out: " in done.stdout
        assert f"/ {peer}" not in done.stdout
    assert "(of the extra `benchmarks`)" in done.stdout
    assert "time of pindb / redis-py" in done.stdout


@pytest.mark.parametrize("job", [lambda: [b"2", b"1"], lambda: [b"1"], lambda: [None, b"2"]])
def test_wrong_results_are_not_timed(job: Callable[[], list[Any]]) -> None:
    load = Load(["a", "b"], [b"1", b"2"], ["a"], [b"1"])
    check("pindb", {SET: lambda: ["OK", "OK"]}, load)
    check("pindb", {GET: lambda: [b"1", b"2"], SINGLE_GET: lambda: [b"1"]}, load)
    with pytest.raises(RuntimeError, match=f"pindb: {GET}: wrong results"):
        check("pindb", {GET: job}, load)
