"""The routers for ``DATABASE_ROUTERS``: which alias each query goes to."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks.registry import CheckRegistry
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS
from django.db import router as django_router

from pindb.aliases import RoutedAlias, release
from pindb.conf import conf
from pindb.contexts import PinningContext, asks_only, current, get_context
from pindb.exceptions import PinDbConfigError, UnpinnedWriteException
from pindb.importing import import_entry
from pindb.members import connections_here, get_connection
from pindb.places import current_place
from pindb.replicas import choose_master, choose_reached, choose_replica
from pindb.reruns import watch_open_connections
from pindb.sets import DatabaseSets, get_sets

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["GreedyPinDbRouter", "StrictPinDbRouter"]

logger = logging.getLogger("pindb")

Ask = Callable[..., Any]

#: Models of other apps that live on the master without being listed: queues, whose workers open a transaction
#: where they read, and lock rows in it.
QUEUES = frozenset({"django_tasks_database.dbtaskresult"})


class PinDbRouter:
    """What both routers share. Safe under threads and in async code; holds no state of its own.

    A router is asked for every query of a site, so what the settings say is worked out once, in a `_Table`,
    and where the last read of a set went is remembered in the pinning context.
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


class _Table:
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


_table: _Table | None = None


def _make_table() -> _Table:
    global _table
    # Only here: it imports models, which a settings module that imports pindb must not.
    from pindb.orm import install

    _table = table = _Table()
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


def _forget(**kwargs: object) -> None:
    global _table
    _table = None


setting_changed.connect(_forget, dispatch_uid="pindb.routers")


def load_delegates() -> list[Any]:
    """The routers of ``PINDB_DELEGATE_ROUTERS``; none where it is None.

    Raises:
        PinDbConfigError: the setting is no list, or an entry cannot be imported or is pindb's own router.
    """
    entries = conf.PINDB_DELEGATE_ROUTERS
    if entries is None:
        return []
    if isinstance(entries, str) or not isinstance(entries, Iterable):
        raise PinDbConfigError(
            f"PINDB_DELEGATE_ROUTERS is {entries!r}. Write a list of routers: ['myapp.routers.Router']."
        )
    return [_load_delegate(entry) for entry in entries]


def _load_delegate(entry: Any) -> Any:
    entry = import_entry("PINDB_DELEGATE_ROUTERS", entry, "a router class, or a router")
    router = entry() if isinstance(entry, type) else entry
    if isinstance(router, PinDbRouter):
        raise PinDbConfigError(
            f"PINDB_DELEGATE_ROUTERS names {type(router).__name__}, which would ask itself. It belongs "
            "into DATABASE_ROUTERS; delegate routers are the site's own."
        )
    return router


def unpinned_models() -> frozenset[str]:
    """The models of ``PINDB_UNPINNED_MODELS``, as "app_label.modelname".

    Raises:
        PinDbConfigError: the setting is no list, or an entry names no installed model.
    """
    return _labels("PINDB_UNPINNED_MODELS", "models: ['sessions.Session']")


def greedy_models() -> frozenset[str]:
    """The models of ``PINDB_GREEDY_MODELS``, as "app_label.modelname", and its apps, as "app_label".

    Raises:
        PinDbConfigError: the setting is no list, or an entry names no installed model or app.
    """
    return _labels("PINDB_GREEDY_MODELS", "models and apps: ['admin', 'auth.User']", or_apps=True)


def _labels(setting: str, example: str, or_apps: bool = False) -> frozenset[str]:
    labels = getattr(conf, setting)
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise PinDbConfigError(f"{setting} is {labels!r}. Write a list of {example}.")
    found = set()
    for label in labels:
        try:
            if or_apps and "." not in label:
                found.add(apps.get_app_config(label).label)
            else:
                found.add(apps.get_model(label)._meta.label_lower)
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            raise PinDbConfigError(
                f"{setting} names {label!r}, which is no installed model{' or app' if or_apps else ''}: "
                f"{error}. Write 'app_label.ModelName'{' or an app_label' if or_apps else ''}."
            ) from error
    return frozenset(found)


def _is_checking() -> bool:
    """Whether Django's system checks are running in this thread."""
    code = CheckRegistry.run_checks.__code__
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame.f_code is code


def _in_explicit_block(master: Any, context: PinningContext, alias: str) -> bool:
    """Whether code opened a transaction on `master`, beyond what Django's own test case and
    ``ATOMIC_REQUESTS`` opened for it."""
    blocks = [block for block in master.atomic_blocks if not block._from_testcase]
    return len(blocks) > (alias in context.request_blocks)
