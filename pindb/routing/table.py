"""The settings as the routers need them, worked out once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS

from pindb.conf import conf
from pindb.exceptions import PinDbConfigError
from pindb.pins.context import PinningContext
from pindb.routing.replicas import choose_master, choose_reached, choose_replica
from pindb.routing.settings import greedy_models, load_delegates, unpinned_models
from pindb.sets.aliases import RoutedAlias
from pindb.sets.connections import get_connection
from pindb.sets.definitions import DatabaseSets, get_sets

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["RoutingTable"]

Ask = Callable[..., Any]

#: Models of other apps that live on the master without being listed: queues, whose workers open a transaction
#: where they read, and lock rows in it.
QUEUES = frozenset({"django_tasks_database.dbtaskresult"})


class RoutingTable:
    """What the settings say, worked out for the routers.

    Attributes:
        sets: the DB sets.
        ask_for_read, ask_for_write: the delegate routers as one function; None where there are none.
        on_replicas: models known to be read from replicas.
    """

    def __init__(self) -> None:
        self.enabled = bool(conf.PINDB_ENABLED)
        self.sets = get_sets() if self.enabled or conf.MASTER_DATABASES else DatabaseSets({}, {})
        self.delegates = load_delegates()
        self.ask_for_read = self._first_answer("db_for_read")
        self.ask_for_write = self._first_answer("db_for_write")
        self.unpinned_labels = unpinned_models() | QUEUES
        self.greedy_labels = greedy_models()
        self.on_replicas: set[type[Model]] = set()
        self.atomic_reads_master = bool(conf.PINDB_ATOMIC_READS_MASTER)

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
        """The first answer of the delegate routers that is not None."""
        for method in self._methods(name):
            answer: bool | None = method(*args, **hints)
            if answer is not None:
                return answer
        return None

    def home(self, hints: dict[str, Any]) -> str:
        """Where no delegate has an answer: the set of the instance at hand, else the default one."""
        instance = hints.get("instance")
        alias: str = (instance is not None and instance._state.db) or DEFAULT_DB_ALIAS
        return self.sets.masters.get(alias, alias)

    def member_for_read(self, context: PinningContext, alias: str, model: type[Model]) -> str:
        """Which member of the set `alias` is read; remembered where that will do for the next read too."""
        if alias.__class__ is RoutedAlias:
            # A delegate answered where the instance at hand was read.
            alias = alias.master
        if alias not in self.sets.replicas or not self.enabled:
            self.refuse_replica(alias)
            return alias
        answers = self.sets.answers
        if model not in self.on_replicas and self.is_unpinned(model):
            return answers[alias]
        position = None
        if alias in context.from_replica:
            member = choose_replica(context, alias)
        elif alias in context.pinned and (position := context.positions.get(alias)) is None:
            member = choose_master(context, alias)
        elif (
            (master := get_connection(alias)).in_atomic_block
            and self.atomic_reads_master
            and _in_explicit_block(master, context, alias)
        ):
            return answers[alias]
        elif position is not None:
            member = choose_reached(context, alias, position)
        else:
            member = choose_replica(context, alias)
        answer = context.reads[alias] = answers[member]
        return answer

    def is_managed(self, alias: str) -> bool:
        """Whether pindb routes within the set `alias`; False for databases that it leaves alone."""
        if alias in self.sets.replicas:
            return self.enabled
        self.refuse_replica(alias)
        return False

    def refuse_replica(self, alias: str) -> None:
        """Raise `PinDbConfigError` where `alias` is a replica's."""
        master = self.sets.masters.get(alias, alias)
        if master != alias:
            raise PinDbConfigError(
                f"A router in PINDB_DELEGATE_ROUTERS answered {alias!r}, the alias of a replica. Delegate "
                f"routers choose among masters: return {master!r}, and pindb picks the member of its set."
            )

    def is_unpinned(self, model: type[Model] | None) -> bool:
        """Whether a model lives on the master without pinning.

        A model counts by its name, so that its proxies and its historical versions in migrations do too.
        The table of Django's database cache always counts: a cache that pins would pin everybody. So do
        `QUEUES`.
        """
        if model in self.on_replicas or model is None:
            # Raw SQL need not be about a model.
            return False
        concrete = getattr(model._meta, "concrete_model", None)
        if concrete is None:
            return model._meta.app_label == "django_cache"
        unpinned = concrete._meta.label_lower in self.unpinned_labels
        if not unpinned and model._meta.apps is apps:
            # Historical models come and go with their migration, and would be kept alive here.
            self.on_replicas.add(model)
        return unpinned

    def is_greedy(self, model: type[Model] | None) -> bool:
        """Whether a write of a model pins under `StrictPinDbRouter` too; it counts by its name, as above."""
        if model is None:
            return False
        meta = (model._meta.concrete_model or model)._meta
        return meta.label_lower in self.greedy_labels or meta.app_label in self.greedy_labels


def _in_explicit_block(master: Any, context: PinningContext, alias: str) -> bool:
    """Whether code opened a transaction on `master`, beyond what Django's own test case and
    ``ATOMIC_REQUESTS`` opened for it."""
    blocks = [block for block in master.atomic_blocks if not block._from_testcase]
    return len(blocks) > (alias in context.request_blocks)
