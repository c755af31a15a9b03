"""The routers for ``DATABASE_ROUTERS``: they pick the alias of each query."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.core.checks.registry import CheckRegistry
from django.db import DEFAULT_DB_ALIAS
from django.db import router as django_router

from pindb import _events as events
from pindb.conf import conf, on_change
from pindb.exceptions import PinDbConfigError, UnpinnedWriteException
from pindb.pins.context import PinningContext, current, get_context, is_lookup_only
from pindb.routing.call_site import current_call_site
from pindb.routing.delegates import BaseRouter
from pindb.routing.reruns import guard_open_connections
from pindb.routing.table import RoutingTable
from pindb.sets.aliases import RoutedAlias, assign_to_master
from pindb.sets.connections import thread_connections

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["GreedyPinDbRouter", "StrictPinDbRouter"]


class PinDbRouter(BaseRouter):
    """The base of both routers. Stateless; safe under threads and in async code.

    Django calls a router for every query. So the settings are read once, into a `RoutingTable`, and the
    pinning context caches the alias that the last read of each set went to.
    """

    # Static: for a method, Python would make a bound method for each query.
    @staticmethod
    def db_for_read(model: type[Model], **hints: Any) -> str:
        """Return the alias to read `model` from: the master if its set is pinned, else a replica.

        Raises:
            PinDbConfigError: the settings are wrong, or a delegate router answered a replica.
        """
        # db_for_write begins with the same steps. They run for every query, and the call of a shared function
        # would cost as much as the steps.
        table = _table or _make_table()
        ask = table.ask_for_read
        alias: str
        if ask is not None:
            alias = (ask(model, **hints) if hints else ask(model)) or table.default_alias(hints)
        else:
            alias = table.default_alias(hints) if hints else DEFAULT_DB_ALIAS
        context = get_context() or current()
        route = context.routes.get(alias)
        if route is not None:
            if route.is_master:
                return route
            if model in table.on_replicas:
                here = thread_connections.__dict__
                try:
                    reader = here[route]
                    # After an error, select() must check whether the connection is still alive.
                    if (
                        not here[alias].in_atomic_block
                        and reader.connection is not None
                        and not reader.errors_occurred
                    ):
                        return route
                except KeyError:
                    # This thread has not used one of the connections yet.
                    pass
        return table.select(context, alias, model)

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        """Return the alias to write `model` to: the master of its set.

        Raises:
            UnpinnedWriteException: the router is strict and the set is not pinned.
            PinDbConfigError: the settings are wrong, or a delegate router answered a replica.
        """
        table = _table or _make_table()
        ask = table.ask_for_write
        alias: str
        if ask is not None:
            alias = (ask(model, **hints) if hints else ask(model)) or table.default_alias(hints)
            if alias.__class__ is RoutedAlias:
                # A delegate returned instance._state.db.
                alias = alias.master
        else:
            alias = table.default_alias(hints) if hints else DEFAULT_DB_ALIAS
        if hints:
            instance = hints.get("instance")
            if instance.__class__ is model and not is_lookup_only.get():
                assign_to_master(instance)
        context = get_context() or current()
        if alias not in context.new:
            self.note_write(context, alias, model)
        return alias

    def note_write(self, context: PinningContext, alias: str, model: type[Model]) -> None:
        """Handle a write of `model` to `alias`, which is not newly pinned: pin the set if the write pins."""
        table = _table or _make_table()
        if table.is_managed(alias) and not table.models.is_unpinned(model) and not is_lookup_only.get():
            self.pin_for_write(context, alias, model)

    def pin_for_write(self, context: PinningContext, alias: str, model: type[Model]) -> None:
        """Handle a write of `model` that pins, to the master `alias`, which is not newly pinned."""
        raise NotImplementedError

    def allow_relation(self, obj1: Model, obj2: Model, **hints: Any) -> bool | None:
        """Return True within a set, else the delegate routers' answer."""
        table = _table or _make_table()
        masters = table.sets.masters
        master = masters.get(obj1._state.db or "")
        if master is not None and master == masters.get(obj2._state.db or ""):
            return True
        return table.ask("allow_relation", obj1, obj2, **hints)

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        """Return False for a replica, unless a management command reads it; else the delegates' answer.

        Raises:
            PinDbConfigError: the settings are wrong. While system checks run, the answer is False instead:
                the checks report the settings, and check no model against a database.
        """
        try:
            table = _table or _make_table()
        except PinDbConfigError:
            if _is_checking():
                return False
            raise
        master = table.sets.masters.get(db, db)
        if master != db and (get_context() or current()).migratable_replica != db:
            return False
        # The tables of a replica are those of its master.
        return table.ask("allow_migrate", master, app_label, model_name=model_name, **hints)


class StrictPinDbRouter(PinDbRouter):
    """A router that reads replicas as much as possible, and refuses undeclared writes.

    Declare a write before the first read, with `pindb.pin`, or put it into a block of `pindb.master`. Models
    and apps in ``PINDB_GREEDY_MODELS`` pin without a declaration, as under `GreedyPinDbRouter`. With
    ``PINDB_STRICT = "log"``, other undeclared writes also pin, and are logged.
    """

    def pin_for_write(self, context: PinningContext, alias: str, model: type[Model]) -> None:
        if alias not in context.declared:
            table = _table or _make_table()
            if not table.models.is_greedy(model):
                _report_undeclared(context, alias, model)
            context.pin(alias)
        elif alias in context.carried or context.pins_writes:
            # The carried pin covers earlier writes only; this write needs a pin of its own.
            context.pin(alias)


def _report_undeclared(context: PinningContext, alias: str, model: type[Model] | None) -> None:
    """Raise `UnpinnedWriteException`; with ``PINDB_STRICT = "log"``, log the write instead."""
    label = "a table" if model is None else model._meta.label
    if conf.PINDB_STRICT == "log":
        events.UNDECLARED_WRITE.log(model=label, db_set=alias, **current_call_site()._asdict())
        return
    message = (
        f"A write to {label} on the DB set {alias!r}, which is not pinned. Call pindb.pin({alias!r}) before "
        f"the first read of what you write, or put the write into a block `with pindb.master({alias!r}):`."
    )
    if alias in context.pinned:
        message += " A pin that was carried in by a cookie, header or task allows no writes."
    raise UnpinnedWriteException(message)


class GreedyPinDbRouter(PinDbRouter):
    """A router that pins a set when it is written: later reads in the pinning context go to the master."""

    def pin_for_write(self, context: PinningContext, alias: str, model: type[Model]) -> None:
        context.pin(alias)


_table: RoutingTable | None = None


def _make_table() -> RoutingTable:
    global _table
    # Not at the top: the module imports django.db.models, which a settings module must not do.
    from pindb.routing.orm_hooks import install

    _table = table = RoutingTable()
    install(_route_again)
    guard_open_connections()
    return table


def _route_again(model: type[Model], alias: str, for_write: bool) -> str:
    """Return the alias for a query that Django has tied to a server of the set `alias`."""
    router = next((one for one in django_router.routers if isinstance(one, PinDbRouter)), None)
    if router is None:
        return alias
    table, context = _table or _make_table(), current()
    if not for_write:
        return table.select(context, alias, model)
    if alias not in context.new:
        router.note_write(context, alias, model)
    return alias


@on_change
def _forget(setting: str) -> None:
    global _table
    _table = None


def _is_checking() -> bool:
    """Return whether Django's system checks are running in this thread."""
    code = CheckRegistry.run_checks.__code__
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame.f_code is code
