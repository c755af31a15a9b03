"""Which DB sets are pinned in the unit of work that is running: to ask, to declare, and to override."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from inspect import isasyncgenfunction, iscoroutine, isgeneratorfunction
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction

from pindb.conf import conf
from pindb.pins.context import PinningContext, current, set_context
from pindb.sets.definitions import get_sets

__all__ = [
    "SAFE_METHODS",
    "get_newly_pinned",
    "get_pinned",
    "is_enabled",
    "is_newly_pinned",
    "is_pinned",
    "master",
    "pin",
    "pinning_context",
    "unpin_all",
    "unpinned_replica",
    "with_masters",
    "with_replicas",
]

logger = logging.getLogger("pindb")

#: The methods of requests that are not to change anything.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

F = TypeVar("F", bound=Callable[..., Any])


def is_enabled() -> bool:
    """Whether pindb routes at all: the setting ``PINDB_ENABLED``."""
    return bool(conf.PINDB_ENABLED)


def pin(alias: str, count_as_new: bool = True) -> None:
    """Read the set of `alias` from its master until the end of this pinning context.

    Declare it before the first read of what you are going to write: a read before that may have come from
    a replica that lags, which is logged as a warning on the logger ``pindb``. From here on,
    `StrictPinDbRouter` allows writes.

    Arguments:
        alias: the alias of a master.
        count_as_new: also carry the pin to the caller's next requests (by cookie) and tasks.

    Raises:
        PinDbConfigError: `alias` is not a master's.

    Does nothing where ``PINDB_ENABLED`` is off.
    """
    if not conf.PINDB_ENABLED:
        return
    get_sets().check_master(alias)
    context = current()
    if context.reads.get(alias, alias) != alias and alias not in context.from_replica:
        logger.warning(
            "pin(%r) comes after a read from the replica %r in the same pinning context: what was read "
            "may have been stale. Pin before the first read.",
            alias,
            context.reads[alias],
        )
    context.from_replica -= {alias}
    context.pin(alias, count_as_new)


def unpin_all(**kwargs: object) -> None:
    """Forget all pins and chosen replicas of this pinning context: the start or end of a unit of work.

    Arguments:
        kwargs: ignored, so that a signal can be connected to it.
    """
    current().clear()


def is_pinned(alias: str) -> bool:
    """Whether the set of the master `alias` is pinned here."""
    return alias in current().pinned


def is_newly_pinned(alias: str) -> bool:
    """Whether the set of the master `alias` was pinned in this context, not carried in."""
    return alias in current().new


def get_pinned() -> frozenset[str]:
    """The aliases of all pinned sets."""
    return current().pinned


def get_newly_pinned() -> frozenset[str]:
    """The aliases of the sets that were pinned in this context, not carried in."""
    return current().new


class Scope:
    """A block with a pinning context of its own: a context manager and a decorator.

    Decorates plain and ``async`` functions. An instance keeps nothing about the blocks that it opened, so
    one may be used again, inside itself, and in many threads and tasks at once.

    Raises:
        TypeError: it decorates a generator function, whose body would run after the block had ended.
    """

    def open(self, outer: PinningContext) -> PinningContext:
        """The context of the block."""
        raise NotImplementedError

    def close(self, inner: PinningContext, outer: PinningContext) -> None:
        """Bring from `inner` to `outer` what is to outlive the block."""

    def __enter__(self) -> None:
        inner = self.open(current())
        inner.scope = self
        set_context(inner)

    def __exit__(self, *exc_info: object) -> None:
        above: PinningContext | None = None
        inner = current()
        while inner.scope is not self and inner.parent is not None:
            # A generator that was left in the middle of its block is closed inside another block.
            above, inner = inner, inner.parent
        outer = inner.parent
        if inner.scope is not self or outer is None:
            return
        if above is None:
            set_context(outer)
        else:
            above.parent = outer
        self.close(inner, outer)

    def __call__(self, function: F) -> F:
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            raise TypeError(
                f"{function.__qualname__} is a generator function, which {self!r} cannot decorate: its body "
                "would run after the block had ended. Write a `with` block inside of it."
            )
        if iscoroutinefunction(function):

            @wraps(function)
            async def scoped_coroutine(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return cast(F, scoped_coroutine)

        @wraps(function)
        def scoped(*args: Any, **kwargs: Any) -> Any:
            with self:
                result = function(*args, **kwargs)
            # An asynchronous view's dispatch() is a plain function that returns a coroutine.
            return self._awaited(result) if iscoroutine(result) else result

        return cast(F, scoped)

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self:
            return await coroutine


class _OfSets(Scope):
    """A block that changes how some sets are read and leaves their pins as they were."""

    def __init__(self, *aliases: str | Iterable[str]) -> None:
        name = type(self).__name__
        flat: list[str] = []
        for alias in aliases:
            flat += [alias] if isinstance(alias, str) or not isinstance(alias, Iterable) else alias
        if not flat or not all(isinstance(alias, str) for alias in flat):
            raise TypeError(
                f"{name}() takes the aliases of one or more masters, not {flat or 'nothing'}: "
                f"write {name}('default')."
            )
        self.aliases = frozenset(flat)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, sorted(self.aliases)))})"

    def open(self, outer: PinningContext) -> PinningContext:
        inner = outer.block()
        if conf.PINDB_ENABLED:
            sets = get_sets()
            for alias in self.aliases:
                sets.check_master(alias)
            self.change(inner)
        return inner

    def change(self, inner: PinningContext) -> None:
        raise NotImplementedError

    def close(self, inner: PinningContext, outer: PinningContext) -> None:
        # What happened to other sets in the block outlives it: a write to them must stay readable.
        outer.changed |= inner.changed
        outer.carry({alias: pin for alias, pin in inner.carried.items() if alias not in outer.carried})
        for alias in inner.pinned - self.aliases:
            made_here = alias in inner.new - outer.new or alias in inner.declared - outer.declared
            if made_here or alias not in outer.pinned:
                outer.pin(alias, alias in inner.new, alias in inner.declared)
        for alias in inner.renewed - outer.renewed:
            outer.renew(alias)
        for alias, member in inner.reads.items():
            if alias not in self.aliases:
                outer.reads[alias] = member
        for alias in outer.carried.keys() - inner.carried.keys():
            outer.drop(alias)


class master(_OfSets):  # noqa: N801 (used as a function)
    """A block that reads and writes the masters of `aliases`, pinned or not, and pins nothing.

    ``with pindb.master("default"):`` or ``@pindb.master("default")``, for one alias or several. Afterwards
    the pins of these sets are what they were before, unless the block is to persist.

    Arguments:
        aliases: aliases of masters.
        persist: pin the sets when the block ends, as `pin` does: what was written in it is read by what comes
            after it in this unit of work, and by the caller's next requests and tasks.

    Raises:
        TypeError: no alias, or one that is not a string.
        PinDbConfigError: on entry, when an alias is not a master's.
    """

    def __init__(self, *aliases: str | Iterable[str], persist: bool = False) -> None:
        super().__init__(*aliases)
        self.persist = persist

    def change(self, inner: PinningContext) -> None:
        inner.from_replica -= self.aliases
        for alias in self.aliases:
            inner.pin(alias, new=False)

    def close(self, inner: PinningContext, outer: PinningContext) -> None:
        super().close(inner, outer)
        if self.persist and conf.PINDB_ENABLED:
            for alias in self.aliases:
                outer.pin(alias)


class unpinned_replica(_OfSets):  # noqa: N801 (used as a function)
    """A block that reads from the replicas of `aliases`, whatever is pinned.

    ``with pindb.unpinned_replica("default"):`` or as a decorator, for one alias or several. Reads may be
    stale, of the block's own writes too. Inside, the sets count as not pinned: `StrictPinDbRouter` refuses
    writes. Afterwards the pins of these sets are what they were before.

    Raises:
        TypeError: no alias, or one that is not a string.
        PinDbConfigError: on entry, when an alias is not a master's.
    """

    def change(self, inner: PinningContext) -> None:
        inner.from_replica |= self.aliases
        for alias in self.aliases:
            inner.reads.pop(alias, None)
        inner.pinned -= self.aliases
        inner.new -= self.aliases
        inner.declared -= self.aliases


def with_masters(aliases: str | Iterable[str], *more: str, persist: bool = False) -> master:
    """`master` for one alias or a collection of them."""
    return master(aliases, *more, persist=persist)


def with_replicas(aliases: str | Iterable[str], *more: str) -> unpinned_replica:
    """`unpinned_replica` for one alias or a collection of them."""
    return unpinned_replica(aliases, *more)


class pinning_context(Scope):  # noqa: N801 (used as a function)
    """A unit of work with a clean slate: nothing pinned, no replica chosen.

    ``with pindb.pinning_context():`` or as a decorator. What was pinned before is restored afterwards.
    Scripts, consumers of queues and threads of a pool want one for each piece of work.
    """

    def open(self, outer: PinningContext) -> PinningContext:
        return PinningContext(outer)
