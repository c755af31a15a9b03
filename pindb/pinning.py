"""The pinning context: which DB sets are pinned in the unit of work that is running.

One `ContextVar` holds one small object for each unit of work (a request, a task, a script), so threads,
asyncio tasks and code on both sides of ``sync_to_async`` see the context of their own unit and no other.
Where nobody opened one, the first use opens one that lasts as long as the thread or task.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import isasyncgenfunction, iscoroutine, isgeneratorfunction
from typing import Any, NamedTuple, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.core.signals import setting_changed

from pindb.conf import conf
from pindb.counters import count
from pindb.sets import get_sets
from pindb.signals import pinned

__all__ = [
    "Pin",
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

F = TypeVar("F", bound=Callable[..., Any])


class Pin(NamedTuple):
    """A pin on its way from one unit of work to the next.

    Attributes:
        until: when it ends at the latest: Unix time, seconds.
        position: where the master was when what the pin is about had been committed; None: it goes by time.
    """

    until: float
    position: str | None = None


# What a context starts with.
NONE: frozenset[str] = frozenset()
NO_PINS: dict[str, Pin] = {}
NO_POSITIONS: dict[str, str] = {}


class Choices:
    """Which replicas a unit of work reads. Changed only from inside that unit; holds no lock.

    Attributes:
        replicas: the replica chosen for each set, by master alias; the master where none was fit.
        passed_over: replicas that failed in this unit, for whatever reason.
        served: replicas that have returned something.
        tried: the replicas that have failed the statement that is being run again right now.
    """

    # Most units never change them.
    passed_over = served = tried = NONE

    def __init__(self) -> None:
        self.replicas: dict[str, str] = {}


class PinningContext:
    """What one unit of work knows. Changed only from inside that unit; holds no lock.

    Attributes:
        pinned: the aliases of the masters pinned now.
        new: those of them that were pinned in this context.
        carried: the pins that were carried in and are carried on, by master alias.
        positions: for the sets that may be read from a replica although they are pinned, what it must have
            replayed.
        changed: whether what is carried on is not what was carried in, so that it has to be told.
        reads: where the last read of each master alias went: the router's memory.
        wait_until: until when (`time.monotonic`) a read of a pinned set waits for a replica, before it goes
            to the master.
        from_replica: sets that a block of `unpinned_replica` reads from replicas whatever happens.
        request_blocks: aliases on which the outermost transaction is the one that ``ATOMIC_REQUESTS`` opens.
        parent: the context that comes back when this one ends.
        scope: the block that opened it.
    """

    # One is made for every request, and most of them never change these.
    carried = NO_PINS
    positions = NO_POSITIONS
    pinned = new = from_replica = request_blocks = NONE
    changed = False
    wait_until = 0.0
    scope: object = None
    _choices: Choices | None = None

    def __init__(self, parent: PinningContext | None = None) -> None:
        self.reads: dict[str, str] = {}
        self.parent = parent
        if parent is not None:
            self.request_blocks = parent.request_blocks

    @property
    def choices(self) -> Choices:
        """Which replicas are read; shared with the blocks inside."""
        choices = self._choices
        if choices is None:
            choices = self._choices = Choices()
        return choices

    def pin(self, alias: str, new: bool = True) -> None:
        """Read `alias` from its master from now on."""
        self.pinned |= {alias}
        if new and alias not in self.new:
            self.new |= {alias}
            count("pins_set")
            if pinned.receivers:
                pinned.send_robust(PinningContext, alias=alias)
        if alias in self.positions:
            self.positions = {other: at for other, at in self.positions.items() if other != alias}
        if alias not in self.from_replica:
            self.aim_at_master(alias)

    def aim_at_master(self, alias: str) -> None:
        """Let the next reads of `alias` go to its master."""
        if conf.PINDB_READ_REPLICAS_WHEN_MASTER_DOWN:
            # Whether it is there has to be looked at.
            self.reads.pop(alias, None)
        else:
            self.reads[alias] = alias

    def carry(self, pins: Mapping[str, Pin]) -> None:
        """Take over pins from outside, by master alias."""
        self.carried = {**self.carried, **pins}
        for alias, pin in pins.items():
            self.pin(alias, new=False)
            if pin.position is not None:
                self.positions = {**self.positions, alias: pin.position}
                self.reads.pop(alias, None)

    def drop(self, alias: str) -> None:
        """Carry a pin no further: all replicas have what it is about."""
        self.carried = {other: pin for other, pin in self.carried.items() if other != alias}
        self.changed = True

    def clear(self) -> None:
        """Forget all pins and choices."""
        self.pinned = self.new = self.from_replica = NONE
        self.carried = NO_PINS
        self.positions = NO_POSITIONS
        self.forget_choices()

    def forget_choices(self) -> None:
        """Forget which member of each set is read."""
        self._choices = None
        self.reads = {}

    def block(self) -> PinningContext:
        """A context for a block inside this one, with the same pins and the same replicas."""
        inner = PinningContext(self)
        inner.pinned = self.pinned
        inner.new = self.new
        inner.carried = self.carried
        inner.positions = self.positions
        inner.wait_until = self.wait_until
        inner.reads = self.reads.copy()
        inner._choices = self.choices
        inner.from_replica = self.from_replica
        return inner


_current: ContextVar[PinningContext | None] = ContextVar("pindb", default=None)

# Bound once: called as methods of an imported name, they take three times as long.
get_context = _current.get
set_context = _current.set


def current() -> PinningContext:
    """The context that is running, opened if there is none."""
    context = get_context()
    if context is None:
        context = PinningContext()
        set_context(context)
    return context


def _forget_choices(**kwargs: object) -> None:
    context = get_context()
    while context is not None:
        context.forget_choices()
        context = context.parent


setting_changed.connect(_forget_choices, dispatch_uid="pindb.pinning")


def is_enabled() -> bool:
    """Whether pindb routes at all: the setting ``PINDB_ENABLED``."""
    return bool(conf.PINDB_ENABLED)


def pin(alias: str, count_as_new: bool = True) -> None:
    """Read the set of `alias` from its master until the end of this pinning context.

    Declare it before the first read of what you are going to write: a read before that may have come from
    a replica that lags, which is logged as a warning on the logger ``pindb``.

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
            if alias not in outer.pinned or alias in inner.new - outer.new:
                outer.pin(alias, alias in inner.new)
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


@contextmanager
def running(context: PinningContext) -> Iterator[PinningContext]:
    """Run a block in `context`."""
    before = get_context()
    set_context(context)
    try:
        yield context
    finally:
        set_context(before)


def iterate_in(context: PinningContext, iterable: Iterable[Any]) -> Iterator[Any]:
    """Iterate with `context` running whenever the next item is worked out."""
    iterator = iter(iterable)
    while True:
        with running(context):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


async def aiterate_in(context: PinningContext, iterable: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """`iterate_in` for asynchronous iterators."""
    iterator = iterable.__aiter__()
    while True:
        with running(context):
            try:
                item = await iterator.__anext__()
            except StopAsyncIteration:
                return
        yield item
