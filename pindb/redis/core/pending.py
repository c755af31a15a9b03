"""Commands that wait to be sent: their bytes, and what becomes of their replies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, compress, repeat
from typing import Any, NamedTuple, Protocol

from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.exceptions import RedisError, ResponseError

from pindb.redis.core.errors import located, undecodable
from pindb.redis.core.outages import find_outage
from pindb.redis.core.packing import Packer
from pindb.redis.core.promises import Promise, for_each, reject_all, settle_all
from pindb.redis.core.retries import reads_only
from pindb.redis.core.splitting import LONGEST, no_reply

__all__ = ["Callbacks", "Command", "CommandRun", "Entry", "MergedReply", "PendingReply", "Returned"]

#: redis-py's response callbacks, by the command's name in capitals.
Callbacks = Mapping[str, Callable[..., Any]]

#: Options that redis-py takes out before it calls a response callback.
OWN_OPTIONS = frozenset({EMPTY_RESPONSE, NEVER_DECODE, "keys"})


class Returned(NamedTuple):
    """Commands that may be sent to another server.

    They certainly did not run, or they only read; their promises are pending.

    Attributes:
        entries: the commands; none where the server failed and nothing may be sent again.
        error: why the server did not answer them.
    """

    entries: list[Entry]
    error: RedisError


class PendingReply(Protocol):
    """Replies that a server owes."""

    @property
    def count(self) -> int:
        """The number of replies."""

    def settle(self, replies: list[Any], host: object, callbacks: Callbacks) -> bool | Returned:
        """Settle the promises with the replies; fewer than `count` where the connection broke.

        Returns:
            Whether no reply was an error; or the commands to which a server replied that it serves nobody
            now, whose promises stay pending.
        """

    def fail(self, error: BaseException, replies: int = 0) -> None:
        """Reject the promises, but for those to which there were so many `replies`."""

    def find_repeatable(self, replies: int) -> Entry | None:
        """Return what may be sent again after only so many `replies` came; None where that may do harm."""


class Command:
    """One command.

    Arguments:
        words: its words.
        options: redis-py's options for the reply.
        promise: the promise of its reply.
    """

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
        """The command itself, as of a `CommandRun`."""
        yield self

    def pack(self, pack: Packer) -> list[tuple[bytes, PendingReply]]:
        """The bytes to send, with the replies that they will have."""
        return [(pack.command(self.words), self)]

    def settle(self, replies: list[Any], host: object, callbacks: Callbacks) -> bool | Returned:
        (reply,) = replies
        options = self.options
        if isinstance(reply, RedisError):
            if find_outage(reply):
                return Returned([self], reply)
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
        if type(self.promise) is Promise:
            # As `settle_all` does; nobody waits for it.
            self.promise.value = reply
        else:
            self.promise.resolve(reply)
        return True

    def fail(self, error: BaseException, replies: int = 0) -> None:
        self.promise.reject(error)

    def find_repeatable(self, replies: int) -> Entry | None:
        return self if reads_only(self.words[0]) else None


class CommandRun:
    """A run of plain GETs, or of SETs.

    Arguments:
        merges: whether to send it as MGETs or MSETs.
        tail: more words for each SET, which keep it from being merged: ``("PX", 5000)``.

    Attributes:
        keys: the keys.
        values: the values to set; empty for GETs.
        promises: the promises, one for each key.
        merges, tail: as given.
    """

    __slots__ = ("keys", "merges", "promises", "tail", "values")

    def __init__(self, merges: bool, tail: tuple[Any, ...] = ()) -> None:
        self.tail = tail
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.promises: list[Promise] = []
        self.merges = merges

    @property
    def count(self) -> int:
        return len(self.promises)

    def commands(self) -> Iterator[Command]:
        """The commands of the run, one by one."""
        if self.values:
            for key, value, promise in zip(self.keys, self.values, self.promises, strict=True):
                yield Command(("SET", key, value, *self.tail), {}, promise)
        else:
            for key, promise in zip(self.keys, self.promises, strict=True):
                yield Command(("GET", key), {}, promise)

    def part(self, places: slice) -> CommandRun:
        """The run of some of the keys."""
        run = CommandRun(self.merges, self.tail)
        run.keys, run.promises = self.keys[places], self.promises[places]
        run.values = self.values[places]
        return run

    def pack(self, pack: Packer) -> list[tuple[bytes, PendingReply]]:
        """The bytes to send, with the replies that they will have."""
        keys, values = self.keys, self.values
        if not self.merges or self.tail or len(keys) == 1:
            if values:
                return [(pack.many(repeat("SET"), keys, values, *map(repeat, self.tail)), self)]
            return [(pack.many(repeat("GET"), keys), self)]
        parts = [self.part(slice(start, start + LONGEST)) for start in range(0, len(keys), LONGEST)]
        return [(pack(part.merged()), MergedReply(part)) for part in parts]

    def merged(self) -> Sequence[Any]:
        """The words of the one command for the whole run."""
        if self.values:
            return ("MSET", *chain.from_iterable(zip(self.keys, self.values, strict=True)))
        return ("MGET", *self.keys)

    def settle(self, replies: list[Any], host: object, callbacks: Callbacks) -> bool | Returned:
        promises = self.promises[: len(replies)]
        is_set = bool(self.values)
        if not any(issubclass(kind, RedisError) for kind in set(map(type, replies))):
            settle_all(promises, repeat(True) if is_set else replies)
            return True
        refused = list(map(find_outage, replies))

        def settle(key: Any, promise: Promise, reply: Any, is_refused: str | None) -> None:
            if isinstance(reply, RedisError):
                if not is_refused:
                    promise.reject(located(reply, host, ("SET" if is_set else "GET", key)))
            else:
                promise.resolve(True if is_set else reply)

        for_each(settle, zip(self.keys, promises, replies, refused, strict=False))
        if any(refused):
            return Returned(list(compress(self.commands(), refused)), next(compress(replies, refused)))
        return False

    def fail(self, error: BaseException, replies: int = 0) -> None:
        reject_all(self.promises[replies:], error)

    def find_repeatable(self, replies: int) -> Entry | None:
        return None if self.values else self.part(slice(replies, None))


class MergedReply:
    """The one reply to a run that is sent as an MGET or an MSET.

    Arguments:
        run: the run.

    Attributes:
        name: ``"MGET"`` or ``"MSET"``.
        decode: decodes a value, where the reply comes undecoded: each value may fail for itself.
    """

    __slots__ = ("_run", "decode", "name")

    count = 1

    def __init__(self, run: CommandRun) -> None:
        self._run = run
        self.name = "MSET" if run.values else "MGET"
        self.decode: Callable[[Any], Any] | None = None

    def settle(self, replies: list[Any], host: object, callbacks: Callbacks) -> bool | Returned:
        (reply,) = replies
        keys, promises = self._run.keys, self._run.promises
        if isinstance(reply, RedisError):
            if find_outage(reply):
                return Returned([self._run], reply)
            self.fail(located(reply, host, (self.name, keys[0])))
            return False
        if self.name == "MSET":
            reply = repeat(True)
        elif type(reply) is not list or len(reply) != len(keys):
            self.fail(located(no_reply(len(keys), reply), host, (self.name, keys[0])))
            return False
        elif self.decode is not None:
            try:
                reply = list(map(self.decode, reply))
            except UnicodeDecodeError:
                return self._settle_singly(reply, host, self.decode)
        settle_all(promises, reply)
        return True

    def _settle_singly(self, values: list[Any], host: object, decode: Callable[[Any], Any]) -> bool:
        """Settle with values of which some cannot be decoded."""

        def settle(key: Any, promise: Promise, value: Any) -> None:
            try:
                value = decode(value)
            except UnicodeDecodeError as error:
                promise.reject(located(undecodable(error), host, ("GET", key)))
            else:
                promise.resolve(value)

        for_each(settle, zip(self._run.keys, self._run.promises, values, strict=True))
        return False

    def fail(self, error: BaseException, replies: int = 0) -> None:
        self._run.fail(error)

    def find_repeatable(self, replies: int) -> Entry | None:
        return None if self._run.values else self._run


Entry = Command | CommandRun
