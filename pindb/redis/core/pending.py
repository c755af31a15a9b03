"""Commands that wait to be sent: their bytes, and what becomes of their replies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.exceptions import RedisError, ResponseError

from pindb.redis.core.cluster_mode import NamedHost
from pindb.redis.core.errors import located
from pindb.redis.core.outages import find_outage
from pindb.redis.core.packing import Packer
from pindb.redis.core.promises import Promise
from pindb.redis.core.redirects import find_redirect
from pindb.redis.core.retries import reads_only

__all__ = ["Answering", "AskingCommand", "Callbacks", "Command", "FixedCommand"]

#: redis-py's response callbacks, by the command's name in capitals.
Callbacks = Mapping[str, Callable[..., Any]]

#: Options that redis-py takes out before it calls a response callback.
OWN_OPTIONS = frozenset({EMPTY_RESPONSE, NEVER_DECODE, "keys"})


class Answering(NamedTuple):
    """What settling the promises of one server's commands needs.

    Attributes:
        host: the server.
        callbacks: redis-py's response callbacks.
        decode: decodes a value of a reply that came undecoded; None where values stay bytes.
        refused: takes commands, with the error, to which the server replied that it serves nobody now, or
            that another node of its Redis Cluster does. Their promises stay pending.
    """

    host: NamedHost
    callbacks: Callbacks
    decode: Callable[[Any], Any] | None
    refused: list[tuple[Any, RedisError]]


class Command:
    """One command.

    Arguments:
        words: its words.
        options: redis-py's options for the reply.
        promise: the promise of its reply.
    """

    __slots__ = ("options", "promise", "words")

    #: The number of replies.
    count = 1
    #: Whether a node of a Redis Cluster may send it to another one.
    may_move = True

    def __init__(self, words: Sequence[Any], options: dict[str, Any], promise: Promise) -> None:
        self.words = words
        self.options = options
        self.promise = promise

    @property
    def promises(self) -> list[Promise]:
        return [self.promise]

    def commands(self) -> Iterator[Command]:
        """The commands, one by one."""
        yield self

    @property
    def is_raw(self) -> bool:
        """Whether the reader must not decode the reply."""
        return NEVER_DECODE in self.options

    def pack(self, pack: Packer) -> list[tuple[bytes, Command]]:
        """The bytes to send, with what their replies settle."""
        return [(pack.command(self.words), self)]

    def settle(self, replies: list[Any], answering: Answering) -> bool:
        """Settle the promises with the replies; fewer than `count` where the connection broke.

        Returns:
            Whether no reply was an error, but for those of commands in `Answering.refused`.
        """
        (reply,) = replies
        options = self.options
        if isinstance(reply, RedisError):
            if find_outage(reply) or self._is_moved(reply, answering.host):
                answering.refused.append((self, reply))
            elif EMPTY_RESPONSE in options and isinstance(reply, ResponseError):
                self.promise.resolve(options[EMPTY_RESPONSE])
            else:
                self.promise.reject(located(reply, answering.host, self.words[:2]))
                return False
            return True
        name, callbacks = self.words[0], answering.callbacks
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

    def _is_moved(self, error: RedisError, host: NamedHost) -> bool:
        return self.may_move and host.follows_redirects and find_redirect(error) is not None

    def fail(self, error: BaseException, replies: int) -> None:
        """Reject the promises, but for those to which there were so many `replies`."""
        self.promise.reject(error)

    def find_repeatable(self, replies: int) -> Command | None:
        """Return what may be sent again after only so many `replies` came; None where that may do harm."""
        return self if reads_only(self.words[0]) else None


class FixedCommand(Command):
    """A command for a host that the caller has named."""

    __slots__ = ()

    may_move = False


class AskingCommand(Command):
    """A command for the node to which its hash slot is being moved; see `pindb.redis.core.redirects`."""

    __slots__ = ()

    count = 2

    @classmethod
    def of(cls, command: Command) -> AskingCommand:
        """Return a command with ASKING before it."""
        return cls(command.words, command.options, command.promise)

    def pack(self, pack: Packer) -> list[tuple[bytes, Command]]:
        return [(pack(("ASKING",)) + pack.command(self.words), self)]

    def settle(self, replies: list[Any], answering: Answering) -> bool:
        return super().settle(replies[1:], answering) if len(replies) == self.count else True
