"""The routing table: all settings that decide where a query goes, read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS

from pindb.conf import conf
from pindb.exceptions import PinDbConfigError
from pindb.pins.context import PinningContext
from pindb.routing.atomic import reads_master
from pindb.routing.delegates import load_delegates
from pindb.routing.model_lists import ModelLists
from pindb.routing.selection import select_caught_up, select_master, select_replica
from pindb.sets.aliases import RoutedAlias
from pindb.sets.definitions import DatabaseSets, get_sets

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["RoutingTable"]

Ask = Callable[..., Any]


class RoutingTable:
    """The settings in the form that the routers need for each query.

    Attributes:
        sets: the DB sets.
        ask_for_read, ask_for_write: the delegate routers as one function; None without delegates.
        models: the settings that list models.
        on_replicas: see `ModelLists`.
    """

    def __init__(self) -> None:
        self.enabled = bool(conf.PINDB_ENABLED)
        self.sets = get_sets() if self.enabled or conf.MASTER_DATABASES else DatabaseSets({}, {})
        self.delegates = load_delegates()
        self.ask_for_read = self._first_answer("db_for_read")
        self.ask_for_write = self._first_answer("db_for_write")
        self.models = ModelLists()
        self.on_replicas = self.models.on_replicas

    def _methods(self, name: str) -> list[Ask]:
        return [getattr(d, name) for d in self.delegates if hasattr(d, name)]

    def _first_answer(self, name: str) -> Ask | None:
        methods = self._methods(name)
        if len(methods) < 2:
            return methods[0] if methods else None

        def ask(model: type[Model], **hints: Any) -> str | None:
            return next(filter(None, (method(model, **hints) for method in methods)), None)

        return ask

    def ask(self, name: str, *args: Any, **hints: Any) -> bool | None:
        """Return the first answer of the delegate routers that is not None."""
        for method in self._methods(name):
            answer: bool | None = method(*args, **hints)
            if answer is not None:
                return answer
        return None

    def default_alias(self, hints: dict[str, Any]) -> str:
        """Return the set for a query that no delegate answers: the hinted instance's, else the default."""
        instance = hints.get("instance")
        alias: str = (instance is not None and instance._state.db) or DEFAULT_DB_ALIAS
        return self.sets.masters.get(alias, alias)

    def select(self, context: PinningContext, alias: str, model: type[Model]) -> str:
        """Return the alias of the server of the set `alias` that is read.

        The answer is kept in the context if it also holds for the next read.
        """
        if alias.__class__ is RoutedAlias:
            # A delegate returned instance._state.db.
            alias = alias.master
        if alias not in self.sets.replicas or not self.enabled:
            self.refuse_replica(alias)
            return alias
        routed = self.sets.routed
        if model not in self.on_replicas and self.models.is_unpinned(model):
            return routed[alias]
        position = None
        if alias in context.from_replica:
            server = select_replica(context, alias)
        elif alias in context.pinned and (position := context.positions.get(alias)) is None:
            server = select_master(context, alias)
        elif reads_master(context, alias):
            return routed[alias]
        elif position is not None:
            server = select_caught_up(context, alias, position)
        else:
            server = select_replica(context, alias)
        answer = context.routes[alias] = routed[server]
        return answer

    def is_managed(self, alias: str) -> bool:
        """Return whether pindb routes the set `alias`; False for an unmanaged database."""
        if alias in self.sets.replicas:
            return self.enabled
        self.refuse_replica(alias)
        return False

    def refuse_replica(self, alias: str) -> None:
        """Raise `PinDbConfigError` if `alias` is the alias of a replica."""
        master = self.sets.masters.get(alias, alias)
        if master != alias:
            raise PinDbConfigError(
                f"A router in PINDB_DELEGATE_ROUTERS answered {alias!r}, the alias of a replica. Delegate "
                f"routers pick a master: return {master!r}, and pindb picks the server of its set."
            )
