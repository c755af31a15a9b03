"""Commands that wait to be sent, by host: how they are packed together, and what becomes of the replies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Protocol

from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.exceptions import DataError, RedisError, ResponseError

from pindb.redis.exceptions import CommandCancelled
from pindb.redis.exchange import Conversation, converse, undecodable
from pindb.redis.hosts import Host
from pindb.redis.multikey import LONGEST
from pindb.redis.promise import Promise, for_each, reject_all, settle_all
from pindb.redis.resp import Packer

__all__ = ["Buffers", "Command", "Run"]


Callbacks = Mapping[str, Callable[..., Any]]


class Expected(Protocol):
    """Replies to come.

    Attributes:
        count: how many.
    """

    count: int

    def settle(self, replies: list[Any], host: Host, callbacks: Callbacks) -> bool:
        """Make of `count` replies what the caller is waiting for; False where that is an error."""

    def fail(self, error: BaseException) -> None:
        """There are no replies."""


class Command:
    """One command, as it is."""

    __slots__ = ("options", "promise", "words")

    count = 1

    def __init__(self, words: Sequence[Any], options: dict[str, Any], promise: Promise) -> None:
        self.words = words
        self.options = options
        self.promise = promise

    @property
    def promises(self) -> list[Promise]:
        return [self.promise]

    def commands(self) -> Iterator[Command]:
        """The commands that it stands for, one by one."""
        yield self

    def pack(self, pack: Packer) -> Iterator[tuple[bytes, Expected]]:
        """Bytes for the wire, with the replies that they will have."""
        name = self.words[0]
        if (" " in name) if isinstance(name, str) else (isinstance(name, bytes) and b" " in name):
            # redis-py writes some commands of two words as one.
            yield pack((*name.split(), *self.words[1:])), self
        else:
            yield pack(self.words), self

    def settle(self, replies: list[Any], host: Host, callbacks: Callbacks) -> bool:
        (reply,) = replies
        options = self.options
        if isinstance(reply, RedisError):
            if EMPTY_RESPONSE not in options or not isinstance(reply, ResponseError):
                self.promise.reject(located(reply, host, self.words[:2]))
                return False
            self.promise.resolve(options[EMPTY_RESPONSE])
            return True
        name = self.words[0]
        callback = callbacks.get(name) or callbacks.get(str(name).upper())
        if callback is not None:
            if options:
                options = {name: option for name, option in options.items() if name not in OWN_OPTIONS}
            try:
                reply = callback(reply, **options)
            except Exception as error:
                self.promise.reject(error)
                return False
        settle_all((self.promise,), (reply,))
        return True

    def fail(self, error: BaseException) -> None:
        self.promise.reject(error)


#: Options that are not the callbacks': what redis-py takes out itself.
OWN_OPTIONS = frozenset({EMPTY_RESPONSE, NEVER_DECODE, "keys"})


class Run:
    """A run of plain GETs, or of plain SETs. Where it `merges`, it is sent as MGETs or MSETs.

    Attributes:
        keys: their keys.
        values: what is set; empty for GETs.
        promises: their promises.
    """

    __slots__ = ("keys", "merges", "promises", "values")

    def __init__(self, merges: bool) -> None:
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.promises: list[Promise] = []
        self.merges = merges

    def commands(self) -> Iterator[Command]:
        if self.values:
            for key, value, promise in zip(self.keys, self.values, self.promises, strict=True):
                yield Command(("SET", key, value), {}, promise)
        else:
            for key, promise in zip(self.keys, self.promises, strict=True):
                yield Command(("GET", key), {}, promise)

    def pack(self, pack: Packer) -> Iterator[tuple[bytes, Expected]]:
        keys, values, promises = self.keys, self.values, self.promises
        if not self.merges or len(keys) == 1:
            packed = pack.many(repeat("SET"), keys, values) if values else pack.many(repeat("GET"), keys)
            yield packed, _Each(keys, promises, bool(values))
            return
        for start in range(0, len(keys), LONGEST):
            end = start + LONGEST
            part = keys[start:end]
            if values:
                pairs = chain.from_iterable(zip(part, values[start:end], strict=True))
                yield pack(("MSET", *pairs)), _Together("MSET", part, promises[start:end])
            else:
                yield pack(("MGET", *part)), _Together("MGET", part, promises[start:end])


class _Each:
    """The replies to a run that was sent as it is."""

    __slots__ = ("count", "keys", "promises", "sets")

    def __init__(self, keys: list[Any], promises: list[Promise], sets: bool) -> None:
        self.keys = keys
        self.promises = promises
        self.sets = sets
        self.count = len(promises)

    def settle(self, replies: list[Any], host: Host, callbacks: Callbacks) -> bool:
        # As many as there are: the connection may have broken in the middle.
        promises = self.promises[: len(replies)]
        failed = any(issubclass(kind, RedisError) for kind in set(map(type, replies)))
        if failed:
            name = "SET" if self.sets else "GET"

            def settle(key: Any, promise: Promise, reply: Any) -> None:
                if isinstance(reply, RedisError):
                    promise.reject(located(reply, host, (name, key)))
                else:
                    promise.resolve(True if self.sets else reply)

            for_each(settle, zip(self.keys, promises, replies, strict=False))
        else:
            settle_all(promises, repeat(True) if self.sets else replies)
        return not failed

    def fail(self, error: BaseException) -> None:
        reject_all(self.promises, error)


class _Together:
    """The one reply to a run that was merged: a list of values, or OK."""

    __slots__ = ("decode", "keys", "name", "promises")

    count = 1

    def __init__(self, name: str, keys: list[Any], promises: list[Promise]) -> None:
        self.name = name
        self.keys = keys
        self.promises = promises
        #: What decodes the values, where the reply comes undecoded: each may fail for itself.
        self.decode: Callable[[Any], Any] | None = None

    def settle(self, replies: list[Any], host: Host, callbacks: Callbacks) -> bool:
        (reply,) = replies
        if isinstance(reply, RedisError):
            self.fail(located(reply, host, (self.name, self.keys[0])))
            return False
        if self.name == "MSET":
            reply = repeat(True)
        elif self.decode is not None:
            try:
                reply = list(map(self.decode, reply))
            except UnicodeDecodeError:
                return self._settle_singly(reply, host, self.decode)
        settle_all(self.promises, reply)
        return True

    def _settle_singly(self, values: list[Any], host: Host, decode: Callable[[Any], Any]) -> bool:
        """Settle with values of which some cannot be decoded."""

        def settle(key: Any, promise: Promise, value: Any) -> None:
            try:
                value = decode(value)
            except UnicodeDecodeError as error:
                promise.reject(located(undecodable(error), host, ("GET", key)))
            else:
                promise.resolve(value)

        for_each(settle, zip(self.keys, self.promises, values, strict=True))
        return False

    def fail(self, error: BaseException) -> None:
        reject_all(self.promises, error)


def located(error: RedisError, host: Host, words: Sequence[Any]) -> RedisError:
    """`error` with the command and its host in front of its message."""
    command = " ".join(str(word)[:60] if i == 0 else f"{word!r:.60}" for i, word in enumerate(words))
    if error.args and isinstance(error.args[0], str):
        error.args = (f"{command} on {host}: {error.args[0]}", *error.args[1:])
    return error


def _at(places: list[int], items: list[Any]) -> Sequence[Any]:
    """The items at some places: itemgetter has no loop in Python, and no tuple for a single place."""
    return itemgetter(*places)(items) if len(places) > 1 else [items[places[0]]]


Entry = Command | Run


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
    ) -> None:
        """A GET of each key, or a SET of each key to its value; `groups` has each host's places in `keys`."""
        for host_id, places in groups.items():
            entries = self._entries.setdefault(host_id, [])
            run = entries[-1] if entries else None
            if not isinstance(run, Run) or bool(run.values) != bool(values):
                run = Run(merges)
                entries.append(run)
            run.keys += _at(places, keys)
            run.promises += _at(places, promises)
            if values:
                run.values += _at(places, values)

    def cancel(self) -> None:
        """Drop everything; its promises are rejected with `CommandCancelled`."""
        entries, self._entries = self._entries, {}
        error = CommandCancelled("The command was cancelled before it was sent.")
        everything = chain.from_iterable(entries.values())
        reject_all(chain.from_iterable(entry.promises for entry in everything), error)

    def send(
        self,
        find_host: Callable[[int], tuple[Host, Any, Callbacks]],
        end: float | None,
        max_concurrency: int | None,
    ) -> bool:
        """Send everything, wait for the replies, and settle all promises.

        Arguments:
            find_host: for a host's id the host, its pool, and redis-py's response callbacks.
            end: when to give up, by `time.monotonic`.
            max_concurrency: how many hosts are talked to at once; None: all.

        Returns:
            Whether nothing failed.
        """
        entries, self._entries = self._entries, {}
        talks: list[_Talk] = []
        fine = True
        for host_id, waiting in entries.items():
            try:
                talks.append(_Talk(waiting, *find_host(host_id)))
            except RedisError as error:
                # The host was removed in the meantime, say.
                reject_all(chain.from_iterable(entry.promises for entry in waiting), error)
                fine = False
        step = max_concurrency or len(talks) or 1
        for start in range(0, len(talks), step):
            some = talks[start : start + step]
            try:
                converse(_prepared(some, end), end)
            finally:
                for talk in some:
                    talk.conversation.close()
                for_each(_Talk.settle, ((talk,) for talk in some))
        return fine and all(talk.fine for talk in talks)


