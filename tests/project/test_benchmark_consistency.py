"""``python -m benchmarks consistency``: it runs, counts right, and pindb keeps what depends on no speed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.consistency.figures import Figures
from benchmarks.consistency.oracle import Oracle
from benchmarks.consistency.schedule import Load, make_schedule
from benchmarks.consistency.strategies import MULTIDB, NO_PINS, ORACLE, POSITIONS, TIME
from benchmarks.consistency.worker import Record
from tests.processes import run_python

DELAYS = ["50 ms", "200 ms", "1,000 ms"]
EVERYBODY = {NO_PINS, MULTIDB, TIME, POSITIONS}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]], str]:
    """What a quick run prints, its rows, and its tables of Markdown."""
    folder = tmp_path_factory.mktemp("consistency")
    files = folder / "rows.json", folder / "tables.md"
    arguments = ["--quick", "--json", files[0], "--markdown", files[1]]
    done = run_python("-m", "benchmarks", "consistency", *arguments)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    rows, tables = (file.read_text(encoding="utf-8") for file in files)
    return done.stdout, json.loads(rows), tables


def values(rows: list[dict[str, Any]], case: str) -> dict[str, float]:
    return {row["subject"]: row["value"] for row in rows if row["case"] == case}


@pytest.mark.parametrize("delay", DELAYS)
def test_everybody_has_all_figures(report: tuple[str, list[dict[str, Any]], str], delay: str) -> None:
    rows = report[1]
    assert all(set(row) == {"case", "subject", "value", "unit"} for row in rows)
    cases = {row["case"] for row in rows if row["case"].startswith(f"{delay}: ")}
    assert len(cases) == 11
    for case in cases:
        subjects = EVERYBODY | {ORACLE} if case.endswith("reads from replicas") else EVERYBODY
        assert set(values(rows, case)) == subjects


@pytest.mark.parametrize("delay", DELAYS)
def test_positions_give_no_stale_reads_and_no_pins_use_replicas_only(
    report: tuple[str, list[dict[str, Any]], str], delay: str
) -> None:
    stale = values(report[1], f"{delay}: stale reads")
    assert stale[POSITIONS] == stale[TIME] == stale[MULTIDB] == 0
    shares = values(report[1], f"{delay}: reads from replicas")
    assert shares[NO_PINS] == 100
    assert values(report[1], f"{delay}: queries to the master")[NO_PINS] == 0


def test_it_can_see_stale_reads(report: tuple[str, list[dict[str, Any]], str]) -> None:
    assert values(report[1], "1,000 ms: stale reads")[NO_PINS] > 0


def test_the_targets_that_do_not_depend_on_speed_are_met(
    report: tuple[str, list[dict[str, Any]], str],
) -> None:
    verdicts = [line for line in report[0].splitlines() if line.startswith(("met: ", "missed: "))]
    assert len(verdicts) == 4 * len(DELAYS)
    for delay in DELAYS:
        for target in ("stale reads", "extra master queries per writing request"):
            assert any(line.startswith(f"met: {delay}: {target}") for line in verdicts), verdicts


def test_each_delay_has_a_table(report: tuple[str, list[dict[str, Any]], str]) -> None:
    printed, _, markdown = report
    for delay in DELAYS:
        assert f": {delay}" in printed
        assert f"| {delay} | {NO_PINS} | {MULTIDB} | {TIME} | {POSITIONS} | {ORACLE} |" in markdown


def test_a_schedule_follows_from_its_seed() -> None:
    load = Load(sessions=20, run_in=1, seconds=20)
    steps = make_schedule(load)
    assert steps == make_schedule(load)
    assert steps != make_schedule(replace(load, seed=2))
    assert [step.due for step in steps] == sorted(step.due for step in steps)
    assert {step.session for step in steps} == set(range(20))
    assert 0 < sum(step.writes for step in steps) < len(steps) / 2


def request(start: float, writes: bool = False, **changes: Any) -> Record:
    on_master = 1 if writes else 0
    alias = "default" if writes else "default-0"
    made = Record(0, writes, start, start, 1.0, 0.5, 0.1, alias, on_master, 0, 0, lsn=0)
    return replace(made, **changes)


def test_the_oracle_reads_a_replica_that_has_the_sessions_last_write() -> None:
    slow = [(float(at), 0 if at < 8 else 100) for at in range(10)]
    fast = [(float(at), 0 if at < 5 else 100) for at in range(10)]
    oracle = Oracle([slow, fast])
    # Between the questions at 4 and at 5 the faster one got there.
    assert oracle.reached(100) == 4
    assert oracle.reached(101) == float("inf")
    reads = [request(1.0), request(3.5), request(4.5), request(3.5, session=1)]
    assert oracle.share([*reads, request(2.0, writes=True, lsn=100)], run_in=0) == 0.75
    assert oracle.share([*reads, request(2.0, writes=True, lsn=100)], run_in=3) == pytest.approx(2 / 3)
    assert oracle.share([*reads, request(2.0, writes=True, lsn=101)], run_in=0) == 0.5


def test_figures_count_what_is_on_the_master() -> None:
    figures = Figures(
        [
            request(0.5, behind=1),
            request(1.0, writes=True, on_master=2),
            request(2.0, alias="default", on_master=1),
            request(3.0, questions=1),
            request(4.0),
            request(5.0),
        ],
        run_in=1,
    )
    assert figures.stale == 1
    assert figures.from_replicas == 0.75
    assert figures.master_queries == 0.5
    assert figures.extra_queries == 1
    assert figures.questions == 0.25
    assert figures.beside == figures.query() == 0.5
