"""The figures in the documentation: each stands in a table of benchmarks/README.md."""

from __future__ import annotations

import re

import pytest

from benchmarks.charts import CHARTS, FOLDER, README, draw, find_figure
from tests.processes import ROOT

MEASURED = README.read_text()


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d[\d,]*(?:\.\d+)?", text))


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_drawn_from_the_tables(name: str) -> None:
    assert (FOLDER / name).read_text() == draw(CHARTS[name](MEASURED))


@pytest.mark.parametrize("page", ["README.md", "docs/explanation/performance.md"])
def test_figures_that_are_quoted_are_measured(page: str) -> None:
    cells = re.findall(r"(?<=\|) *\**([\d.,]+)(?: [%µmn]?s?)?\** *(?=\|)", (ROOT / page).read_text())
    assert cells
    # Counts are written without decimals.
    measured = {number.removesuffix(".0") for number in numbers(MEASURED)} | numbers(MEASURED)
    assert set(cells) - measured - {"0"} == set()


def test_a_figure_that_is_missing_is_an_error() -> None:
    with pytest.raises(LookupError, match="no such case"):
        find_figure(MEASURED, "no such case", "pindb")
