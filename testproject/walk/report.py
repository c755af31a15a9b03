"""What the demo prints, and what it makes of it: wrong routes, and stale reads by writers."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from testproject.queries import Query
from testproject.walk.visitors import Answer

__all__ = ["MASTER", "REFUSED", "Report", "make_console"]

MASTER = "default"

#: The HTTP status of the page about a refused write (see middleware.py).
REFUSED = 500

#: Where the output is not a terminal.
WIDTH = 100

COLUMNS = {"who": 6, "asked": 17, "database": 9, "was asked to": 26, "pinned": 6, "saw": 24}

#: For terminals where those do not fit.
NARROW = {**COLUMNS, "was asked to": 16, "saw": 16}


def make_console() -> Console:
    """The terminal; elsewhere, plain text of a fixed width."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


class Report:
    """Prints answers in tables and counts what is wrong with them.

    Attributes:
        wrong: what was not as it should have been, and how often.
        stale_reads_by_writers: how many stale boards visitors saw after a write of their own.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.wrong: Counter[str] = Counter()
        self.stale_reads_by_writers = 0
        self._table = self._make_table()

    def head(self) -> None:
        """Print the heads of the columns."""
        self.console.print()
        self.console.print(self._make_table(show_header=True))

    @contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        """A block whose answers are rows below a title."""
        self.console.print(f"\n{escape(title)}", style="bold")
        self._table = self._make_table()
        try:
            yield
        finally:
            self.console.print(self._table)

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """A block that takes a while. Shown on terminals only."""
        return self.console.status(text)

    def add(self, *answers: Answer, database: str | None, pinned: bool = False, status: int = 200) -> None:
        """A row for an answer, or for several that were the same, and what it should have been.

        Arguments:
            answers: what a visitor got, for the same request.
            database: the alias that every query of notices should have gone to; None: there should be none.
            pinned: whether the set should have been pinned for them.
            status: the right HTTP status.
        """
        rows = []
        for answer in answers:
            wrongs = list(_wrongs(answer, database, pinned, status))
            self.wrong.update(f"{answer.visitor}, {answer.request}: {wrong}" for wrong in wrongs)
            if answer.is_stale is not None and answer.wrote_before:
                self.stale_reads_by_writers += answer.is_stale
            rows.append((answer.request, _queries(answer.queries), _saw(answer, wrongs)))
        for (request, (first, *others), saw), same in groupby(rows):
            times = len(list(same))
            asked = request if times == 1 else f"{request}  ({times} times)"
            self._table.add_row(answers[0].visitor, asked, *first, saw)
            for other in others:
                self._table.add_row("", "", *other)

    def quote(self, text: str) -> None:
        """What the site said, below its row."""
        if text:
            self.console.print(Padding(Text(text, "italic"), (0, 8)))

    def check(self, text: str, right: bool) -> None:
        """Something that should be so, below the rows."""
        shown = Text(text, "italic")
        if not right:
            self.wrong[text] += 1
            shown.append(f"\nWRONG: {text}", "bold red")
        self.console.print(Padding(shown, (0, 8)))

    def _make_table(self, show_header: bool = False) -> Table:
        """A table without rows. All have the same columns, so that they look like one with titles in it."""
        table = Table(
            box=None, show_header=show_header, header_style="underline", pad_edge=False, padding=(0, 1)
        )
        gaps = 2 * len(COLUMNS)
        fits = sum(COLUMNS.values()) + gaps <= self.console.width
        for name, width in (COLUMNS if fits else NARROW).items():
            table.add_column(name, width=width)
        return table

    def conclude(self) -> int:
        """Print the verdict, the number of stale reads by writers last.

        Returns:
            The exit status: 0 where nothing was wrong.
        """
        self.console.print()
        for wrong, times in self.wrong.items():
            line = f"wrong: {wrong}" + (f" ({times} times)" if times > 1 else "")
            self.console.print(escape(line), style="red", soft_wrap=True)
        style = "bold red" if self.stale_reads_by_writers else "bold green"
        self.console.print(f"stale reads by writers: {self.stale_reads_by_writers}", style=style)
        return 1 if self.wrong or self.stale_reads_by_writers else 0


def _wrongs(answer: Answer, database: str | None, pinned: bool, status: int) -> Iterator[str]:
    if answer.status != status:
        yield f"status {answer.status}, not {status}"
    aliases = {query.database for query in answer.of_notices}
    if database is None:
        if aliases:
            yield f"notices asked of {_listed(aliases)}"
    elif aliases != {database}:
        yield f"from {_listed(aliases)}, not {database}"
    elif {query.pinned for query in answer.of_notices} != {pinned}:
        yield "not pinned" if pinned else "pinned"
    if answer.request == "GET /" and answer.page.notices is None:
        yield "no board"
    if status == REFUSED and not answer.page.refusal:
        yield "not refused"
    others = {query.database for query in answer.queries if query not in answer.of_notices}
    if others - {MASTER}:
        yield f"session or user from {_listed(others - {MASTER})}"
    if answer.is_stale and answer.wrote_before:
        yield "stale for a writer"


def _listed(aliases: set[str]) -> str:
    return " and ".join(sorted(aliases)) or "nowhere"


def _queries(queries: list[Query]) -> list[tuple[Text, str, Text]]:
    """The databases that were asked, in turn: alias, what for, whether pinned."""
    rows = []
    for (alias, pinned), of_alias in groupby(queries, lambda query: (query.database, query.pinned)):
        asked = []
        for verb, of_verb in groupby(of_alias, lambda query: query.verb):
            # Without the app's name: board_notice is the table of notices.
            tables = dict.fromkeys(query.table.rpartition("_")[2] for query in of_verb)
            word = "read" if verb == "SELECT" else verb.lower()
            asked.append(f"{word} {', '.join(tables)}")
        name = Text(alias, "yellow" if alias == MASTER else "cyan")
        rows.append((name, "; ".join(asked), Text("yes", "yellow") if pinned else Text("no", "dim")))
    return rows or [(Text("none", "dim"), "", Text())]


def _saw(answer: Answer, wrongs: list[str]) -> Text:
    saw = _sight(answer)
    for wrong in wrongs:
        saw.append(f"\nWRONG: {wrong}", "bold red")
    return saw


def _sight(answer: Answer) -> Text:
    """What came back; of a board, how it differs from what was committed."""
    shown, committed = answer.page.notices, answer.committed
    if shown is None:
        if answer.page.refusal:
            return Text("refused", "bold")
        accepted = 300 <= answer.status < 400
        return Text("accepted" if accepted else f"status {answer.status}", "dim")
    if shown == committed:
        return Text(f"fresh, {len(shown)} notices", "green")
    counts = {
        "missing": len(committed.keys() - shown.keys()),
        "changed": sum(pk in committed and shown[pk] != committed[pk] for pk in shown),
        "deleted": len(shown.keys() - committed.keys()),
    }
    differences = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return Text(f"STALE, {differences}", "red")
