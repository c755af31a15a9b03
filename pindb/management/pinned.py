"""Pins for management commands: commands that run pinned, and ``--database`` with the alias of a replica.

Commands read what they have just written, and Django's own often write past the router
(`Model.save_base(using=...)`, raw SQL). So those in ``PINDB_PINNED_COMMANDS`` run with all sets pinned.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

from django.conf import settings
from django.core.management import get_commands
from django.core.management.base import BaseCommand, CommandError

from pindb.conf import PINNED_COMMANDS, WRITING_COMMANDS, conf
from pindb.exceptions import PinDbConfigError
from pindb.pins.blocks import master, unpinned_replica
from pindb.pins.context import PinningContext, ReplicaChoices
from pindb.sets.definitions import get_sets

__all__ = ["install", "pinned_commands"]

#: The part of a module's name between the app and the command.
FOLDER = ".management.commands."

#: Django's commands that only read the database of ``--database``. They ask ``allow_migrate`` for its models.
READS = frozenset({"dumpdata", "sqlflush", "sqlmigrate"})


def install() -> None:
    """Wrap every management command. A second call does nothing."""
    execute = BaseCommand.execute
    if hasattr(execute, "_pindb"):
        return

    @wraps(execute)
    def execute_routed(self: BaseCommand, *args: Any, **options: Any) -> Any:
        with _block(self, options):
            return execute(self, *args, **options)

    execute_routed._pindb = True  # type: ignore[attr-defined]
    BaseCommand.execute = execute_routed  # type: ignore[method-assign]


def pinned_commands() -> frozenset[str]:
    """Return the commands of ``PINDB_PINNED_COMMANDS``.

    Raises:
        PinDbConfigError: the setting is not a list of names.
    """
    names = conf.PINDB_PINNED_COMMANDS
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise PinDbConfigError(
            f"PINDB_PINNED_COMMANDS is {names!r}, not a list. Write a list of commands: [*PINNED_COMMANDS, "
            "'import_prices'], with `from pindb.conf import PINNED_COMMANDS`."
        )
    found = list(names)
    for name in found:
        if not isinstance(name, str) or not name:
            raise PinDbConfigError(
                f"PINDB_PINNED_COMMANDS names {name!r}, which is not a command. Write the name of a command, "
                "'import_prices', or its app and name, 'shop.import_prices'."
            )
    return frozenset(found)


class _PinnedCommand(master):
    """The block of a command that runs pinned. The sets that it writes to stay pinned afterwards.

    Arguments:
        aliases: the aliases of all masters.
        written: the master that the command writes to without asking the router; None if none is known.
    """

    def __init__(self, aliases: Iterable[str], written: str | None) -> None:
        super().__init__(aliases)
        self.written = written

    def change(self, inner: PinningContext) -> None:
        super().change(inner)
        inner.pins_writes = True
        if self.written is not None:
            # Before the command runs, so that tasks that it sends carry the pin too.
            inner.pin(self.written)

    def close(self, inner: PinningContext, outer: PinningContext) -> None:
        for alias in inner.new - outer.new:
            outer.pin(alias)


class _ReplicaCommand(unpinned_replica):
    """The block of a command that reads one replica.

    Queries that ask the router (for many-to-many fields in a dump) go to the same replica.
    """

    def __init__(self, alias: str, replica: str) -> None:
        super().__init__(alias)
        self.alias = alias
        self.replica = replica

    def open(self, outer: PinningContext) -> PinningContext:
        inner = super().open(outer)
        inner.migratable_replica = self.replica
        return inner

    def change(self, inner: PinningContext) -> None:
        super().change(inner)
        inner._choices = ReplicaChoices()
        inner.choices.replicas[self.alias] = self.replica


def _block(command: BaseCommand, options: Mapping[str, Any]) -> AbstractContextManager[Any]:
    """Return the block that a command runs in.

    Raises:
        CommandError: the command would write to a replica.
    """
    if not conf.PINDB_ENABLED and conf.MASTER_DATABASES is None:
        return nullcontext()
    try:
        sets = get_sets()
    except PinDbConfigError:
        # The system checks or the router report the wrong setting.
        return nullcontext()
    names = set(_names(command))
    only_reads = not names.isdisjoint(READS) or _only_reads(names, options)
    alias = options.get("database")
    home = sets.masters.get(alias) if isinstance(alias, str) else None
    if alias is not None and home not in (None, alias):
        writing = names.intersection(WRITING_COMMANDS)
        if writing and not only_reads and _is_replica(alias, home):
            raise CommandError(
                f"{min(writing)} writes, and {alias!r} is a replica of {home!r}. Write --database {home}; "
                "replication copies the changes to the replicas."
            )
        if only_reads:
            return _ReplicaCommand(home, alias)
        home = None
    elif home is not None and names & READS:
        return master(home)
    if conf.PINDB_ENABLED and sets.replicas and _is_pinned(command, names):
        return _PinnedCommand(sets.replicas, None if only_reads else home)
    return nullcontext()


def _names(command: BaseCommand) -> Iterator[str]:
    """Yield the names of a command and of those that it inherits from, each without and with its app."""
    for cls in type(command).__mro__:
        app, _, name = cls.__module__.partition(FOLDER)
        if name:
            yield name
            yield f"{app}.{name}"


def _is_pinned(command: BaseCommand, names: set[str]) -> bool:
    try:
        pinned = pinned_commands()
    except PinDbConfigError:
        # The system checks report the wrong setting.
        pinned = frozenset(PINNED_COMMANDS)
    return not pinned.isdisjoint(names) or any(_comes_from(command, name) for name in pinned)


def _comes_from(command: BaseCommand, entry: str) -> bool:
    """Return whether a command is the one that `entry` names, also if its module imports the class."""
    app, _, name = entry.rpartition(".")
    found = app or get_commands().get(name)
    # The module of a running command has been imported.
    module = sys.modules.get(f"{found}{FOLDER}{name}")
    cls = getattr(module, "Command", None)
    return isinstance(cls, type) and isinstance(command, cls)


def _only_reads(names: set[str], options: Mapping[str, Any]) -> bool:
    """Return whether the options of a writing command make it only read."""
    if "migrate" in names:
        return bool(options.get("plan") or options.get("check_unapplied")) and not options.get("prune")
    return "createcachetable" in names and bool(options.get("dry_run"))


def _is_replica(alias: str, home: str) -> bool:
    """Return whether the alias of a replica leads to a replica.

    While pindb is off, tests may create an independent database for the alias.
    """
    test: Any = settings.DATABASES.get(alias, {}).get("TEST") or {}
    return bool(conf.PINDB_ENABLED) or test.get("MIRROR") == home
