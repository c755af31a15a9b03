"""Runs of GETs or of SETs, which are merged into MGETs or MSETs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any

from redis.exceptions import RedisError

from pindb.redis.core.errors import located, undecodable
from pindb.redis.core.outages import find_outage
from pindb.redis.core.packing import Packer
from pindb.redis.core.pending import Answering, Callbacks, Command
from pindb.redis.core.promises import Promise, for_each, reject_all, settle_all
from pindb.redis.core.retries import reads_only
from pindb.redis.core.splitting import LONGEST, check_reply

__all__ = ["CommandRun", "Entry"]

#: In place of redis-py's, for single commands of a run: a plain SET has no other reply that is no error.
CALLBACKS: Callbacks = {"SET": lambda reply: True}


class CommandRun:
    """A run of plain GETs, of SETs, or of another command with one key, with the methods of a `Command`.

    Arguments:
        keys: the keys.
        values: the values to set; empty for others than SETs.
        promises: the promises, one for each key.
        merges: whether to send it as MGETs or MSETs.
        tail: more words for each SET, which keep it from being merged: ``("PX", 5000)``.
        name: the name of the commands; None: GET, or SET if there are values.
    """

    __slots__ = ("keys", "merges", "name", "promises", "tail", "values")

    is_raw = False

    def __init__(
        self,
        keys: list[Any],
        values: list[Any],
        promises: list[Promise],
        merges: bool = True,
        tail: tuple[Any, ...] = (),
        name: str | None = None,
    ) -> None:
        self.keys = keys
        self.values = values
        self.promises = promises
        self.merges = merges
        self.tail = tail
        self.name = name or ("SET" if values else "GET")

    @property
    def count(self) -> int:
        return len(self.promises)

    def arguments(self) -> Iterator[tuple[Any, ...]]:
        """The arguments of the commands, one by one."""
        return zip(*self._columns(), strict=False)

    def _columns(self) -> list[Sequence[Any] | repeat[Any]]:
        """The first arguments of all commands, their second arguments ..."""
        return [self.keys, self.values, *map(repeat, self.tail)] if self.values else [self.keys]

    def commands(self) -> Iterator[Command]:
        for words, promise in zip(self.arguments(), self.promises, strict=True):
            yield Command((self.name, *words), {}, promise)

    def at(self, places: Sequence[int]) -> CommandRun:
        """The run of the commands at some places."""
        # itemgetter loops in C. For a single place it returns no tuple.
        pick = itemgetter(*places) if len(places) > 1 else lambda items: [items[places[0]]]
        values = list(pick(self.values)) if self.values else []
        keys, promises = list(pick(self.keys)), list(pick(self.promises))
        return CommandRun(keys, values, promises, self.merges, self.tail, self.name)

    def extend(self, run: CommandRun) -> None:
        """Add the commands of another run."""
        self.keys += run.keys
        self.values += run.values
        self.promises += run.promises

    def pack(self, pack: Packer) -> list[tuple[bytes, CommandRun]]:
        if not self.merges or self.tail or len(self.keys) == 1:
            return [(pack.many(repeat(self.name), *self._columns()), self)]
        cuts = [slice(start, start + LONGEST) for start in range(0, len(self.keys), LONGEST)]
        parts = [_MergedRun(self.keys[cut], self.values[cut], self.promises[cut]) for cut in cuts]
        return [(pack(part.words()), part) for part in parts]

    def settle(self, replies: list[Any], answering: Answering) -> bool:
        if not any(issubclass(kind, RedisError) for kind in set(map(type, replies))):
            settle_all(self.promises[: len(replies)], repeat(True) if self.values else replies)
            return True
        answering = answering._replace(callbacks=CALLBACKS)
        fine: list[bool] = []

        def settle(command: Command, reply: Any) -> None:
            fine.append(command.settle([reply], answering))

        for_each(settle, zip(self.commands(), replies, strict=False))
        return all(fine)

    def fail(self, error: BaseException, replies: int) -> None:
        reject_all(self.promises[replies:], error)

    def find_repeatable(self, replies: int) -> CommandRun | None:
        return self.at(range(replies, len(self.keys))) if reads_only(self.name) else None


class _MergedRun(CommandRun):
    """A run that is sent as one MGET or MSET, and has one reply."""

    __slots__ = ()

    count = 1
    #: Each value may fail to be decoded for itself. (The reply of an MSET is "OK" in any case.)
    is_raw = True

    def words(self) -> Sequence[Any]:
        """The words of the one command."""
        if self.values:
            return ("MSET", *chain.from_iterable(zip(self.keys, self.values, strict=True)))
        return ("MGET", *self.keys)

    def settle(self, replies: list[Any], answering: Answering) -> bool:
        (reply,) = replies
        if isinstance(reply, RedisError) and find_outage(reply):
            answering.refused.append((self, reply))
            return True
        name, number = f"M{self.name}", len(self.keys)
        error = reply if isinstance(reply, RedisError) else check_reply(name, number, reply)
        if error is not None:
            self.fail(located(error, answering.host, (name, self.keys[0])), 0)
            return False
        if self.values:
            reply = repeat(True)
        elif answering.decode is not None:
            try:
                reply = list(map(answering.decode, reply))
            except UnicodeDecodeError:
                return super().settle([_decoded(value, answering.decode) for value in reply], answering)
        settle_all(self.promises, reply)
        return True


def _decoded(value: Any, decode: Any) -> Any:
    try:
        return decode(value)
    except UnicodeDecodeError as error:
        return undecodable(error)


Entry = Command | CommandRun
