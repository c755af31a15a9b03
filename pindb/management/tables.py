"""What the command `pindb` prints: tables, and the progress of what takes long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pindb.cache.plan import Plan
from pindb.cache.statistics import ServerStats

__all__ = ["Output", "readable_bytes"]

#: The columns of a page that is no terminal, so that nothing is wrapped there.
WIDTH = 200


class _File:
    """A command's output as rich wants a file: nothing is put at the end of what is written."""

    def __init__(self, wrapper: Any) -> None:
        self._wrapper = wrapper

    def write(self, text: str) -> int:
        self._wrapper.write(text, ending="")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapper, name)


class Output:
    """Prints to a command's output; with colours, and progress, only where that is a terminal.

    Arguments:
        stdout: the command's `stdout`.
        no_color: no colours anyway.
    """

    def __init__(self, stdout: Any, no_color: bool = False) -> None:
        file: Any = _File(stdout)
        terminal = stdout.isatty()
        # Keys and addresses are no markup: they may have brackets and colons.
        self._console = Console(
            file=file,
            markup=False,
            emoji=False,
            highlight=False,
            width=None if terminal else WIDTH,
            no_color=no_color or None,
            force_terminal=terminal,
        )

    def print_stats(self, servers: Sequence[ServerStats]) -> None:
        """The servers of a cache, one in a row."""
        numbers = ("keys", "memory", "hits", "misses", "hit rate", "share")
        table = _table(("server", "address", ""), numbers)
        for server in servers:
            name = str(server.host_id)
            share = f"{server.share:.1%}"
            if not server.is_up:
                table.add_row(name, server.address, "down", *["-"] * 5, share, style="red")
                continue
            rate = "-" if server.hit_rate is None else f"{server.hit_rate:.1%}"
            counts = (f"{number:,}" for number in (server.hits, server.misses))
            memory = readable_bytes(server.memory)
            table.add_row(name, server.address, "up", f"{server.keys:,}", memory, *counts, rate, share)
        self._console.print(table)

    def print_plan(self, plan: Plan, now: Mapping[str, str], then: Mapping[str, str]) -> None:
        """What would move.

        Arguments:
            plan: the plan.
            now: what servers are called, by their addresses.
            then: what they would be called.
        """
        table = _table(("server", "address"), ("keys now", "keys then", "leaving", "arriving"))
        for address in dict.fromkeys([*now, *then]):
            if address not in then:
                name = f"{now[address]} (removed)"
            elif address not in now:
                name = f"{then[address]} (new)"
            else:
                name = now[address] if now[address] == then[address] else f"{now[address]} -> {then[address]}"
            numbers = (plan.now, plan.then, plan.leaving, plan.arriving)
            table.add_row(name, address, *(f"{number(address):,}" for number in numbers))
        self._console.print(table)

    @contextmanager
    def progress(self, what: str) -> Iterator[Any]:
        """A bar in a terminal; call it with how much is done, how much there is, and a word on it."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        more = (TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
        with Progress(
            *columns, *more, console=self._console, disable=not self._console.is_terminal
        ) as progress:
            task = progress.add_task(what, total=None, note="")

            def update(done: int, total: int, note: str) -> None:
                progress.update(task, completed=done, total=total, note=note)

            yield update


def _table(texts: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for name in texts:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def readable_bytes(number: float) -> str:
    """A number of bytes as people read it: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