def _prepared(talks: Sequence[_Talk], end: float | None) -> Iterator[Conversation]:
    """The conversations of what could be prepared.

    One by one: a server works on what it has got while the next one's commands are packed.
    """
    for number_left, talk in zip(reversed(range(len(talks))), talks, strict=True):
        connect_until = end
        if end is not None and number_left:
            # A host that lets nobody in must leave the others some of the time.
            now = time.monotonic()
            connect_until = now + (end - now) / 2
        if talk.prepare(connect_until):
            yield talk.conversation


class _Talk:
    """One host's part of a batch.

    Attributes:
        fine: whether nothing failed.
    """

    __slots__ = ("callbacks", "conversation", "entries", "expected", "fine", "is_packed", "refused")

    def __init__(self, entries: list[Entry], host: Host, pool: Any, callbacks: Callbacks) -> None:
        self.entries = entries
        self.callbacks = callbacks
        self.conversation = Conversation(host, pool)
        self.expected: list[Expected] = []
        self.refused: list[tuple[Command, BaseException]] = []
        self.is_packed = False
        self.fine = True

    def prepare(self, end: float | None) -> bool:
        """Get a connection, before the time `end`, and pack the commands; False where there is none."""
        if not self.conversation.open(end):
            return False
        encoder = self.conversation.connection.encoder
        pack = Packer(encoder)
        data: list[bytes] = []
        raw: list[int] = []
        count = 0
        for entry in self.entries:
            if isinstance(entry, Command) and NEVER_DECODE in entry.options:
                raw.append(count)
            try:
                packed = list(entry.pack(pack))
            except Exception:
                packed = list(self._pack_singly(entry, pack))
            for part, expected in packed:
                if encoder.decode_responses and isinstance(expected, _Together) and expected.name == "MGET":
                    raw.append(count)
                    expected.decode = encoder.decode
                data.append(part)
                self.expected.append(expected)
                count += expected.count
        self.is_packed = True
        self.conversation.say(data, count, frozenset(raw))
        return True

    def _pack_singly(self, entry: Entry, pack: Packer) -> Iterator[tuple[bytes, Expected]]:
        """What can be packed of an entry; the rest is refused."""
        for command in entry.commands():
            try:
                packed = list(command.pack(pack))
            except Exception as error:
                # redis-py's encoder has an exception of its own for what it does not take at all.
                reason = error if isinstance(error, RedisError) else DataError(str(error))
                self.refused.append((command, located(reason, self.conversation.host, command.words[:2])))
            else:
                yield from packed

    def settle(self) -> None:
        """Hand out the replies, and errors in place of those that did not come."""
        conversation = self.conversation
        replies, host = conversation.replies, conversation.host
        missing = conversation.error or CommandCancelled("The command was interrupted.")
        if not self.is_packed:
            self.fine = False
            reject_all(chain.from_iterable(entry.promises for entry in self.entries), missing)
            return
        # What the callers' callbacks raise is raised when all have what is theirs.
        raised = None
        start = 0
        for expected in self.expected:
            end = start + expected.count
            try:
                if start < len(replies):
                    self.fine &= expected.settle(replies[start:end], host, self.callbacks)
                if end > len(replies):
                    # Promises that have their replies are settled, and stay so.
                    self.fine = False
                    expected.fail(missing)
            except Exception as error:
                raised = raised or error
            start = end
        for command, reason in self.refused:
            self.fine = False
            try:
                command.fail(reason)
            except Exception as error:
                raised = raised or error
        if raised is not None:
            raise raised
