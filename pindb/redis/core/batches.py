"""What waits to be sent, how it looks on the wire, and what becomes of its replies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, Protocol

from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.exceptions import RedisError, ResponseError

from pindb.redis.core.cluster_mode import name_mode
from pindb.redis.core.names import read_word
from pindb.redis.core.outages import Refused, find_outage
from pindb.redis.core.packing import Packer
from pindb.redis.core.promises import Promise, for_each, reject_all, settle_all
from pindb.redis.core.retries import reads_only
from pindb.redis.core.splitting import LONGEST, no_reply
from pindb.redis.io.exchange import undecodable
from pindb.redis.topology.hosts import Host

__all__ = ["Callbacks", "Command", "Entry", "Expected", "Run", "Together", "located"]

Callbacks = Mapping[str, Callable[..., Any]]


class Expected(Protocol):
    """Replies to come.

    Attributes:
        count: how many.
    """

    count: int

    def settle(self, replies: list[Any], host: Host, callbacks: Callbacks) -> bool | Refused:
        """Make of `count` replies what the caller is waiting for; False where that is an error.

        What a server refused because it serves nobody now is not settled.
        """

    def fail(self, error: BaseException) -> None:
        """There are no replies."""

    def unanswered(self, replies: int) -> Entry | None:
        """What to send once more when only so many `replies` came; None where that may do harm."""


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

    def settle(self, replies: list[Any], host: Host, callbacks: Callbacks) -> bool | Refused:
        (reply,) = replies
        options = self.options
        if isinstance(reply, RedisError):
            if find_outage(reply):
                return Refused(self, reply)
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

    def unanswered(self, replies: int) -> Entry | None:
        return self if reads_only(self.words[0]) else None


#: Options that are not the callbacks': what redis-py takes out itself.
OWN_OPTIONS = frozenset({EMPTY_RESPONSE, NEVER_DECODE, "keys"})


class Run:
    """A run of plain GETs, or of SETs. Where it `merges`, it is sent as MGETs or MSETs.

    Attributes:
        keys: their keys.
        values: what is set; empty for GETs.
        promises: their promises.
        tail: more words for each SET, which keep it from being merged: ``("PX", 5000)``.
    """

    __slots__ = ("keys", "merges", "promises", "tail", "values")

    def __init__(self, merges: bool, tail: tuple[Any, ...] = ()) -> None:
        self.tail = tail
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.promises: list[Promise] = []
        self.merges = merges

    @classmethod
    def of_gets(cls, keys: list[Any], promises: list[Promise], merges: bool) -> Run:
        """A run of GETs that is there already."""
        run = cls(merges)
        run.keys, run.promises = keys, promises
        return run

    def commands(self) -> Iterator[Command]:
        if self.values:
            for key, value, promise in zip(self.keys, self.values, self.promises, strict=True):
                yield Command(("SET", key, value, *self.tail), {}, promise)
        else:
            for key, promise in zip(self.keys, self.promises, strict=True):
                yield Command(("GET", key), {}, promise)

    def pack(self, pack: Packer) -> Iterator[tuple[bytes, Expected]]:
        keys, values, promises = self.keys, self.values, self.promises
        if not self.merges or self.tail or len(keys) == 1:
            if values:
                packed = pack.many(repeat("SET"), keys, values, *map(repeat, self.tail))
            else:
                packed = pack.many(repeat("GET"), keys)
            yield packed, _Each(self)
            return
        for start in range(0, len(keys), LONGEST):
            end = start + LONGEST
            part = keys[start:end]
            if values:
                pairs = chain.from_iterable(zip(part, values[start:end], strict=True))
                yield pack(("MSET", *pairs)), Together("MSET", part, promises[start:end], values[start:end])
            else:
                yield pack(("MGET", *part)), Together("MGET", part, promises[start:end])

    def some(self, places: Sequence[int]) -> Run:
        """The run of the keys at some places of this one."""
        run = Run(self.merges, self.tail)
        run.keys = [self.keys[place] for place in places]
        run.promises = [self.promises[place] for place in places]
        run.values = [self.values[place] for place in places] if self.values else []
        return run


class _Each:
    """The replies to a run that was sent as it is."""

    __slots__ = ("count", "keys", "promises", "run", "sets")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.keys = run.keys
        self.promises = run.promises
        self.sets = bool(run.values)
        self.count = len(run.promises)

    def settle(self, replies: list[Any], host: Host, callbacks: Callbacks) -> bool | Refused:
        # As many as there are: the connection may have broken in the middle.
        promises = self.promises[: len(replies)]
        failed = any(issubclass(kind, RedisError) for kind in set(map(type, replies)))
        if failed:
            name = "SET" if self.sets else "GET"
            refused = [place for place, reply in enumerate(replies) if find_outage(reply)]

            def settle(key: Any, promise: Promise, reply: Any) -> None:
                if refused and find_outage(reply):
                    return
                if isinstance(reply, RedisError):
                    promise.reject(located(reply, host, (name, key)))
                else:
                    promise.resolve(True if self.sets else reply)

            for_each(settle, zip(self.keys, promises, replies, strict=False))
            if refused:
                return Refused(self.run.some(refused), replies[refused[0]])
        else:
            settle_all(promises, repeat(True) if self.sets else replies)
        return not failed

    def fail(self, error: BaseException) -> None:
        reject_all(self.promises, error)

    def unanswered(self, replies: int) -> Entry | None:
        return None if self.sets else Run.of_gets(self.keys[replies:], self.promises[replies:], False)


class Together:
    """The one reply to a run that was merged: a list of values, or OK."""

    __slots__ = ("decode", "keys", "name", "promises", "values")

    count = 1

    def __init__(
        self, name: str, keys: list[Any], promises: list[Promise], values: Sequence[Any] = ()
    ) -> None:
        self.name = name
        self.keys = keys
        self.promises = promises
        self.values = values
        #: What decodes the values, where the reply comes undecoded: each may fail for itself.
        self.decode: Callable[[Any], Any] | None = None

    def settle(self, replies: list[Any], host: Host, callbacks: Callbacks) -> bool | Refused:
        (reply,) = replies
        if isinstance(reply, RedisError):
            if find_outage(reply):
                run = Run.of_gets(self.keys, self.promises, True)
                run.values = list(self.values)
                return Refused(run, reply)
            self.fail(located(reply, host, (self.name, self.keys[0])))
            return False
        if self.name == "MSET":
            reply = repeat(True)
        elif type(reply) is not list or len(reply) != len(self.keys):
            self.fail(located(no_reply(len(self.keys), reply), host, (self.name, self.keys[0])))
            return False
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

    def unanswered(self, replies: int) -> Entry | None:
        return Run.of_gets(self.keys, self.promises, True) if self.name == "MGET" else None


def located(error: RedisError, host: Host, words: Sequence[Any]) -> RedisError:
    """`error` with the command and its host in front of its message."""
    command = " ".join(read_word(word)[:60] if i == 0 else f"{word!r:.60}" for i, word in enumerate(words))
    if error.args and isinstance(error.args[0], str):
        error.args = (f"{command} on {host}: {name_mode(error, error.args[0])}", *error.args[1:])
    return error


Entry = Command | Run
