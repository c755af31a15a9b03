"""Slots of a Redis Cluster on their way from one master to another."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from types import TracebackType

from pindb.testing.redis._nodes import ClusterNodes

BATCH = 100

# A server does nothing else meanwhile, so that others would take it for failed. In milliseconds.
MIGRATE_TIMEOUT = 500


class SlotMove:
    """A slot that is half moved: a context manager whose end moves the rest.

    As long as it lasts, the source answers for the keys that it still has, and replies ASK to commands for
    other keys. The target answers after ASKING, and replies TRYAGAIN to commands of several keys of which it
    has only some; since Redis 7.2 the source does so, too. See `RedisClusterSetup.moving`.

    A source or a target that fails over meanwhile is replaced by its new master, when the setup waits until
    the cluster is well: `RedisClusterSetup.fail_over` and `RedisClusterSetup.wait_for_new_master` do so.

    Attributes:
        slot: the slot.
        source: the number of the master that has the slot.
        target: the number of the master that gets it.
    """

    def __init__(
        self, setup: ClusterNodes, slot: int, source: int, target: int, moves: set[SlotMove]
    ) -> None:
        self._setup = setup
        #: The moves of the setup that have not ended.
        self._moves = moves
        self.slot = slot
        self.source = source
        self.target = target

    def __repr__(self) -> str:
        return f"<SlotMove slot={self.slot} source={self.source} target={self.target}>"

    def __enter__(self) -> SlotMove:
        begin(self._setup, [self.slot], self.source, self.target)
        self._moves.add(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            # The error in the block says more than another one here.
            with contextlib.suppress(*((OSError, RuntimeError) if exc_type else ())):
                self.finish()
        finally:
            self._moves.discard(self)

    def keys(self, count: int | None = None) -> int:
        """Move keys of the slot, whichever the source names first.

        Arguments:
            count: the number of keys; None: all.

        Returns:
            The number of keys that were moved: fewer than `count` if there are no more.
        """
        return move_keys(self._setup, [self.slot], self.source, self.target, count)

    def migrate(self, *keys: str | bytes) -> None:
        """Move these keys of the slot. Keys that do not exist are passed over."""
        migrate(self._setup, self.source, self.target, keys)

    def finish(self) -> None:
        """Move all other keys, give the slot to the target, and wait until all nodes know.

        The end of a ``with`` block calls this.

        Raises:
            TimeoutError: it could not be done within the setup's `timeout`; the message says why.
        """
        finish(self._setup, [self.slot], self.target)

    def _follow(self) -> None:
        """Go on with the new master, if the source or the target has failed over."""
        setup = self._setup
        source, target = setup.owner(self.slot), setup._master_of(self.target)
        if (source, target) != (self.source, self.target):
            if source != target:
                follow(setup, [self.slot], source, target)
            # Not before: a target that does not know the new master yet has refused.
            self.source, self.target = source, target


def move(
    setup: ClusterNodes, slots: Sequence[int], source: int, target: int, masters: Collection[int]
) -> None:
    """Move slots with their keys, and tell all masters."""
    begin(setup, slots, source, target)
    move_keys(setup, slots, source, target)
    end(setup, slots, source, target, masters)


def finish(setup: ClusterNodes, slots: Collection[int], target: int) -> None:
    """Move slots that may be half moved, whatever becomes of their masters, and wait until all nodes know."""
    setup._wait_while(lambda: go_on(setup, slots, target), "the slots to be moved")


def go_on(setup: ClusterNodes, slots: Collection[int], target: int) -> str:
    """Do what is missing for the move of slots, as far as that is possible now.

    Returns:
        What is still missing; an empty text if all nodes know that the target has the slots.
    """
    try:
        target = setup._master_of(target)
        missing = setup._ignorant(slots, target)
        if missing:
            setup._demote()
            _go_on(setup, slots, target)
    except RuntimeError as error:
        return str(error)
    return missing


def _go_on(setup: ClusterNodes, slots: Collection[int], target: int) -> None:
    owners = setup._owners()
    # The target had failed over before its replica knew of a slot that it has just got.
    lost = [slot for slot in slots if slot not in owners]
    if lost:
        _set_slots(setup, target, lost, "NODE", target)
    by_source: dict[int, list[int]] = {}
    for slot in slots:
        if owners.get(slot, target) != target:
            by_source.setdefault(owners[slot], []).append(slot)
    for source, group in by_source.items():
        follow(setup, group, source, target)
    # A server takes no keys as long as it finds the cluster down.
    setup._wait_for_state(target)
    for source, group in by_source.items():
        move(setup, group, source, target, setup.masters)


def follow(setup: ClusterNodes, slots: Sequence[int], source: int, target: int) -> None:
    """Tell the masters that slots are being moved, after one of them has changed."""
    # A server that imports a slot does not hear of its new owner by itself when the source has failed over.
    _set_slots(setup, target, slots, "NODE", source)
    begin(setup, slots, source, target)


def begin(setup: ClusterNodes, slots: Sequence[int], source: int, target: int) -> None:
    """Tell source and target that slots are being moved; they may know it already."""
    _set_slots(setup, target, slots, "IMPORTING", source)
    _set_slots(setup, source, slots, "MIGRATING", target)


def move_keys(
    setup: ClusterNodes, slots: Sequence[int], source: int, target: int, count: int | None = None
) -> int:
    """Move all keys of slots, or so many of them, and return their number."""
    moved = 0
    while count is None or moved < count:
        batch = BATCH if count is None else min(BATCH, count - moved)
        words = ("CLUSTER", "GETKEYSINSLOT")
        found = setup._tell(source, *[(*words, slot, batch) for slot in slots])
        if not any(found):
            break
        for keys in filter(None, found):
            migrate(setup, source, target, keys)
            moved += len(keys)
    return moved


def migrate(setup: ClusterNodes, source: int, target: int, keys: Sequence[str | bytes]) -> None:
    """Move keys of one slot."""
    login = setup._login(str(target))
    auth = [("AUTH", "AUTH2")[len(login) - 1], *login] if login else []
    # A key that is still here is the one that counts; a copy over there is of a move that broke off.
    options = ("", 0, MIGRATE_TIMEOUT, "REPLACE", *auth, "KEYS", *keys)
    setup._tell(source, ("MIGRATE", "127.0.0.1", setup._ports[str(target)], *options))


def end(
    setup: ClusterNodes, slots: Sequence[int], source: int, target: int, masters: Collection[int]
) -> None:
    """Give slots to the target, and tell all masters."""
    # The target first: otherwise nobody would have the slots for a moment. The other masters would hear of it
    # anyway, later.
    for server in (target, source):
        _set_slots(setup, server, slots, "NODE", target)
    for server in {*masters} - {target, source}:
        with contextlib.suppress(RuntimeError):
            _set_slots(setup, server, slots, "NODE", target)


def _set_slots(setup: ClusterNodes, server: int, slots: Sequence[int], state: str, other: int) -> None:
    setup._tell(server, *[("CLUSTER", "SETSLOT", slot, state, setup._ids[other]) for slot in slots])
