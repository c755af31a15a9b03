"""What a benchmark hands back, and how it is shown: a table for people, rows of JSON for
programs, Markdown for the documentation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["RATIO", "Report", "Row", "Target", "print_report", "write_json", "write_markdown"]

#: The unit of a figure that compares a subject with another one, whose name follows.
RATIO = "ratio to "


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        case: what was measured.
        subject: whose figure it is; ``pindb`` is pindb with everything on.
        value: the figure.
        unit: ``ns``, ``µs`` ..., or `RATIO` and the name of a subject.
    """

    case: str
    subject: str
    value: float
    unit: str


@dataclass(frozen=True)
class Target:
    """A figure to stay at or below.

    Attributes:
        text: what is asked for.
        value: what was measured.
        limit: the most that meets it.
    """

    text: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether it is met, to two decimals: what is beyond them is noise."""
        return round(self.value, 2) <= self.limit


@dataclass(frozen=True)
class Report:
    """The outcome of a benchmark.

    Attributes:
        title: what was measured, in a line.
        rows: the figures. A ratio follows the figure that it belongs to.
        targets: what the figures should be.
        notes: what one has to know to read them, a sentence or two each.
        by_subject: whether subjects are shown as columns, in a table for each group of cases. The name of a
            case is then that of its group and that of its line: ``"group: line"``.
    """

    title: str
    rows: Sequence[Row]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()
    by_subject: bool = False


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the figures case by case, then whether each target is met."""
    console = console or Console()
    for table in _tables_by_subject(report) if report.by_subject else [_table_of_cases(report)]:
        console.print(table)
    for note in report.notes:
        console.print(note, highlight=False)
    for target in report.targets:
        verdict = "[green]met[/]" if target.met else "[red]missed[/]"
        text = f"{verdict}: {target.text}: {target.value:.2f} (at most {target.limit:g})"
        console.print(text, highlight=False, soft_wrap=True)


def _table_of_cases(report: Report) -> Table:
    table = Table(title=report.title, title_justify="left", title_style="bold")
    table.add_column("case / subject")
    table.add_column("median", justify="right")
    table.add_column("unit")
    table.add_column("ratio", justify="right")
    for case, lines in _by_case(report.rows):
        table.add_section()
        table.add_row(f"[bold]{case}[/]")
        for line in lines:
            table.add_row(f"  {line.subject}", line.value, line.unit, line.ratio)
    return table


def _tables_by_subject(report: Report) -> list[Table]:
    tables = []
    for name, subjects, lines in _by_group(report.rows):
        table = Table(title=f"{report.title}: {name}", title_justify="left", title_style="bold")
        table.add_column("case")
        for subject in subjects:
            table.add_column(subject, justify="right")
        for line in lines:
            table.add_row(*line)
        tables.append(table)
    return tables


def write_json(report: Report, path: Path) -> None:
    """Write the rows to `path` as a list of objects."""
    rows = [asdict(row) for row in report.rows]
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_markdown(report: Report, path: Path) -> None:
    """Write the figures and the targets to `path` as tables of Markdown, for the documentation."""
    text = _markdown_by_subject(report) if report.by_subject else _markdown_of_cases(report)
    text += ["", "| target | ratio | |", "| --- | ---: | --- |"]
    for target in report.targets:
        text.append(f"| {target.text} | {target.value:.2f} | {'met' if target.met else 'missed'} |")
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def _markdown_of_cases(report: Report) -> list[str]:
    text = ["| case | subject | median | ratio |", "| --- | --- | ---: | ---: |"]
    for case, lines in _by_case(report.rows):
        for line in lines:
            text.append(f"| {case} | {line.subject} | {line.value} {line.unit} | {line.ratio} |")
            case = ""
    return text


def _markdown_by_subject(report: Report) -> list[str]:
    text: list[str] = []
    for name, subjects, lines in _by_group(report.rows):
        text += [""] if text else []
        text += [f"| {name} | {' | '.join(subjects)} |", f"| --- |{' ---: |' * len(subjects)}"]
        text += [f"| {' | '.join(line)} |" for line in lines]
    return text


@dataclass(frozen=True)
class _Line:
    """A subject's figure and its ratio, as text."""

    subject: str
    value: str
    unit: str
    ratio: str


def _by_case(rows: Sequence[Row]) -> list[tuple[str, list[_Line]]]:
    cases = []
    for case, group in groupby(rows, key=lambda row: row.case):
        of_case = list(group)
        ratios = {row.subject: _number(row.value, 2) for row in of_case if row.unit.startswith(RATIO)}
        references = {row.unit.removeprefix(RATIO) for row in of_case if row.unit.startswith(RATIO)}
        lines = [
            _Line(
                row.subject,
                _number(row.value),
                row.unit,
                ratios.get(row.subject, "1" if row.subject in references else ""),
            )
            for row in of_case
            if not row.unit.startswith(RATIO)
        ]
        cases.append((case, lines))
    return cases


def _by_group(rows: Sequence[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    """For each group of cases its name, the subjects, and lines: a case with its unit, and the figures."""
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        name, _, case = row.case.partition(": ")
        groups.setdefault(name, {}).setdefault(f"{case} ({row.unit})", {})[row.subject] = _number(row.value)
    found = []
    for name, cases in groups.items():
        subjects = list(dict.fromkeys(subject for figures in cases.values() for subject in figures))
        lines = [[case, *(figures.get(name, "") for name in subjects)] for case, figures in cases.items()]
        found.append((name, subjects, lines))
    return found


def _number(value: float, decimals: int | None = None) -> str:
    """Three significant digits or more, or that many decimals; never rounded to 0."""
    if decimals is None:
        decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    while 0 < value < 10**-decimals and decimals < 9:
        decimals += 1
    return f"{value:,.{decimals}f}"
