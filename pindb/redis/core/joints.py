"""Commands with many keys that are sent as a command for each key, and the one reply that these make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from pindb.redis.core.merging import CommandRun
from pindb.redis.core.promises import Promise

__all__ = ["Joint"]

#: The commands for single keys, where they have other names.
SINGLE = {"MGET": "GET", "MSET": "SET"}

#: Raises AttributeError for a promise that has no value. (A property would be called for each promise.)
_value = Promise.__dict__["value"].__get__


class Joint:
    """One of `pindb.redis.core.splitting.SPLITTABLE`, as a command for each of its keys.

    Arguments:
        name: the command.
        keys: the keys.
        values: the values of an MSET; empty for other commands.

    Attributes:
        run: the single commands.
        promise: the promise of the whole reply.
    """

    __slots__ = ("name", "promise", "run")

    def __init__(self, name: str, keys: list[Any], values: list[Any]) -> None:
        self.name = name
        self.promise = Promise()
        promises = [Promise() for _ in keys]
        self.run = CommandRun(keys, values, promises, merges=False, name=SINGLE.get(name, name))

    def settle(self) -> bool | None:
        """Settle the promise when all parts are. Return whether it succeeded; None if parts are pending."""
        try:
            values = list(map(_value, self.run.promises))
        except AttributeError:
            if any(part.is_pending for part in self.run.promises):
                return None
            try:
                values = list(map(self._value_of, self.run.promises))
            except Exception as error:
                self.promise.reject(error)
                return False
        self.promise.resolve(self._reply(values))
        return True

    def _value_of(self, part: Promise) -> Any:
        """Return the value of a part, or raise its error."""
        if not part.is_rejected:
            return part.value
        if (
            self.name == "MGET"
            and isinstance(part.reason, ResponseError)
            and ": WRONGTYPE " in str(part.reason)
        ):
            # As MGET does.
            return None
        raise part.reason

    def _reply(self, values: Sequence[Any]) -> Any:
        if self.name == "MGET":
            return values
        return True if self.name == "MSET" else sum(values)
