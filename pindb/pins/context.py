"""The pinning context: what one unit of work (a request, a task, a script) has pinned and read.

A `ContextVar` holds the context. So threads, asyncio tasks, and code on both sides of ``sync_to_async`` see
the context of their own unit of work only. Without an open context, the first use opens one that lasts as
long as the thread or asyncio task.
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
    "NO_ALIASES",
    "Pin",
    "PinningContext",
    "ReplicaChoices",
    "aiterate_in",
    "current",
    "get_context",
    "is_lookup_only",
    "iterate_in",
    "running",
    "set_context",
]


class Pin(NamedTuple):
    """A pin on its way from one unit of work to the next.

    Attributes:
        until: when the pin ends at the latest: Unix time, seconds.
        position: the master's position after the writes that the pin is about; None for a pin by time.
    """

    until: float
    position: str | None = None


# Shared by all contexts until they change them.
NO_ALIASES: frozenset[str] = frozenset()
NO_PINS: dict[str, Pin] = {}
NO_POSITIONS: dict[str, str] = {}


class ReplicaChoices:
    """The replicas that a unit of work reads. Only that unit changes them, so there is no lock.

    Attributes:
        replicas: the replica chosen for each set, by the master's alias; the master if no replica was usable.
        failed: replicas that have failed in this unit of work.
        served: replicas that have returned rows.
        tried: replicas that have failed the statement that is being run again now.
    """

    # Class attributes, since most units never change them.
    failed = served = tried = NO_ALIASES

    def __init__(self) -> None:
        self.replicas: dict[str, str] = {}


class PinningContext:
    """The pins and reads of one unit of work. Only that unit changes them, so there is no lock.

    Attributes:
        pinned: the aliases of the masters whose sets are pinned.
        new: the pinned sets that were pinned in this context, not carried in.
        declared: the pinned sets that `StrictPinDbRouter` allows writes to, since this context pinned them.
        renewed: pinned sets whose pins get a new position or time when they leave the context, since pins
            from other services were merged.
        carried: the pins that were carried in and are to be carried on, by the master's alias.
        positions: for pinned sets that may be read from replicas, the position that a replica must have
            replayed, by the master's alias.
        changed: whether the carried pins differ from those that were carried in, and have to be saved.
        routes: the router's cache: the alias that the last read of each set went to.
        wait_until: until when (`time.monotonic`) a read of a pinned set waits for a replica to catch up,
            before it goes to the master.
        from_replica: sets that a block of `unpinned_replica` reads from replicas, pinned or not.
        pins_writes: whether undeclared writes pin under `StrictPinDbRouter` too: in a management command that
            runs pinned.
        migratable_replica: the replica that a management command reads. ``allow_migrate`` answers the same
            for it as for its master.
        request_blocks: aliases whose outermost transaction is the one that ``ATOMIC_REQUESTS`` opened.
        left_by_tasks: pins left by eager Celery tasks that this unit ran, for the tasks that it runs next.
        parent: the context that is restored when this one ends.
        scope: what opened the context.
    """

    # Class attributes: a context is made for each request, and most requests change few of them.
    carried = left_by_tasks = NO_PINS
    positions = NO_POSITIONS
    pinned = new = declared = renewed = from_replica = request_blocks = NO_ALIASES
    changed = pins_writes = False
    migratable_replica: str | None = None
    wait_until = 0.0
    scope: object = None
    _choices: ReplicaChoices | None = None

    def __init__(self, parent: PinningContext | None = None) -> None:
        self.routes: dict[str, RoutedAlias] = {}
        self.parent = parent
        if parent is not None:
            self.request_blocks = parent.request_blocks

    @property
    def choices(self) -> ReplicaChoices:
        """The replicas that are read. Blocks inside this context share them."""
        choices = self._choices
        if choices is None:
            choices = self._choices = ReplicaChoices()
        return choices

    def pin(self, alias: str, new: bool = True, declared: bool = True) -> None:
        """Pin a set: read it from its master from now on.

        Arguments:
            alias: the master's alias.
            new: carry the pin to the next units of work.
            declared: allow writes under `StrictPinDbRouter`.
        """
        # Most units pin one set once, so the unions are rarely needed.
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
            # The next read must check whether the master is up.
            self.routes.pop(alias, None)
        else:
            self.routes[alias] = get_sets().routed[alias]

    def carry(self, pins: Mapping[str, Pin]) -> None:
        """Take over pins from another unit of work, by the master's alias."""
        self.carried = {**self.carried, **pins}
        for alias, pin in pins.items():
            # A set that is pinned already may cover later writes than this pin: it stays on the master.
            first = alias not in self.pinned
            self.pin(alias, new=False, declared=False)
            if pin.position is not None and first:
                self.positions = {**self.positions, alias: pin.position}
                self.routes.pop(alias, None)

    def renew(self, alias: str) -> None:
        """Pin a set, and give its pin a new position or time when the pin leaves the context."""
        self.pin(alias, new=False, declared=False)
        self.renewed |= {alias}
        self.changed = True

    def drop(self, alias: str) -> None:
        """Stop carrying a pin on, since all replicas have caught up with it."""
        self.carried = {other: pin for other, pin in self.carried.items() if other != alias}
        self.changed = True

    def clear(self) -> None:
        """Forget all pins and chosen replicas."""
        self.pinned = self.new = self.declared = self.renewed = self.from_replica = NO_ALIASES
        self.carried = self.left_by_tasks = NO_PINS
        self.positions = NO_POSITIONS
        self.forget_choices()

    def forget_choices(self) -> None:
        """Forget the chosen replicas, and where the last reads went."""
        self._choices = None
        self.routes = {}

    def block(self) -> PinningContext:
        """Return a context for a block inside this one, with the same pins and the same replicas."""
        inner = PinningContext(self)
        inner.pinned = self.pinned
        inner.new = self.new
        inner.declared = self.declared
        inner.renewed = self.renewed
        inner.carried = self.carried
        inner.positions = self.positions
        inner.wait_until = self.wait_until
        inner.routes = self.routes.copy()
        inner._choices = self.choices
        inner.from_replica = self.from_replica
        inner.pins_writes = self.pins_writes
        inner.migratable_replica = self.migratable_replica
        return inner


_current: ContextVar[PinningContext | None] = ContextVar("pindb", default=None)

#: Whether Django calls ``db_for_write`` only to look up a database, without writing to it now. Not in the
#: context, which several threads may share.
is_lookup_only: ContextVar[bool] = ContextVar("pindb_is_lookup_only", default=False)

# Bound once: the methods of an imported variable take three times as long to call.
get_context = _current.get
set_context = _current.set


def current() -> PinningContext:
    """Return the current context; open one if there is none."""
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
    """Iterate, and compute each item in `context`."""
    iterator = iter(iterable)
    while True:
        with running(context):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


async def aiterate_in(context: PinningContext, iterable: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Iterate like `iterate_in`, over an asynchronous iterator."""
    iterator = iterable.__aiter__()
    while True:
        with running(context):
            try:
                item = await iterator.__anext__()
            except StopAsyncIteration:
                return
        yield item
