"""The pinning context: what one unit of work knows of its sets.

One `ContextVar` holds one small object for each unit of work (a request, a task, a script), so threads,
asyncio tasks and code on both sides of ``sync_to_async`` see the context of their own unit and no other.
Where nobody opened one, the first use opens one that lasts as long as the thread or task.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from pindb._stats import count
from pindb.conf import conf, on_change
from pindb.sets.aliases import RoutedAlias
from pindb.sets.definitions import get_sets
from pindb.signals import pinned

__all__ = [
    "NONE",
    "Choices",
    "Pin",
    "PinningContext",
    "aiterate_in",
    "asks_only",
    "current",
    "get_context",
    "iterate_in",
    "running",
    "set_context",
]


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
        declared: those of them whose pin allows writes under `StrictPinDbRouter`: it was made in this
            context, not carried in.
        renewed: those of them whose pin leaves the context as a new one would, since pins were taken over
            that may be further than its own.
        carried: the pins that were carried in and are carried on, by master alias.
        positions: for the sets that may be read from a replica although they are pinned, what it must have
            replayed.
        changed: whether what is carried on is not what was carried in, so that it has to be told.
        reads: where the last read of each master alias went: the router's memory.
        wait_until: until when (`time.monotonic`) a read of a pinned set waits for a replica, before it goes
            to the master.
        from_replica: sets that a block of `unpinned_replica` reads from replicas whatever happens.
        pins_writes: whether a write pins its set under `StrictPinDbRouter` too: in a management command that
            runs pinned.
        migratable: a replica of which ``allow_migrate`` says what it says of the master: a management command
            reads it.
        request_blocks: aliases on which the outermost transaction is the one that ``ATOMIC_REQUESTS`` opens.
        left: what the eager Celery tasks that this unit ran have pinned, for those that it runs after them.
        parent: the context that comes back when this one ends.
        scope: the block that opened it.
    """

    # One is made for every request, and most of them never change these.
    carried = left = NO_PINS
    positions = NO_POSITIONS
    pinned = new = declared = renewed = from_replica = request_blocks = NONE
    changed = pins_writes = False
    migratable: str | None = None
    wait_until = 0.0
    scope: object = None
    _choices: Choices | None = None

    def __init__(self, parent: PinningContext | None = None) -> None:
        self.reads: dict[str, RoutedAlias] = {}
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

    def pin(self, alias: str, new: bool = True, declared: bool = True) -> None:
        """Read `alias` from its master from now on; a pin that somebody declared allows writes as well."""
        # Most units pin one set, once.
        one = frozenset((alias,))
        self.pinned = self.pinned | one if self.pinned else one
        if declared:
            self.declared = self.declared | one if self.declared else one
        if new and alias not in self.new:
            self.new = self.new | one if self.new else one
            count("pins_set")
            if pinned.receivers:
                pinned.send_robust(PinningContext, alias=alias)
        if alias in self.positions:
            self.positions = {other: at for other, at in self.positions.items() if other != alias}
        if alias in self.from_replica:
            return
        if conf.PINDB_READ_REPLICAS_WHEN_MASTER_DOWN:
            # Whether the master is there has to be looked at.
            self.reads.pop(alias, None)
        else:
            self.reads[alias] = get_sets().answers[alias]

    def carry(self, pins: Mapping[str, Pin]) -> None:
        """Take over pins from outside, by master alias."""
        self.carried = {**self.carried, **pins}
        for alias, pin in pins.items():
            # What is pinned already may know of more than this pin: its reads stay on the master.
            first = alias not in self.pinned
            self.pin(alias, new=False, declared=False)
            if pin.position is not None and first:
                self.positions = {**self.positions, alias: pin.position}
                self.reads.pop(alias, None)

    def renew(self, alias: str) -> None:
        """Read `alias` from its master; its pin is to cover what is there when it leaves the context."""
        self.pin(alias, new=False, declared=False)
        self.renewed |= {alias}
        self.changed = True

    def drop(self, alias: str) -> None:
        """Carry a pin no further: all replicas have what it is about."""
        self.carried = {other: pin for other, pin in self.carried.items() if other != alias}
        self.changed = True

    def clear(self) -> None:
        """Forget all pins and choices."""
        self.pinned = self.new = self.declared = self.renewed = self.from_replica = NONE
        self.carried = self.left = NO_PINS
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
        inner.declared = self.declared
        inner.renewed = self.renewed
        inner.pins_writes = self.pins_writes
        inner.carried = self.carried
        inner.positions = self.positions
        inner.wait_until = self.wait_until
        inner.reads = self.reads.copy()
        inner._choices = self.choices
        inner.from_replica = self.from_replica
        inner.pins_writes = self.pins_writes
        inner.migratable = self.migratable
        return inner


_current: ContextVar[PinningContext | None] = ContextVar("pindb", default=None)

#: Whether Django asks for the database of an object that it does not write now. A variable of its own, since
#: several threads may share a pinning context.
asks_only: ContextVar[bool] = ContextVar("pindb_asks_only", default=False)

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


@on_change
def _forget_choices(setting: str) -> None:
    context = get_context()
    while context is not None:
        context.forget_choices()
        context = context.parent


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
