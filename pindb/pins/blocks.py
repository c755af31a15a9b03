"""Context managers and decorators that override pins: `master`, `unpinned_replica`, `pinning_context`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from inspect import isasyncgenfunction, iscoroutine, isgeneratorfunction
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction

from pindb.conf import conf
from pindb.pins.context import PinningContext, current, set_context
from pindb.sets.definitions import get_sets

__all__ = ["master", "pinning_context", "unpinned_replica", "with_masters", "with_replicas"]

F = TypeVar("F", bound=Callable[..., Any])


class Scope:
    """A context manager and decorator whose block has a pinning context of its own.

    Decorates plain and ``async`` functions. An instance has no state, so it can be used again, inside of its
    own block, and in several threads and tasks at once.

    Raises:
        TypeError: it decorates a generator function, whose body would run after the block has ended.
    """

    def open(self, outer: PinningContext) -> PinningContext:
        """Return the context of the block."""
        raise NotImplementedError

    def close(self, inner: PinningContext, outer: PinningContext) -> None:
        """Take from `inner` to `outer` what is to outlast the block."""

    def __enter__(self) -> None:
        inner = self.open(current())
        inner.scope = self
        set_context(inner)

    def __exit__(self, *exc_info: object) -> None:
        above: PinningContext | None = None
        inner = current()
        while inner.scope is not self and inner.parent is not None:
            # A generator that was suspended in its block can be closed inside of another block.
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
                f"{function.__qualname__} is a generator function, which {self!r} cannot decorate: the body "
                "would run after the block has ended. Write a `with` block inside of the function."
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
            # dispatch() of an async class-based view is a plain function that returns a coroutine.
            return self._awaited(result) if iscoroutine(result) else result

        return cast(F, scoped)

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self:
            return await coroutine


class _Override(Scope):
    """A block that changes how some sets are read, and leaves their pins as they were."""

    def __init__(self, *aliases: str | Iterable[str]) -> None:
        name = type(self).__name__
        flat: list[str] = []
        for alias in aliases:
            flat += [alias] if isinstance(alias, str) or not isinstance(alias, Iterable) else alias
        if not flat or not all(isinstance(alias, str) for alias in flat):
            raise TypeError(
                f"{name}() takes the aliases of one or more masters, not {flat or 'nothing'}. "
                f"Write {name}('default')."
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
        """Override the sets in the block's context."""
        raise NotImplementedError

    def close(self, inner: PinningContext, outer: PinningContext) -> None:
        # Pins of other sets outlast the block: what was written to them must stay readable.
        outer.changed |= inner.changed
        outer.carry({alias: pin for alias, pin in inner.carried.items() if alias not in outer.carried})
        for alias in inner.pinned - self.aliases:
            made_here = alias in inner.new - outer.new or alias in inner.declared - outer.declared
            if made_here or alias not in outer.pinned:
                outer.pin(alias, alias in inner.new, alias in inner.declared)
        for alias in inner.renewed - outer.renewed:
            outer.renew(alias)
        for alias, route in inner.routes.items():
            if alias not in self.aliases:
                outer.routes[alias] = route
        for alias in outer.carried.keys() - inner.carried.keys():
            outer.drop(alias)


class master(_Override):  # noqa: N801 (used as a function)
    """A block that reads and writes the masters, pinned or not, and pins nothing.

    ``with pindb.master("default"):`` or ``@pindb.master("default")``, with one alias or several. Afterwards
    the sets are pinned as before, unless `persist` is on.

    Arguments:
        aliases: the aliases of masters.
        persist: pin the sets when the block ends, as `pin` does. Then the rest of this unit of work, the
            user's next requests, and tasks read what was written in the block.

    Raises:
        TypeError: there is no alias, or an alias is not a string.
        PinDbConfigError: on entry, if an alias is not the alias of a master.
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


class unpinned_replica(_Override):  # noqa: N801 (used as a function)
    """A block that reads replicas, even if the sets are pinned.

    ``with pindb.unpinned_replica("default"):`` or as a decorator, with one alias or several. Reads may be
    stale, even right after a write in the block. Inside, the sets count as not pinned, so `StrictPinDbRouter`
    refuses writes. Afterwards the sets are pinned as before.

    Arguments:
        aliases: the aliases of masters.

    Raises:
        TypeError: there is no alias, or an alias is not a string.
        PinDbConfigError: on entry, if an alias is not the alias of a master.
    """

    def change(self, inner: PinningContext) -> None:
        inner.from_replica |= self.aliases
        for alias in self.aliases:
            inner.routes.pop(alias, None)
        inner.pinned -= self.aliases
        inner.new -= self.aliases
        inner.declared -= self.aliases


def with_masters(aliases: str | Iterable[str], *more: str, persist: bool = False) -> master:
    """Return `master` for one alias or a collection of aliases."""
    return master(aliases, *more, persist=persist)


def with_replicas(aliases: str | Iterable[str], *more: str) -> unpinned_replica:
    """Return `unpinned_replica` for one alias or a collection of aliases."""
    return unpinned_replica(aliases, *more)


class pinning_context(Scope):  # noqa: N801 (used as a function)
    """A new unit of work: nothing is pinned, and no replica is chosen yet.

    ``with pindb.pinning_context():`` or as a decorator. Afterwards the sets are pinned as before. Use one for
    each job in scripts, queue consumers and thread pools.
    """

    def open(self, outer: PinningContext) -> PinningContext:
        return PinningContext(outer)
