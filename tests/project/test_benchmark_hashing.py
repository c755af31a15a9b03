"""``python -m benchmarks hashing``: it runs, and everybody has a figure."""

from __future__ import annotations

import json

import pytest

from benchmarks import peers
from tests.processes import output_of

RING = "ring look-up, 8 nodes"
PARTITION = "partition look-up, 7 hosts"
SUBJECTS = {
    RING: {
        *("rb", "django-redis", "uhashring", "uhashring, ketama", "floor, hashlib", "floor"),
        *("pindb, Continuum", "pindb, many", "pindb"),
    },
    PARTITION: {"rb", "rb, arithmetic alone", "pindb, router", "pindb, many", "pindb"},
}
REFERENCES = {RING: "floor", PARTITION: "pindb"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What a quick run prints, and its JSON."""
    file = tmp_path_factory.mktemp("benchmarks") / "rows.json"
    printed = output_of("-m", "benchmarks", "hashing", "--quick", "--json", file)
    return printed, file.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", SUBJECTS)
def test_every_subject_has_a_figure_and_a_ratio(report: tuple[str, str], case: str) -> None:
    expected = SUBJECTS[case]
    if "rb is left out" in report[0]:
        expected = {subject for subject in expected if not subject.startswith("rb")}
    rows = [row for row in json.loads(report[1]) if row["case"] == case]
    assert all(row["value"] > 0 for row in rows)
    assert {row["subject"] for row in rows if row["unit"] == "look-ups/s"} == expected
    ratios = {row["subject"] for row in rows if row["unit"] == f"ratio to {REFERENCES[case]}"}
    assert ratios == expected - {REFERENCES[case]}


def test_it_says_whether_the_targets_are_met(report: tuple[str, str]) -> None:
    verdicts = [line for line in report[0].splitlines() if line.startswith(("met: ", "missed: "))]
    for other in ("floor", "uhashring", "django-redis"):
        assert any(f"{RING}: time of pindb / {other}:" in line for line in verdicts)


def test_a_peer_that_ends_is_an_error() -> None:
    try:
        peer = peers.started("benchmarks.hashing.rb_worker")
        with peer as rb, pytest.raises(RuntimeError, match="has ended"):
            rb.ask(nonsense=True)
    except peers.Unavailable as error:
        pytest.skip(str(error))
