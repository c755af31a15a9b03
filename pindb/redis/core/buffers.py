"""Commands that wait to be sent, by host: they are sent together, and their replies handed out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from redis.client import NEVER_DECODE
from redis.exceptions import DataError, RedisError

from pindb.redis.core.batches import Callbacks, Command, Entry, Expected, Run, Together, located
from pindb.redis.core.outages import Refused, find_outage
from pindb.redis.core.packing import Packer
from pindb.redis.core.promises import Promise, for_each, reject_all
from pindb.redis.exceptions import CommandCancelled, HostConnectionError, HostTimeoutError
from pindb.redis.io.exchange import Conversation, converse
from pindb.redis.io.pools import at_host
from pindb.redis.topology.hosts import Host

__all__ = ["Buffers"]

TakeBack = Callable[[Host, list[Entry], RedisError], RedisError | None]


def _at(places: list[int], items: list[Any]) -> Sequence[Any]:
    """The items at some places: itemgetter has no loop in Python, and no tuple for a single place."""
    return itemgetter(*places)(items) if len(places) > 1 else [items[places[0]]]


#: What packing raises for words that cannot be sent. Anything else came from outside: a soft time limit, say.
UNPACKABLE = (RedisError, TypeError, ValueError, OverflowError)


class Buffers:
    """What a client has not sent yet: for each host its commands, in their order. Not safe under threads."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[int, list[Entry]] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, host_id: int, command: Command) -> None:
        """One more command for a host."""
        self._entries.setdefault(host_id, []).append(command)

    def add_run(
        self,
        groups: Mapping[int, list[int]],
        keys: list[Any],
        values: list[Any],
        promises: list[Promise],
        merges: bool,
        tail: tuple[Any, ...] = (),
    ) -> None:
        """A GET of each key, or a SET of each key to its value; `groups` has each host's places in `keys`.

        See `Run` for the rest.
        """
        for host_id, places in groups.items():
            entries = self._entries.setdefault(host_id, [])
            run = entries[-1] if entries else None
            if not isinstance(run, Run) or bool(run.values) != bool(values) or run.tail != tail:
                run = Run(merges, tail)
                entries.append(run)
            run.keys += _at(places, keys)
            run.promises += _at(places, promises)
            if values:
                run.values += _at(places, values)

    def cancel(self, error: CommandCancelled) -> None:
        """Drop everything; its promises are rejected."""
        entries, self._entries = self._entries, {}
        everything = chain.from_iterable(entries.values())
        reject_all(chain.from_iterable(entry.promises for entry in everything), error)

    def send(
        self,
        find_host: Callable[[int], tuple[Host, Any, Callbacks]],
        end: float | None,
        max_concurrency: int | None,
        take_back: TakeBack,
        heard_from: Callable[[Host], None],
    ) -> bool:
        """Send everything, wait for the replies, and settle all promises.

        Arguments:
            find_host: for a host's id the host, its pool, and redis-py's response callbacks.
            end: when to give up, by `time.monotonic`.
            max_concurrency: how many hosts are talked to at once; None: all.
            take_back: given a host, entries that it did not get or whose replies did not come and that may be
                sent once more, if any, and the error: keeps the entries and returns None, or returns the
                error that rejects them.
            heard_from: called with each host that answered.

        Returns:
            Whether nothing failed.
        """
        entries, self._entries = self._entries, {}
        talks: list[_Talk] = []
        fine = True
        # In the one order of the process, so that two threads never wait for each other's connections.
        for host_id in sorted(entries):
            waiting = entries[host_id]
            try:
                talks.append(_Talk(waiting, *find_host(host_id)))
            except RedisError as error:
                # The host was removed in the meantime, say.
                reject_all(chain.from_iterable(entry.promises for entry in waiting), error)
                fine = False
        try:
            converse([talk.conversation for talk in talks], end, max_concurrency)
        finally:
            for_each(_Talk.settle, ((talk, take_back, heard_from) for talk in talks))
        return fine and all(talk.fine for talk in talks)


