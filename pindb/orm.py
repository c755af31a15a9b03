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

from django.db.models import Model, QuerySet
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor, ReverseOneToOneDescriptor
from django.db.models.query import RawQuerySet

from pindb.aliases import RoutedAlias
from pindb.contexts import asks_only

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
        _hook_instances(route)
        _hook_questions()


def _hook_querysets(route: Route) -> None:
    ask_queryset: Any = QuerySet.db.fget  # type: ignore[attr-defined]
    ask_raw: Any = RawQuerySet.db.fget  # type: ignore[attr-defined]
    resolve: Any = QuerySet.resolve_expression

    def queryset_db(self: Any) -> str:
        alias = self._db
        if alias.__class__ is RoutedAlias:
            return route(self.model, alias.master, self._for_write)
        answer: str = ask_queryset(self)
        return answer

    def raw_db(self: Any) -> str:
        alias = self._db
        if alias.__class__ is RoutedAlias:
            return route(self.model, alias.master, False)
        answer: str = ask_raw(self)
        return answer

    @wraps(resolve)
    def resolve_expression(self: Any, *args: Any, **kwargs: Any) -> Any:
        query = resolve(self, *args, **kwargs)
        if query._db.__class__ is RoutedAlias:
            # As a part of another query it runs where that does; Django compares the aliases of both.
            query._db = None
        return query

    QuerySet.db = property(queryset_db, doc=QuerySet.db.__doc__)  # type: ignore[assignment]
    RawQuerySet.db = property(raw_db, doc=RawQuerySet.db.__doc__)  # type: ignore[assignment]
    QuerySet.resolve_expression = resolve_expression  # type: ignore[method-assign]


def _hook_instances(route: Route) -> None:
    save_base: Any = Model.save_base
    delete: Any = Model.delete

    @wraps(save_base)
    def save_base_routed(self: Any, *args: Any, **kwargs: Any) -> Any:
        using = kwargs.get("using")
        if using.__class__ is RoutedAlias:
            kwargs["using"] = route(self.__class__, using.master, True)
        return save_base(self, *args, **kwargs)

    @wraps(delete)
    def delete_routed(self: Any, using: Any = None, *args: Any, **kwargs: Any) -> Any:
        if using.__class__ is RoutedAlias:
            using = route(self.__class__, using.master, True)
        return delete(self, using, *args, **kwargs)

    Model.save_base = save_base_routed  # type: ignore[method-assign]
    Model.delete = delete_routed  # type: ignore[method-assign]


def _hook_questions() -> None:
    Model.validate_constraints = _asks_only(Model.validate_constraints)  # type: ignore[method-assign]
    for descriptor in (ForwardManyToOneDescriptor, ReverseOneToOneDescriptor):
        descriptor.__set__ = _asks_only(descriptor.__set__)  # type: ignore[method-assign]


def _asks_only(function: Any) -> Any:
    """A function in which nothing that ``db_for_write`` is asked for is written."""

    @wraps(function)
    def asking(*args: Any, **kwargs: Any) -> Any:
        token = asks_only.set(True)
        try:
            return function(*args, **kwargs)
        finally:
            asks_only.reset(token)

    return asking
