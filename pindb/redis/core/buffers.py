"""Commands that wait to be sent, by host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import chain

from pindb.redis.core.merging import CommandRun, Entry
from pindb.redis.core.pending import Command
from pindb.redis.core.promises import reject_all
from pindb.redis.exceptions import CommandCancelled

__all__ = ["Buffers"]


class Buffers(defaultdict[int, list[Entry]]):
    """The commands that a client has not sent yet, by host, in order. Not safe under threads."""

    def __init__(self) -> None:
        super().__init__(list)

    def add(self, host_id: int, command: Command) -> None:
        """Add a command for a host."""
        self[host_id].append(command)

    def add_run(self, groups: Mapping[int, list[int]], run: CommandRun) -> None:
        """Add a run for several hosts.

        Arguments:
            groups: for each host the places in `run` of the commands that it gets.
            run: the run.
        """
        for host_id, places in groups.items():
            entries = self[host_id]
            part, last = run.at(places), entries[-1] if entries else None
            if isinstance(last, CommandRun) and (last.name, last.tail) == (run.name, run.tail):
                last.extend(part)
            else:
                entries.append(part)

    def cancel(self, error: CommandCancelled) -> None:
        """Drop all commands and reject their promises."""
        reject_all(chain.from_iterable(entry.promises for _, some in self.take() for entry in some), error)

    def take(self) -> list[tuple[int, list[Entry]]]:
        """Return the commands for each host, and forget them.

        Hosts are in the same order everywhere, so that no two threads wait for each other's connections.
        """
        taken = sorted(self.items())
        self.clear()
        return taken
