"""Hooks in Django's ORM, for two of its habits that do not suit replicas.

First, Django calls the router once and keeps the answer. The manager of a generic relation uses the answer of
``db_for_read`` for its writes too (ticket 36389), and a generic foreign key reads the database that its
instance was read from (``instance._state.db``). But a replica refuses writes, may be down by now, and may not
have what was written since. So wherever Django uses a kept `RoutedAlias`, the query is routed again.

Second, Django calls ``db_for_write`` to look up the database of an object that it validates, or that it
assigns to a relation. These look-ups must not pin; if a write follows, Django calls the router again.
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

from pindb.pins.context import is_lookup_only
from pindb.sets.aliases import RoutedAlias, assign_to_master

__all__ = ["install"]

Route = Callable[[type[Model], str, bool], str]

_installed = False


def install(route: Route) -> None:
    """Install the hooks, once per process.

    Arguments:
        route: routes a query again. Takes a model, the alias of a master, and whether the query is a write;
            returns the alias to use.
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
        _hook_lookups()


def _hook_querysets(route: Route) -> None:
    queryset: Any = QuerySet
    resolve = queryset.resolve_expression
    raw_delete = queryset._raw_delete

    @wraps(resolve)
    def resolve_expression(self: Any, *args: Any, **kwargs: Any) -> Any:
        query = resolve(self, *args, **kwargs)
        if query._db.__class__ is RoutedAlias:
            # A subquery runs on the server of its outer query. Django refuses subqueries with another alias.
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
    get_db = queryset.db.fget

    def db(self: Any) -> str:
        alias = self._db
        if alias.__class__ is RoutedAlias:
            # Raw querysets have no _for_write: they count as reads.
            return route(self.model, alias.master, getattr(self, "_for_write", False))
        answer: str = get_db(self)
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
            # Managers of tree packages run their own SQL on connections[manager._db], or ask the router if
            # _db is None. None is right if the router picks the same set.
            answer = _look_up(router.db_for_write, manager.model, **manager._hints)
            manager._db = None if answer == using.master else RoutedAlias(using.master, using.master)
        return manager

    base.db_manager = db_manager_routed


def _hook_transactions() -> None:
    get_connection = transaction.get_connection

    @wraps(get_connection)
    def get_connection_routed(using: Any = None) -> Any:
        # A transaction on the server that an instance was read from is opened for writes.
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
    # The module can only be imported while the app is installed.
    from django.contrib.contenttypes import fields

    create: Any = fields.create_generic_related_manager

    @wraps(create)
    def create_assigning(superclass: Any, rel: Any) -> Any:
        manager = create(superclass, rel)
        add = manager.add

        @wraps(add)
        def add_assigned(self: Any, *objs: Any, **kwargs: Any) -> Any:
            for obj in objs:
                if isinstance(obj, Model):
                    assign_to_master(obj)
            return add(self, *objs, **kwargs)

        manager.add = add_assigned
        return manager

    fields.create_generic_related_manager = create_assigning
    for model in apps.get_models() if apps.models_ready else ():
        for field in model._meta.private_fields:
            descriptor = vars(model).get(field.name)
            if isinstance(descriptor, fields.ReverseGenericManyToOneDescriptor):
                # Drop a manager class that was made before the hook was installed.
                vars(descriptor).pop("related_manager_cls", None)


def _hook_lookups() -> None:
    model: Any = Model
    model.validate_constraints = _as_lookup(model.validate_constraints)
    descriptor: Any
    for descriptor in (ForwardManyToOneDescriptor, ReverseOneToOneDescriptor):
        _hook_assignment(descriptor)


def _hook_assignment(descriptor: Any) -> None:
    assign = descriptor.__set__

    @wraps(assign)
    def assign_on_master(self: Any, instance: Any, value: Any) -> None:
        # Related managers assign to the objects that they add, and then check where each was read from.
        assign_to_master(instance)
        _look_up(assign, self, instance, value)

    descriptor.__set__ = assign_on_master


def _as_lookup(function: Any) -> Any:
    @wraps(function)
    def look_up(*args: Any, **kwargs: Any) -> Any:
        return _look_up(function, *args, **kwargs)

    return look_up


def _look_up(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that calls ``db_for_write``, but does not write."""
    token = is_lookup_only.set(True)
    try:
        return function(*args, **kwargs)
    finally:
        is_lookup_only.reset(token)
