"""Aliases that pindb chose, as distinct from aliases that the site's own code named."""

from __future__ import annotations

from typing import Any

__all__ = ["DEFAULT_ALIAS", "RoutedAlias", "assign_to_master"]

DEFAULT_ALIAS = "default"


class RoutedAlias(str):
    """The alias of a server that pindb chose for a read.

    Django keeps the router's answer in querysets and in ``instance._state.db``. A later query that starts
    from there is routed again within the same set, because its alias has this class. An alias that the
    site's code names is a plain string, and pindb leaves it alone.

    Copies have this class too. Pickles hold the master's alias as a plain string, so that they can be loaded
    where replicas have other aliases, and without pindb.

    Attributes:
        master: the alias of the set's master, a plain string.
        is_master: whether this alias is the master's own.
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


def assign_to_master(instance: Any) -> None:
    """Let a model instance that was read from a replica count as read from the master.

    Before Django adds an instance to a relation, or saves only the loaded fields of a deferred instance, it
    compares the database that the instance was read from with the one that it is going to write to.
    """
    alias = instance._state.db
    if alias.__class__ is RoutedAlias:
        instance._state.db = alias.master
