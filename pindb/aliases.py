"""Aliases that the router answers, told apart from those that the site names."""

from __future__ import annotations

from typing import Any

__all__ = ["MasterAlias", "RoutedAlias"]


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


class MasterAlias(RoutedAlias):
    """The alias of a master, as the answer for a write.

    Django compares it with the aliases of objects, to tell whether they are rows of the database that it
    writes to: before it adds them to a relation, or saves only the loaded fields of a deferred instance. So
    it equals every alias that was routed within its set. It is not routed again: what was written is read on
    the master.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RoutedAlias):
            return self.master == other.master
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        if isinstance(other, RoutedAlias):
            return self.master != other.master
        return str.__ne__(self, other)

    __hash__ = str.__hash__
