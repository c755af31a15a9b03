"""``python -m benchmarks chaos --redis``: nothing is wrong or lost, and what judges that is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.redis_chaos.checks import Counter, Findings, Text, check_foreign
from benchmarks.redis_chaos.clients import Call, Seen
from benchmarks.redis_chaos.events import DECKS, PLANNED, make_events
from benchmarks.redis_chaos.figures import DOUBLES, LOST, PLANNED_ERRORS, RECOVERY, WRONG, Outcome
from benchmarks.redis_chaos.stages import Done
from tests.project.test_benchmarks import run


def test_a_quick_run_finds_nothing_wrong(tmp_path: Path) -> None:
    done = run("chaos", "--redis", "--quick", "--seed", "5", "--json", str(tmp_path / "rows.json"))
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    figures = {(row["case"], row["subject"]): row["value"] for row in rows}
    for stage in DECKS:
        assert figures[f"{stage}: counts", "commands"] > 1000
        for subject in (WRONG, DOUBLES, PLANNED_ERRORS, LOST):
            assert figures[f"{stage}: counts", subject] == 0, done.stdout
    assert figures[f"plain: {RECOVERY}", "restart"] > 0
    assert figures[f"cluster: {RECOVERY}", "kill"] > 0


# ---- events ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", DECKS)
@pytest.mark.parametrize("quick", [False, True])
def test_a_seed_is_an_order_of_events(stage: str, quick: bool) -> None:
    assert make_events(stage, 3, 7, quick) == make_events(stage, 3, 7, quick)
    assert make_events(stage, 3, 7, quick) != make_events(stage, 3, 8, quick)


@pytest.mark.parametrize("stage", DECKS)
def test_each_kind_of_event_comes(stage: str) -> None:
    events = make_events(stage, 3, 1)
    assert sorted(event.kind for event in events) == sorted(DECKS[stage])
    assert all(event.shard != event.other for event in events)


# ---- values ------------------------------------------------------------------------------------


@pytest.fixture
def findings() -> Findings:
    return Findings()


@pytest.fixture
def text(findings: Findings) -> Text:
    """A key of writer 1 whose first write was acknowledged, and whose second one has failed."""
    text = Text("key", 0, 1, findings)
    text.note_written(text.issue()[0], None)
    text.note_written(text.issue()[0], OSError())
    return text


@pytest.mark.parametrize("value", [b"key|1|1", b"key|1|2"])
def test_values_that_may_be_there(text: Text, findings: Findings, value: bytes) -> None:
    text.check(value)
    assert findings == Findings()


@pytest.mark.parametrize("value", [b"other|1|1", b"key|2|1", b"key|1|3", b"noise", b""])
def test_values_that_nobody_can_have_written(text: Text, findings: Findings, value: bytes) -> None:
    text.check(value)
    assert len(findings.wrong) == 1


def test_a_value_that_was_written_after_the_read_is_wrong(text: Text, findings: Findings) -> None:
    text.check(b"key|1|2", issued=1)
    assert len(findings.wrong) == 1


def test_an_acknowledged_write_that_is_gone_is_a_loss(text: Text, findings: Findings) -> None:
    text.check(None)
    assert [loss.number for loss in findings.losses] == [1]
    text.check(None)
    assert len(findings.losses) == 1


def test_a_write_that_failed_may_take_effect_later(text: Text, findings: Findings) -> None:
    text.note_written(text.issue()[0], None)
    text.check(b"key|1|2")
    assert findings == Findings()


def test_a_value_of_another_writer_names_its_key(findings: Findings) -> None:
    check_foreign("key", b"key|7|1", findings)
    check_foreign("key", None, findings)
    assert not findings.wrong
    check_foreign("key", b"other|7|1", findings)
    assert len(findings.wrong) == 1


@pytest.mark.parametrize(
    ("replies", "doubles", "lost"),
    [
        ([1, 2, 3], 0, 0),
        ([1, None, 2], 0, 0),
        ([1, None, 3], 0, 0),
        # It takes effect later.
        ([1, None, 2, 4], 0, 0),
        ([1, 3], 1, 0),
        ([1, None, 4], 1, 0),
        ([1, None, 3, 5], 1, 0),
        ([1, 2, 3, 1], 0, 3),
    ],
)
def test_increments_are_counted(
    findings: Findings, replies: list[int | None], doubles: int, lost: int
) -> None:
    counter = Counter("key", 0, findings)
    for reply in replies:
        counter.note(reply)
    assert len(findings.doubles) == doubles
    assert sum(loss.number for loss in findings.losses) == lost


# ---- what excuses an error ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("began", "shard", "kind"),
    [
        (4.0, 0, None),
        (10.5, 0, "kill"),
        (10.5, 1, None),
        # More than a second after the new owner.
        (13.5, 0, None),
        (20.5, 0, "reshard"),
        (21.5, 0, None),
    ],
)
def test_which_event_an_error_belongs_to(began: float, shard: int, kind: str | None) -> None:
    done = [Done("kill", (0,), 10, 15, 12), Done("reshard", (0, 2), 20, 21, 20)]
    outcome = Outcome("cluster", [Seen("client")], done, 0, 3, 30)
    found = outcome.event_of(Call(began, began + 0.1, shard, "HostConnectionError", ""))
    assert (found and found.kind) == kind
    assert found is None or found.is_planned == (kind in PLANNED)
