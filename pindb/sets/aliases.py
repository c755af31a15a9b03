"""Aliases that pindb chose, told apart from those that the site named."""

from __future__ import annotations

from typing import Any

__all__ = ["RoutedAlias", "release"]


class RoutedAlias(str):
    """The alias of a member that pindb chose for a read.

    It is the text of the alias wherever one is needed. Django keeps it in querysets and in
    ``instance._state.db``; a query that uses it there is routed again, within the same set. An alias that the
    site names is a plain text, and is its own decision. Copies stay routed; a pickle holds the plain alias of
    the master, which is right wherever it is loaded, and needs no pindb.

    Attributes:
        master: the alias of the set's master, a plain text.
        is_master: whether it is the master's own.
    """

    __slots__ = ("is_master", "master")

    master: str
    is_master: bool

    def __new__(cls, alias: str, master: str) -> RoutedAlias:
        self = super().__new__(cls, alias)
        self.master = master
        self.is_master = alias == master
        return self

    def __copy__(self) -> RoutedAlias:
        return self

    def __deepcopy__(self, memo: Any) -> RoutedAlias:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (self.master,)


def release(instance: Any) -> None:
    """Let an instance that was read from a replica belong to the master from now on, as if it had been saved.

    Django compares where objects were read with the database that it writes to: before it adds them to a
    relation, or saves only the loaded fields of a deferred instance.

    Arguments:
        instance: an instance of a model.
    """
    alias = instance._state.db
    if alias.__class__ is RoutedAlias:
        instance._state.db = alias.master
