"""Commands that wait to be sent, by host."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from pindb.redis.core.merging import CommandRun, Entry
from pindb.redis.core.pending import Command
from pindb.redis.core.promises import reject_all
from pindb.redis.exceptions import CommandCancelled

__all__ = ["Buffers"]


class Buffers:
    """The commands that a client has not sent yet, by host, in order. Not safe under threads."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[int, list[Entry]] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, host_id: int, command: Command) -> None:
        """Add a command for a host."""
        self._entries.setdefault(host_id, []).append(command)

    def add_run(self, groups: Mapping[int, list[int]], run: CommandRun) -> None:
        """Add a run for several hosts.

        Arguments:
            groups: for each host the places in `run` of the commands that it gets.
            run: the run.
        """
        for host_id, places in groups.items():
            entries = self._entries.setdefault(host_id, [])
            part, last = run.at(places), entries[-1] if entries else None
            if isinstance(last, CommandRun) and (last.name, last.tail) == (run.name, run.tail):
                last.extend(part)
            else:
                entries.append(part)

    def cancel(self, error: CommandCancelled) -> None:
        """Drop all commands and reject their promises."""
        entries, self._entries = self._entries, {}
        everything = chain.from_iterable(entries.values())
        reject_all(chain.from_iterable(entry.promises for entry in everything), error)

    def take(self) -> list[tuple[int, list[Entry]]]:
        """Return the commands for each host, and forget them.

        Hosts are in the same order everywhere, so that no two threads wait for each other's connections.
        """
        entries, self._entries = self._entries, {}
        return sorted(entries.items())
