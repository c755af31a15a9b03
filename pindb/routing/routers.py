"""The routers for ``DATABASE_ROUTERS``: which alias each query goes to."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from django.core.checks.registry import CheckRegistry
from django.db import DEFAULT_DB_ALIAS
from django.db import router as django_router

from pindb.conf import conf, on_change
from pindb.exceptions import PinDbConfigError, UnpinnedWriteException
from pindb.pins.context import PinningContext, asks_only, current, get_context
from pindb.routing.call_site import current_place
from pindb.routing.reruns import watch_open_connections
from pindb.routing.settings import OwnRouter
from pindb.routing.table import RoutingTable
from pindb.sets.aliases import RoutedAlias, release
from pindb.sets.connections import connections_here

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["GreedyPinDbRouter", "StrictPinDbRouter"]

logger = logging.getLogger("pindb")


class PinDbRouter(OwnRouter):
    """What both routers share. Safe under threads and in async code; holds no state of its own.

    A router is asked for every query of a site, so what the settings say is worked out once, in a
    `RoutingTable`, and where the last read of a set went is remembered in the pinning context.
    """

    # Static, since a bound method would be made for each query.
    @staticmethod
    def db_for_read(model: type[Model], **hints: Any) -> str:
        """The alias to read `model` from: the master where its set is pinned, else a replica.

        Raises:
            PinDbConfigError: the settings are wrong, or a delegate router answered a replica.
        """
        # The same steps begin db_for_write: they run for every query, and a function of their own would cost
        # as much as they do.
        table = _table or _make_table()
        ask = table.ask_for_read
        alias: str
        if ask is not None:
            alias = (ask(model, **hints) if hints else ask(model)) or table.home(hints)
        else:
            alias = table.home(hints) if hints else DEFAULT_DB_ALIAS
        context = get_context() or current()
        member = context.reads.get(alias)
        if member is not None:
            if member.is_master:
                return member
            if model in table.on_replicas:
                here = connections_here.__dict__
                try:
                    reader = here[member]
                    # After an error, whether the connection still lives has to be looked at.
                    if (
                        not here[alias].in_atomic_block
                        and reader.connection is not None
                        and not reader.errors_occurred
                    ):
                        return member
                except KeyError:
                    # The first look from this thread.
                    pass
        return table.member_for_read(context, alias, model)

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        """The alias to write `model` to: the master of its set.

        Raises:
            UnpinnedWriteException: the router is strict and the set is not pinned.
            PinDbConfigError: the settings are wrong, or a delegate router answered a replica.
        """
        table = _table or _make_table()
        ask = table.ask_for_write
        alias: str
        if ask is not None:
            alias = (ask(model, **hints) if hints else ask(model)) or table.home(hints)
            if alias.__class__ is RoutedAlias:
                # A delegate answered where the instance at hand was read.
                alias = alias.master
        else:
            alias = table.home(hints) if hints else DEFAULT_DB_ALIAS
        if hints:
            instance = hints.get("instance")
            if instance.__class__ is model and not asks_only.get():
                release(instance)
        context = get_context() or current()
        if alias not in context.new:
            self.note_write(context, alias, model)
        return alias

    def note_write(self, context: PinningContext, alias: str, model: type[Model]) -> None:
        """A write of `model` goes to `alias`, which is not newly pinned: pin its set where that is due."""
        table = _table or _make_table()
        if table.is_managed(alias) and not table.is_unpinned(model) and not asks_only.get():
            self.pin_for_write(context, alias, model)

    def pin_for_write(self, context: PinningContext, alias: str, model: type[Model]) -> None:
        """A write of `model` goes to the set of the master `alias`, which is not newly pinned."""
        raise NotImplementedError

    def allow_relation(self, obj1: Model, obj2: Model, **hints: Any) -> bool | None:
        """Yes within a set, else what the delegate routers answer."""
        table = _table or _make_table()
        masters = table.sets.masters
        master = masters.get(obj1._state.db or "")
        if master is not None and master == masters.get(obj2._state.db or ""):
            return True
        return table.ask("allow_relation", obj1, obj2, **hints)

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        """Never on a replica (but for a command that reads it), elsewhere what the delegate routers answer.

        Raises:
            PinDbConfigError: the settings are wrong. Not while system checks run, which report it: the answer
                is no, so that no model is checked against a database.
        """
        try:
            table = _table or _make_table()
        except PinDbConfigError:
            if _is_checking():
                return False
            raise
        master = table.sets.masters.get(db, db)
        if master != db and (get_context() or current()).migratable != db:
            return False
        # A replica that is read has what its master has.
        return table.ask("allow_migrate", master, app_label, model_name=model_name, **hints)


class StrictPinDbRouter(PinDbRouter):
    """Reads replicas as much as possible; a write to a set that is not pinned is an error.

    Declare writes before the first read, with `pindb.pin` or in a block of `pindb.master`. What a site has
    in ``PINDB_GREEDY_MODELS`` pins as under `GreedyPinDbRouter`. With ``PINDB_STRICT = "log"``, other writes
    that were not declared do so as well, and are logged.
    """

    def pin_for_write(self, context: PinningContext, alias: str, model: type[Model]) -> None:
        if alias not in context.declared:
            table = _table or _make_table()
            if not table.is_greedy(model):
                _report_undeclared(context, alias, model)
            context.pin(alias)
        elif alias in context.carried or context.pins_writes:
            # A pin that was carried in is about to end; the write has to be covered in full.
            context.pin(alias)


def _report_undeclared(context: PinningContext, alias: str, model: type[Model] | None) -> None:
    """Raise `UnpinnedWriteException`; where ``PINDB_STRICT`` is "log", log the write instead."""
    label = "a table" if model is None else model._meta.label
    if conf.PINDB_STRICT == "log":
        place = current_place()
        logger.warning(
            "undeclared write to %s on the DB set %r at %s; pinning the set",
            label,
            alias,
            place,
            extra={"model": label, "db_set": alias, **place._asdict()},
        )
        return
    message = (
        f"A write to {label} on the DB set {alias!r}, which is not pinned. Call pindb.pin({alias!r}) before "
        f"the first read of what you write, or put the write into a block `with pindb.master({alias!r}):`."
    )
    if alias in context.pinned:
        message += " The pin that was carried in says where reads go; it allows no writes."
    raise UnpinnedWriteException(message)


class GreedyPinDbRouter(PinDbRouter):
    """A write pins its set: what comes after it in the pinning context is read from the master."""

    def pin_for_write(self, context: PinningContext, alias: str, model: type[Model]) -> None:
        context.pin(alias)


_table: RoutingTable | None = None


def _make_table() -> RoutingTable:
    global _table
    # Only here: it imports models, which a settings module that imports pindb must not.
    from pindb.routing.orm import install

    _table = table = RoutingTable()
    install(_route_again)
    watch_open_connections()
    return table


def _route_again(model: type[Model], alias: str, for_write: bool) -> str:
    """The alias for a query that Django tied to a member of the set `alias`, by the router of the site."""
    router = next((one for one in django_router.routers if isinstance(one, PinDbRouter)), None)
    if router is None:
        return alias
    table, context = _table or _make_table(), current()
    if not for_write:
        return table.member_for_read(context, alias, model)
    if alias not in context.new:
        router.note_write(context, alias, model)
    return alias


@on_change
def _forget(setting: str) -> None:
    global _table
    _table = None


def _is_checking() -> bool:
    """Whether Django's system checks are running in this thread."""
    code = CheckRegistry.run_checks.__code__
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame.f_code is code
