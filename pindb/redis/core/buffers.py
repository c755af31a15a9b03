"""Commands that wait to be sent, by host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from pindb.redis.core.pending import Command, CommandRun, Entry
from pindb.redis.core.promises import Promise, reject_all
from pindb.redis.exceptions import CommandCancelled

__all__ = ["Buffers"]


def _at(places: list[int], items: list[Any]) -> Sequence[Any]:
    """Return the items at some places. (itemgetter loops in C; for a single place it returns no tuple.)"""
    return itemgetter(*places)(items) if len(places) > 1 else [items[places[0]]]


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

    def add_run(
        self,
        groups: Mapping[int, list[int]],
        keys: list[Any],
        values: list[Any],
        promises: list[Promise],
        merges: bool,
        tail: tuple[Any, ...] = (),
    ) -> None:
        """Add a GET of each key, or a SET of each key to its value.

        Arguments:
            groups: for each host the places in `keys` of the keys that it has.
            keys: the keys.
            values: the values; empty for GETs.
            promises: the promises.
            merges, tail: see `CommandRun`.
        """
        for host_id, places in groups.items():
            entries = self._entries.setdefault(host_id, [])
            run = entries[-1] if entries else None
            if not isinstance(run, CommandRun) or bool(run.values) != bool(values) or run.tail != tail:
                run = CommandRun(merges, tail)
                entries.append(run)
            run.keys += _at(places, keys)
            run.promises += _at(places, promises)
            if values:
                run.values += _at(places, values)

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
