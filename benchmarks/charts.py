"""The charts of the documentation, drawn from the tables in README.md: ``python -m benchmarks.charts``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

__all__ = ["CHARTS", "FOLDER", "README", "Bar", "Chart", "draw", "main"]

README = Path(__file__).parent / "README.md"
FOLDER = Path(__file__).parent.parent / "docs" / "_static"

WIDTH = 640
LABEL = 236
#: The bars' longest, so that the figure fits beside it.
LONGEST = 260
ROW = 30
GAP = 16

STYLE = """
    .card { fill: #ffffff; stroke: #c9ced6 }
    text { fill: #1f2430 }
    .quiet { fill: #5b6472 }
    .pindb { fill: #4a90d9 }
    .other { fill: #b6bec9 }
    .bound { fill: none; stroke: #5b6472; stroke-dasharray: 3 3 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #16191f; stroke: #3b424e }
      text { fill: #e6e9ef }
      .quiet { fill: #a5adba }
      .pindb { fill: #4a90d9 }
      .other { fill: #566070 }
      .bound { stroke: #a5adba }
    }
"""


@dataclass(frozen=True)
class Bar:
    """A bar.

    Attributes:
        label: what it is of.
        figure: what stands beside it, as the table has it.
        kind: ``"pindb"``, ``"other"``, or ``"bound"`` for what cannot be beaten.
        note: a word behind the figure.
    """

    label: str
    figure: str
    kind: str
    note: str = ""

    @property
    def value(self) -> float:
        """How long it is."""
        return float(re.sub(r"[^\d.]", "", self.figure))


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: what it shows.
        better: which bars are good.
        groups: groups of bars, by their headings.
    """

    title: str
    better: str
    groups: dict[str, list[Bar]]


def tables(text: str) -> Iterator[list[list[str]]]:
    """The tables of a page of Markdown: rows of cells."""
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        yield [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def find_figure(text: str, case: str, subject: str) -> str:
    """The figure of a subject in a case, in the tables whose first cells name the case once."""
    for table in tables(text):
        current = ""
        for row in table:
            current = row[0] or current
            if (current, row[1]) == (case, subject):
                return row[2]
    raise LookupError(f"README.md has no row {case!r}, {subject!r}")


def find_cell(text: str, corner: str, row: str, column: str) -> str:
    """A figure of a table that has this first cell, by the names of its row and its column."""
    for table in tables(text):
        if table[0][0] == corner:
            return next(cells for cells in table if cells[0] == row)[table[0].index(column)]
    raise LookupError(f"README.md has no table {corner!r}")


def consistency(text: str) -> Chart:
    subjects = {
        "no pins": "other",
        "django-multidb-router, 15 s": "other",
        "pindb, 15 s": "pindb",
        "pindb, positions": "pindb",
        "oracle": "bound",
    }
    groups: dict[str, list[Bar]] = {}
    for lag in ("50 ms", "200 ms", "1,000 ms"):
        bars = groups[f"Replicas {lag} behind"] = []
        for subject, kind in subjects.items():
            figure = find_cell(text, lag, "reads from replicas (%)", subject)
            stale = find_cell(text, lag, "stale reads (in all)", subject)
            note = f"{float(stale):.0f} stale" if stale else ""
            label = "best possible" if subject == "oracle" else subject
            bars.append(Bar(label, f"{figure} %", kind, note))
    return Chart("Reads that replicas serve", "longer is better, and no read may be stale", groups)


def routing(text: str) -> Chart:
    subjects = {
        "django-multidb-router": ("django-multidb-router", "other"),
        "django-multidb-router, site router": ("the same, with a site router", "other"),
        "django_replicated": ("django_replicated", "other"),
        "pindb, plain": ("pindb", "pindb"),
        "pindb": ("pindb, with a site router", "pindb"),
    }
    cases = {
        "A read, not pinned": "read, unpinned",
        "A read, pinned": "read, pinned",
        "A write, pinned": "write, pinned",
    }
    return Chart(
        "Time to route a query",
        "shorter is better",
        {heading: compare(text, case, subjects) for heading, case in cases.items()},
    )


def maps(text: str) -> Chart:
    subjects = {
        "redis-py": ("redis-py, pipeline", "other"),
        "rb": ("rb", "other"),
        "create_cluster": ("create_cluster", "pindb"),
        "pindb": ("Cluster.map", "pindb"),
    }
    return Chart(
        "10,000 commands through a map",
        "longer is better",
        {name: compare(text, f"{name} through map, batched", subjects) for name in ("GET", "SET")},
    )


def cache(text: str) -> Chart:
    subjects = {
        "pindb, consistent": ("pindb.cache, 4 servers", "pindb"),
        "ShardClient": ("ShardClient, 4 servers", "other"),
        "DefaultClient": ("DefaultClient, 1 server", "other"),
        "Django's RedisCache": ("Django's own, 1 server", "other"),
    }
    return Chart(
        "1,000 keys in one call of a cache",
        "shorter is better",
        {case: compare(text, case, subjects) for case in ("get_many", "set_many", "delete_many")},
    )


def compare(text: str, case: str, subjects: dict[str, tuple[str, str]]) -> list[Bar]:
    """Bars of a case, for subjects with their labels and kinds."""
    return [Bar(label, find_figure(text, case, subject), kind) for subject, (label, kind) in subjects.items()]


CHARTS: dict[str, Callable[[str], Chart]] = {
    "chart-consistency.svg": consistency,
    "chart-routing.svg": routing,
    "chart-map.svg": maps,
    "chart-cache.svg": cache,
}


def draw(chart: Chart) -> str:
    """The SVG of a chart."""
    longest = max(bar.value for bars in chart.groups.values() for bar in bars)
    lines, described, y = [], [], 66
    for heading, bars in chart.groups.items():
        lines.append(f'<text x="20" y="{y + 16}" font-weight="600">{escape(heading)}</text>')
        y += ROW
        for bar in bars:
            width = max(2, round(bar.value / longest * LONGEST))
            label, text = escape(bar.label), escape(", ".join(filter(None, (bar.figure, bar.note))))
            lines += [
                f'<text class="quiet" x="{LABEL - 10}" y="{y + 16}" text-anchor="end">{label}</text>',
                f'<rect class="{bar.kind}" x="{LABEL}" y="{y + 2}" width="{width}" height="20" rx="3"/>',
                f'<text x="{LABEL + width + 8}" y="{y + 16}">{text}</text>',
            ]
            described.append(f"{heading}, {label}: {text}.")
            y += ROW
        y += GAP
    body, description = "\n  ".join(lines), "\n  ".join(described)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}"
     role="img" aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="14">
  <title id="title">{escape(chart.title)}</title>
  <desc id="desc">{description}</desc>
  <style>{STYLE}  </style>
  <rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{y - 1}" rx="8"/>
  <text x="20" y="34" font-size="16" font-weight="600">{escape(chart.title)}</text>
  <text class="quiet" x="20" y="54">{escape(chart.better)}</text>
  {body}
</svg>
"""


def main() -> None:
    """Write all charts."""
    text = README.read_text()
    for name, make in CHARTS.items():
        (FOLDER / name).write_text(draw(make(text)))


if __name__ == "__main__":
    main()
