"""Commands that wait to be sent, by host: how they are packed together, and what becomes of the replies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.exceptions import DataError, RedisError

from pindb.redis.exceptions import CommandCancelled
from pindb.redis.exchange import Conversation, converse
from pindb.redis.hosts import Host
from pindb.redis.promise import RESOLVED, Promise
from pindb.redis.resp import make_packer

__all__ = ["Buffers", "Command", "Gets", "Sets"]

#: How many keys one merged command takes at most: a server does nothing else while it runs one.
LONGEST = 1000

Pack = Callable[[Sequence[Any]], bytes]
Callbacks = Mapping[str, Callable[..., Any]]


class Expected(Protocol):
    """A reply to come."""

    def settle(self, reply: Any, host: Host, callbacks: Callbacks) -> None:
        """Make of the reply what the caller is waiting for."""

    def fail(self, error: BaseException) -> None:
        """There is no reply."""


class Command:
    """One command, as it is."""

    __slots__ = ("options", "promise", "words")

    def __init__(self, words: Sequence[Any], options: dict[str, Any], promise: Promise) -> None:
        self.words = words
        self.options = options
        self.promise = promise

    def commands(self) -> Iterator[Command]:
        """The commands that it stands for, one by one."""
        yield self

    def pack(self, pack: Pack) -> Iterator[tuple[bytes, Expected]]:
        """The bytes of each command on the wire, with the reply that it will have."""
        name = self.words[0]
        if isinstance(name, str) and " " in name:
            # redis-py writes some commands of two words as one.
            yield pack([*name.split(), *self.words[1:]]), self
        else:
            yield pack(self.words), self

    def settle(self, reply: Any, host: Host, callbacks: Callbacks) -> None:
        options = self.options
        if isinstance(reply, RedisError):
            if EMPTY_RESPONSE in options:
                self.promise.resolve(options[EMPTY_RESPONSE])
            else:
                self.promise.reject(located(reply, host, self.words[:2]))
            return
        name = self.words[0]
        callback = callbacks.get(name) or callbacks.get(str(name).upper())
        if callback is not None:
            try:
                reply = callback(reply, **{k: v for k, v in options.items() if k not in OWN_OPTIONS})
            except Exception as error:
                self.promise.reject(error)
                return
        self.promise.resolve(reply)

    def fail(self, error: BaseException) -> None:
        self.promise.reject(error)


#: Options that are not the callbacks': what redis-py takes out itself.
OWN_OPTIONS = frozenset({EMPTY_RESPONSE, NEVER_DECODE, "keys"})


class Gets:
    """A run of plain GETs, sent as MGETs where `merges`."""

    __slots__ = ("keys", "merges", "promises")

    def __init__(self, keys: list[Any], promises: list[Promise], merges: bool) -> None:
        self.keys = keys
        self.promises = promises
        self.merges = merges

    def commands(self) -> Iterator[Command]:
        for key, promise in zip(self.keys, self.promises, strict=True):
            yield Command(("GET", key), {}, promise)

    def pack(self, pack: Pack) -> Iterator[tuple[bytes, Expected]]:
        keys, promises = self.keys, self.promises
        if not self.merges or len(keys) == 1:
            for command in self.commands():
                yield pack(command.words), command
            return
        for start in range(0, len(keys), LONGEST):
            part = keys[start : start + LONGEST]
            yield pack(["MGET", *part]), _Values(promises[start : start + LONGEST], part[0])


class Sets:
    """A run of plain SETs, sent as MSETs where `merges`. `pairs` has keys and values in turn."""

    __slots__ = ("merges", "pairs", "promises")

    def __init__(self, pairs: list[Any], promises: list[Promise], merges: bool) -> None:
        self.pairs = pairs
        self.promises = promises
        self.merges = merges

    def commands(self) -> Iterator[Command]:
        for key, value, promise in zip(self.pairs[::2], self.pairs[1::2], self.promises, strict=True):
            yield Command(("SET", key, value), {}, promise)

    def pack(self, pack: Pack) -> Iterator[tuple[bytes, Expected]]:
        pairs, promises = self.pairs, self.promises
        if not self.merges or len(promises) == 1:
            for command in self.commands():
                yield pack(command.words), command
            return
        for start in range(0, len(promises), LONGEST):
            part = pairs[2 * start : 2 * (start + LONGEST)]
            yield pack(["MSET", *part]), _Done(promises[start : start + LONGEST], part[0])


class _Values:
    """The reply to an MGET: a value for each of the promises."""

    __slots__ = ("key", "promises")

    name = "MGET"

    def __init__(self, promises: list[Promise], key: Any) -> None:
        self.promises = promises
        self.key = key

    def settle(self, reply: Any, host: Host, callbacks: Callbacks) -> None:
        if isinstance(reply, RedisError):
            self.fail(located(reply, host, (self.name, self.key)))
        else:
            settle_all(self.promises, reply)

    def fail(self, error: BaseException) -> None:
        for promise in self.promises:
            promise.reject(error)


class _Done(_Values):
    """The reply to an MSET: all promises become True."""

    __slots__ = ()

    name = "MSET"

    def settle(self, reply: Any, host: Host, callbacks: Callbacks) -> None:
        super().settle(
            reply if isinstance(reply, RedisError) else [True] * len(self.promises), host, callbacks
        )


def settle_all(promises: Sequence[Promise], values: Sequence[Any]) -> None:
    """Resolve each promise with its value."""
    # Promise.resolve for a promise that nobody waits for, written out: it is most of what a map does.
    for promise, value in zip(promises, values, strict=True):
        if promise._state is None:
            promise._result = value
            promise._state = RESOLVED
        else:
            promise.resolve(value)


def located(error: RedisError, host: Host, words: Sequence[Any]) -> RedisError:
    """`error` with the command and its host in front of its message."""
    command = " ".join(str(word)[:60] if i == 0 else f"{word!r:.60}" for i, word in enumerate(words))
    if error.args and isinstance(error.args[0], str):
        error.args = (f"{command} on {host}: {error.args[0]}", *error.args[1:])
    return error


Entry = Command | Gets | Sets


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

    def add_gets(
        self, hosts: Sequence[int], keys: Sequence[Any], promises: Sequence[Promise], merges: bool
    ) -> None:
        """A GET for each key, on the host that `hosts` has for it."""
        runs: dict[int, Gets] = {}
        for host_id in set(hosts):
            entries = self._entries.setdefault(host_id, [])
            run = entries[-1] if entries else None
            if not isinstance(run, Gets):
                run = Gets([], [], merges)
                entries.append(run)
            runs[host_id] = run
        add_key = {host_id: run.keys.append for host_id, run in runs.items()}
        add_promise = {host_id: run.promises.append for host_id, run in runs.items()}
        for host_id, key, promise in zip(hosts, keys, promises, strict=True):
            add_key[host_id](key)
            add_promise[host_id](promise)

    def add_sets(
        self, hosts: Sequence[int], pairs: Sequence[Any], promises: Sequence[Promise], merges: bool
    ) -> None:
        """A SET for each two of `pairs`, on the host that `hosts` has for it."""
        runs: dict[int, Sets] = {}
        for host_id in set(hosts):
            entries = self._entries.setdefault(host_id, [])
            run = entries[-1] if entries else None
            if not isinstance(run, Sets):
                run = Sets([], [], merges)
                entries.append(run)
            runs[host_id] = run
        add_pair = {host_id: run.pairs.extend for host_id, run in runs.items()}
        add_promise = {host_id: run.promises.append for host_id, run in runs.items()}
        both = zip(pairs[::2], pairs[1::2], strict=True)
        for host_id, pair, promise in zip(hosts, both, promises, strict=True):
            add_pair[host_id](pair)
            add_promise[host_id](promise)

    def cancel(self) -> None:
        """Drop everything; its promises are rejected with `CommandCancelled`."""
        entries, self._entries = self._entries, {}
        error = CommandCancelled("The command was cancelled before it was sent.")
        for entry in chain.from_iterable(entries.values()):
            for promise in [entry.promise] if isinstance(entry, Command) else entry.promises:
                promise.reject(error)

    def send(
        self,
        find_host: Callable[[int], tuple[Host, Any, Callbacks]],
        timeout: float | None,
        max_concurrency: int | None,
    ) -> None:
        """Send everything, wait for the replies, and settle all promises.

        Arguments:
            find_host: for a host's id the host, its pool, and redis-py's response callbacks.
            timeout: for all of it, in seconds.
            max_concurrency: how many hosts are talked to at once; None: all.
        """
        entries, self._entries = self._entries, {}
        hosts = list(entries)
        step = max_concurrency or len(hosts) or 1
        for start in range(0, len(hosts), step):
            talks = [_Talk(entries[i], *find_host(i)) for i in hosts[start : start + step]]
            try:
                converse([talk.conversation for talk in talks if talk.prepare()], timeout)
            finally:
                for talk in talks:
                    talk.conversation.close()
                    talk.settle()


class _Talk:
    """One host's part of a batch."""

    __slots__ = ("callbacks", "conversation", "entries", "expected")

    def __init__(self, entries: list[Entry], host: Host, pool: Any, callbacks: Callbacks) -> None:
        self.entries = entries
        self.callbacks = callbacks
        self.conversation = Conversation(host, pool)
        self.expected: list[Expected] = []

    def prepare(self) -> bool:
        """Get a connection and pack the commands; False where there is none, or nothing to send."""
        if not self.conversation.open():
            for entry in self.entries:
                for promise in [entry.promise] if isinstance(entry, Command) else entry.promises:
                    promise.reject(self.conversation.error or RedisError())
            return False
        pack = make_packer(self.conversation.connection.encoder)
        data: list[bytes] = []
        raw: list[int] = []
        for entry in self.entries:
            if isinstance(entry, Command) and NEVER_DECODE in entry.options:
                raw.append(len(self.expected))
            try:
                packed = list(entry.pack(pack))
            except DataError:
                packed = list(self._pack_singly(entry, pack))
            for part, expected in packed:
                data.append(part)
                self.expected.append(expected)
        self.conversation.say(data, len(self.expected), frozenset(raw))
        return True

    def _pack_singly(self, entry: Entry, pack: Pack) -> Iterator[tuple[bytes, Expected]]:
        """What can be packed of an entry; the promises of the rest are rejected."""
        for command in entry.commands():
            try:
                yield pack(command.words), command
            except DataError as error:
                command.fail(located(error, self.conversation.host, command.words[:2]))

    def settle(self) -> None:
        """Hand out the replies, or the error in their place."""
        conversation = self.conversation
        for expected, reply in zip(self.expected, conversation.replies, strict=False):
            expected.settle(reply, conversation.host, self.callbacks)
        missing = self.expected[len(conversation.replies) :]
        if missing:
            error = conversation.error or CommandCancelled("The command was interrupted.")
            for expected in missing:
                expected.fail(error)
