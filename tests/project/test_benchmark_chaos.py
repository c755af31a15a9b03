"""``python -m benchmarks chaos``: no read fails that can be served, and what judges that is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.chaos.figures import AWAY, FAILED, SERVES, STALE
from benchmarks.chaos.record import Done, Record
from benchmarks.chaos.schedule import MASTER, REPLICAS, SETTLED, make_schedule
from benchmarks.chaos.visitors import BY_TIME, Read
from tests.project.test_benchmarks import run

FIRST, SECOND = REPLICAS


def test_no_read_fails_and_none_is_stale_while_servers_fail(tmp_path: Path) -> None:
    done = run("chaos", "--quick", "--seed", "5", "--json", str(tmp_path / "rows.json"))
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    figures = {(row["case"], row["subject"]): row["value"] for row in rows}
    assert figures["reads", FAILED] == 0, done.stdout + done.stderr
    assert figures["reads", STALE] == 0, done.stdout + done.stderr
    assert figures["reads", "served by default-0"] > 0
    assert figures["reads", "served by default-1"] > 0
    assert figures["reads", f"served, {AWAY}"] > 0
    assert figures["writes", "acknowledged"] > 0
    assert 0 <= figures[SERVES, "in the first process, worst"] < 9
    assert "kill replica-" in done.stdout
    assert "missed: " not in done.stdout


# ---- the schedule ------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
def test_a_seed_is_a_schedule(quick: bool) -> None:
    assert make_schedule(7, quick) == make_schedule(7, quick)
    assert make_schedule(7, quick) != make_schedule(8, quick)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("seed", range(50))
def test_a_schedule_has_all_failures_and_ends_with_everything_running(seed: int, quick: bool) -> None:
    schedule = make_schedule(seed, quick)
    state = dict.fromkeys((MASTER, *REPLICAS), "start")
    before = {"kill": {"start", "resume"}, "stop": {"start", "resume"}, "pause": {"start", "resume"}}
    before |= {"start": {"kill", "stop"}, "resume": {"pause"}}
    for _, verb, member in schedule.actions:
        assert state[member] in before[verb]
        state[member] = verb
    assert set(state.values()) <= {"start", "resume"}
    assert [action.at for action in schedule.actions] == sorted(action.at for action in schedule.actions)
    assert schedule.actions[-1].at < schedule.seconds
    done = {(verb, member == MASTER) for _, verb, member in schedule.actions}
    assert {("kill", False), ("pause", False), ("stop", True)} <= done


@pytest.mark.parametrize("seed", range(50))
def test_one_replica_is_left_alone_while_the_master_is_away(seed: int) -> None:
    actions = make_schedule(seed).actions
    stops = [action.at for action in actions if action[1:] == ("stop", MASTER)]
    starts = [action.at for action in actions if action[1:] == ("start", MASTER)]
    for stop, start in zip(stops, starts, strict=True):
        busy = {
            action.member
            for action in actions
            if stop - SETTLED <= action.at <= start + SETTLED and action.member != MASTER
        }
        assert busy != set(REPLICAS)


# ---- who may serve a read ----------------------------------------------------------------------

#: The master is away from 10 to 20, the first replica from 5 to 15.
AWAYS = (
    Done("kill", FIRST, 5.0, 5.1),
    Done("stop", MASTER, 10.0, 10.5),
    Done("start", FIRST, 14.8, 15.0),
    Done("start", MASTER, 19.0, 20.0),
)


def read(began: float, ended: float, pin: str = "") -> Read:
    return Read(1, began, ended, succeeded=False, member="", pin=pin, written=0, shown=None)


@pytest.mark.parametrize(
    ("began", "ended", "pin", "expected"),
    [
        (1, 2, BY_TIME, True),
        (9, 9.9, BY_TIME, True),
        # The master ends, or is back only now.
        (9, 10.1, BY_TIME, False),
        (19.9, 20.1, BY_TIME, False),
        (20, 21, BY_TIME, True),
        # The second replica has everything up to 0/20.
        (12, 13, "1:0/20", True),
        (12, 13, "1:0/21", False),
        (21, 22, "1:0/21", True),
        # Nobody says that it has got there before the read began.
        (10.2, 10.3, "1:0/20", False),
        (12, 13, "", True),
    ],
)
def test_who_may_serve_a_read(began: float, ended: float, pin: str, expected: bool) -> None:
    record = Record(AWAYS, {FIRST: [], SECOND: [(10.0, 0x1F), (11.0, 0x20)]})
    assert record.may_be_served(read(began, ended, pin)) is expected


def test_nobody_serves_where_all_are_away() -> None:
    record = Record((*AWAYS, Done("kill", SECOND, 11.0, 11.1)), {FIRST: [], SECOND: []})
    assert not record.may_be_served(read(12, 13))
    # The first replica is back; whoever is not pinned may be served by it at once.
    assert record.may_be_served(read(15, 15.1))


def test_a_replica_that_came_back_counts_for_a_position_when_it_is_left_alone_no_more() -> None:
    record = Record(AWAYS, {FIRST: [(15.0, 0x20)], SECOND: []})
    assert not record.may_be_served(read(15.1, 15.2, "1:0/20"))
    assert record.may_be_served(read(15.0 + SETTLED, 18.9, "1:0/20"))
    assert not record.may_be_served(read(15.0 + SETTLED, 18.9, "1:0/21"))


def test_times_after_an_action_are_not_quiet() -> None:
    record = Record(AWAYS)
    assert record.is_quiet(read(1, 2), 1)
    assert not record.is_quiet(read(4.9, 5), 1)
    assert not record.is_quiet(read(6.0, 6.2), 1)
    assert record.is_quiet(read(6.2, 6.3), 1)


@pytest.mark.parametrize(("written", "shown", "stale"), [(2, 2, False), (2, 3, False), (2, 1, True)])
def test_a_read_is_stale_that_lacks_the_last_acknowledged_write(
    written: int, shown: int, stale: bool
) -> None:
    seen = Read(1, 0.0, 1.0, succeeded=True, member=FIRST, pin="", written=written, shown=shown)
    assert seen.is_stale is stale
