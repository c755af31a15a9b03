"""Hooks in Django's ORM, where it keeps an alias, or asks for one without writing.

Django asks a router once and holds on to the answer: the manager of a generic relation keeps the answer of
``db_for_read`` for its writes, too (ticket 36389), and a generic foreign key reads wherever its instance was
read, by ``instance._state.db``. With replicas both are wrong: a replica refuses writes, may be down by now,
and knows nothing of what was written since. A `RoutedAlias` that comes back in such a place is routed again.

And Django asks ``db_for_write`` for the database of an object that is validated, or assigned to a relation;
the write itself, if there is one, asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.apps import apps
from django.db import router, transaction
from django.db.models import Model, QuerySet
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor, ReverseOneToOneDescriptor
from django.db.models.manager import BaseManager
from django.db.models.query import RawQuerySet

from pindb.pins.context import asks_only
from pindb.sets.aliases import RoutedAlias, release

__all__ = ["install"]

Route = Callable[[type[Model], str, bool], str]

_installed = False


def install(route: Route) -> None:
    """Put the hooks in place, once for each process.

    Arguments:
        route: routes again. Takes a model, the alias of a master, and whether it is for a write; returns the
            alias to use.
    """
    global _installed
    if not _installed:
        _installed = True
        _hook_querysets(route)
        _hook_managers()
        _hook_instances(route)
        _hook_transactions()
        if apps.is_installed("django.contrib.contenttypes"):
            _hook_generic_relations()
        _hook_questions()


def _hook_querysets(route: Route) -> None:
    queryset: Any = QuerySet
    resolve = queryset.resolve_expression
    raw_delete = queryset._raw_delete

    @wraps(resolve)
    def resolve_expression(self: Any, *args: Any, **kwargs: Any) -> Any:
        query = resolve(self, *args, **kwargs)
        if query._db.__class__ is RoutedAlias:
            # As a part of another query it runs where that does; Django compares the aliases of both.
            query._db = None
        return query

    @wraps(raw_delete)
    def raw_delete_routed(self: Any, using: str) -> Any:
        return raw_delete(self, _for_write(route, self.model, using))

    for one in (QuerySet, RawQuerySet):
        _hook_db(one, route)
    queryset.resolve_expression = resolve_expression
    queryset._raw_delete = raw_delete_routed


def _hook_db(queryset: Any, route: Route) -> None:
    ask = queryset.db.fget

    def db(self: Any) -> str:
        alias = self._db
        if alias.__class__ is RoutedAlias:
            # Raw SQL is a read, whatever it does.
            return route(self.model, alias.master, getattr(self, "_for_write", False))
        answer: str = ask(self)
        return answer

    queryset.db = property(db, doc=queryset.db.__doc__)


def _for_write(route: Route, model: type[Model], alias: Any) -> Any:
    return route(model, alias.master, True) if alias.__class__ is RoutedAlias else alias


def _hook_managers() -> None:
    base: Any = BaseManager
    db_manager = base.db_manager

    @wraps(db_manager)
    def db_manager_routed(self: Any, using: Any = None, hints: Any = None) -> Any:
        manager = db_manager(self, using, hints)
        if using.__class__ is RoutedAlias:
            # Managers of trees run SQL of their own on connections[manager._db], or where the router says if
            # that is None: let them ask, where that leads to the same set.
            answer = _ask(router.db_for_write, manager.model, **manager._hints)
            manager._db = None if answer == using.master else RoutedAlias(using.master, using.master)
        return manager

    base.db_manager = db_manager_routed


def _hook_transactions() -> None:
    get_connection = transaction.get_connection

    @wraps(get_connection)
    def get_connection_routed(using: Any = None) -> Any:
        # A transaction where an instance was read is one for what is written there.
        return get_connection(using.master if using.__class__ is RoutedAlias else using)

    transaction.get_connection = get_connection_routed


def _hook_instances(route: Route) -> None:
    model: Any = Model
    save_base, delete = model.save_base, model.delete

    @wraps(save_base)
    def save_base_routed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "using" in kwargs:
            kwargs["using"] = _for_write(route, self.__class__, kwargs["using"])
        return save_base(self, *args, **kwargs)

    @wraps(delete)
    def delete_routed(self: Any, using: Any = None, *args: Any, **kwargs: Any) -> Any:
        return delete(self, _for_write(route, self.__class__, using), *args, **kwargs)

    model.save_base = save_base_routed
    model.delete = delete_routed


def _hook_generic_relations() -> None:
    # Only where the app is installed can it be imported.
    from django.contrib.contenttypes import fields

    create: Any = fields.create_generic_related_manager

    @wraps(create)
    def create_releasing(superclass: Any, rel: Any) -> Any:
        manager = create(superclass, rel)
        add = manager.add

        @wraps(add)
        def add_released(self: Any, *objs: Any, **kwargs: Any) -> Any:
            for obj in objs:
                if isinstance(obj, Model):
                    release(obj)
            return add(self, *objs, **kwargs)

        manager.add = add_released
        return manager

    fields.create_generic_related_manager = create_releasing
    for model in apps.get_models() if apps.models_ready else ():
        for field in model._meta.private_fields:
            descriptor = vars(model).get(field.name)
            if isinstance(descriptor, fields.ReverseGenericManyToOneDescriptor):
                # It may have made its manager already.
                vars(descriptor).pop("related_manager_cls", None)


def _hook_questions() -> None:
    model: Any = Model
    model.validate_constraints = _asking(model.validate_constraints)
    descriptor: Any
    for descriptor in (ForwardManyToOneDescriptor, ReverseOneToOneDescriptor):
        _hook_assignment(descriptor)


def _hook_assignment(descriptor: Any) -> None:
    assign = descriptor.__set__

    @wraps(assign)
    def assign_released(self: Any, instance: Any, value: Any) -> None:
        # Relations add objects by assigning to them, and then look where they were read.
        release(instance)
        _ask(assign, self, instance, value)

    descriptor.__set__ = assign_released


def _asking(function: Any) -> Any:
    @wraps(function)
    def asking(*args: Any, **kwargs: Any) -> Any:
        return _ask(function, *args, **kwargs)

    return asking


def _ask(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in which nothing is written of what ``db_for_write`` is asked for."""
    token = asks_only.set(True)
    try:
        return function(*args, **kwargs)
    finally:
        asks_only.reset(token)