class _Talk:
    """One host's part of a batch.

    Attributes:
        fine: whether nothing failed.
    """

    __slots__ = ("callbacks", "conversation", "entries", "expected", "fine", "is_packed", "refused")

    def __init__(self, entries: list[Entry], host: Host, pool: Any, callbacks: Callbacks) -> None:
        self.entries = entries
        self.callbacks = callbacks
        self.conversation = Conversation(host, pool, self._pack)
        self.expected: list[Expected] = []
        self.refused: list[tuple[Command, BaseException]] = []
        self.is_packed = False
        self.fine = True

    def _pack(self, conversation: Conversation) -> None:
        """Pack the commands, for the connection that there is now."""
        encoder = conversation.connection.encoder
        pack = Packer(encoder)
        data: list[bytes] = []
        raw: list[int] = []
        count = 0
        for entry in self.entries:
            if isinstance(entry, Command) and NEVER_DECODE in entry.options:
                raw.append(count)
            try:
                packed = list(entry.pack(pack))
            except UNPACKABLE:
                packed = list(self._pack_singly(entry, pack))
            for part, expected in packed:
                if encoder.decode_responses and isinstance(expected, Together) and expected.name == "MGET":
                    raw.append(count)
                    expected.decode = encoder.decode
                data.append(part)
                self.expected.append(expected)
                count += expected.count
        conversation.say(data, count, frozenset(raw))
        self.is_packed = True

    def _pack_singly(self, entry: Entry, pack: Packer) -> Iterator[tuple[bytes, Expected]]:
        """What can be packed of an entry; the rest is refused."""
        for command in entry.commands():
            try:
                packed = list(command.pack(pack))
            except UNPACKABLE as error:
                # redis-py's encoder has an exception of its own for what it does not take at all.
                reason = error if isinstance(error, RedisError) else DataError(str(error))
                self.refused.append((command, located(reason, self.conversation.host, command.words[:2])))
            else:
                yield from packed

    def settle(self, take_back: TakeBack, heard_from: Callable[[Host], None]) -> None:
        """Hand out the replies, and errors in place of those that did not come."""
        conversation = self.conversation
        replies, host = conversation.replies, conversation.host
        missing = conversation.error or CommandCancelled("The command was interrupted.")
        if not self.is_packed:
            self._give_back(self.entries, missing, take_back)
            return
        if replies and not (isinstance(replies[-1], RedisError) and find_outage(replies[-1])):
            heard_from(host)
        # What the callers' callbacks raise is raised when all have what is theirs.
        raised = None
        unanswered: list[Entry] = []
        refused: list[Refused] = []
        start = 0
        for expected in self.expected:
            end = start + expected.count
            try:
                if start < len(replies):
                    settled = expected.settle(replies[start:end], host, self.callbacks)
                    if isinstance(settled, Refused):
                        refused.append(settled)
                    else:
                        self.fine &= settled
                if end > len(replies):
                    entry = None
                    if isinstance(missing, (HostConnectionError, HostTimeoutError)):
                        entry = expected.unanswered(max(len(replies) - start, 0))
                    if entry is not None:
                        unanswered.append(entry)
                    else:
                        # Promises that have their replies are settled, and stay so.
                        self.fine = False
                        expected.fail(missing)
            except Exception as error:
                raised = raised or error
            start = end
        if refused:
            outage = at_host(refused[-1].error, host)
            self._give_back([some.entry for some in refused], outage, take_back)
        if conversation.error is not None:
            self._give_back(unanswered, missing, take_back)
        for command, reason in self.refused:
            self.fine = False
            try:
                command.fail(reason)
            except Exception as error:
                raised = raised or error
        if raised is not None:
            raise raised

    def _give_back(self, entries: list[Entry], error: RedisError, take_back: TakeBack) -> None:
        final = take_back(self.conversation.host, entries, error)
        if final is not None and entries:
            self.fine = False
            reject_all(chain.from_iterable(entry.promises for entry in entries), final)
