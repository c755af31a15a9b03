"""Output of the command ``manage.py pindb``: tables, and the progress of a move."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.core.management.color import Style, no_style

from pindb.cache.plan import Plan
from pindb.cache.statistics import ServerStats

__all__ = ["Output", "readable_bytes"]

#: The spaces between two columns.
GAP = " " * 3

#: The cells of a progress bar.
BAR = 30

#: Seconds between two updates of a progress line.
UPDATE = 0.1


class Output:
    """A printer of tables and progress. Colours and progress are for terminals only.

    Arguments:
        stdout: the command's `stdout`.
        style: the command's `style`.
    """

    def __init__(self, stdout: Any, style: Style | None = None) -> None:
        self._stdout = stdout
        self._is_terminal = stdout.isatty()
        self._style: Any = style if style is not None and self._is_terminal else no_style()

    def print_stats(self, servers: Sequence[ServerStats]) -> None:
        """Print the servers of a cache, one per row."""
        rows = []
        for server in servers:
            row = [str(server.host_id), server.address]
            if server.is_up:
                rate = "-" if server.hit_rate is None else f"{server.hit_rate:.1%}"
                row += ["up", f"{server.keys:,}", readable_bytes(server.memory)]
                row += [f"{server.hits:,}", f"{server.misses:,}", rate]
            else:
                row += ["down", *["-"] * 5]
            rows.append([*row, f"{server.share:.1%}"])
        down = {number for number, server in enumerate(servers) if not server.is_up}
        numbers = ("keys", "memory", "hits", "misses", "hit rate", "share")
        self._print_table(("server", "address", ""), numbers, rows, down)

    def print_plan(self, plan: Plan, now: Mapping[str, str], then: Mapping[str, str]) -> None:
        """Print the keys that would move, by server.

        Arguments:
            plan: the plan.
            now: the names of the servers now, by address.
            then: the names of the servers after the change, by address.
        """
        rows = []
        for address in dict.fromkeys([*now, *then]):
            if address not in then:
                name = f"{now[address]} (removed)"
            elif address not in now:
                name = f"{then[address]} (new)"
            else:
                name = now[address] if now[address] == then[address] else f"{now[address]} -> {then[address]}"
            numbers = (plan.now, plan.then, plan.leaving, plan.arriving)
            rows.append([name, address, *(f"{number(address):,}" for number in numbers)])
        self._print_table(("server", "address"), ("keys now", "keys then", "leaving", "arriving"), rows)

    def _print_table(
        self,
        texts: Sequence[str],
        numbers: Sequence[str],
        rows: Sequence[Sequence[str]],
        alarming: frozenset[int] | set[int] = frozenset(),
    ) -> None:
        """Print a table.

        Arguments:
            texts: the heads of the first columns, which are aligned left.
            numbers: the heads of the others, which are aligned right.
            rows: the cells of each row.
            alarming: the indexes of the rows that stand out.
        """
        lines = [[*texts, *numbers], *rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligns: list[Callable[[str, int], str]] = [*[str.ljust] * len(texts), *[str.rjust] * len(numbers)]
        first, *others = (
            " "
            + GAP.join(align(cell, width) for cell, align, width in zip(line, aligns, widths, strict=True))
            for line in lines
        )
        rule = "─" if _can_print("─", self._stdout) else "-"
        self._stdout.write(f"\n{first.rstrip()}")
        self._stdout.write(f" {rule * (len(first) - 1)}")
        for number, line in enumerate(others):
            self._stdout.write(self._style.ERROR(line) if number in alarming else line)
        self._stdout.write("")

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int, str], None]]:
        """Show a progress bar. Yields a function that takes the work done, all work, and a note."""
        started = time.monotonic()
        shown, due = "", started

        def show(text: str) -> None:
            nonlocal shown
            # A line that wraps could not be written over.
            text = text[: shutil.get_terminal_size().columns - 1]
            self._stdout.write(f"\r{text}{' ' * (len(shown) - len(text))}", ending="")
            self._stdout.flush()
            shown = text

        def update(done: int, total: int, note: str) -> None:
            nonlocal due
            now = time.monotonic()
            if not self._is_terminal or (now < due and done < total):
                return
            due = now + UPDATE
            share = min(done / total, 1) if total else 1
            bar = "#" * round(BAR * share)
            left = timedelta(seconds=round((now - started) * (1 / share - 1))) if share else "-:--:--"
            show(f"{what} [{bar:.<{BAR}}] {done:,}/{total:,}, {left} left, {note}")

        try:
            yield update
        finally:
            if shown:
                self._stdout.write("")


def _can_print(text: str, file: Any) -> bool:
    try:
        text.encode(getattr(file, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def readable_bytes(number: float) -> str:
    """Return a number of bytes for people: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
