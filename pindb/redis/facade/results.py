"""Results that are there at the end of a block, and then are their values."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from pindb.redis.core.promises import Promise
from pindb.redis.exceptions import CommandCancelled, ResultPending

__all__ = ["Result", "get_value", "get_values", "results_of"]

_value = Promise.__dict__["value"].__get__


class Result:
    """The result of a command in a map: from the end of the block on it acts as its value.

    It compares, counts, iterates, formats and pickles as the value does, and `isinstance` takes it for one;
    that of a command that failed acts as the exception. Before, using it raises `ResultPending`. What looks
    past the methods of an object (``b"".join``, ``json.dumps``, a C extension) needs `get_value`.
    """

    __slots__ = ("_pindb_promise",)

    def __init__(self, promise: Promise) -> None:
        self._pindb_promise = promise

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        return type(get_value(self))

    @property
    def is_error(self) -> bool:
        """Whether the command failed, so that this is an exception."""
        get_value(self)
        return bool(self._pindb_promise.is_rejected)

    def __getattr__(self, name: str) -> Any:
        return getattr(get_value(self), name)

    def __dir__(self) -> list[str]:
        return dir(get_value(self))

    def __repr__(self) -> str:
        # Debuggers and logs show results as they are, whenever that is.
        promise = self._pindb_promise
        if promise.is_pending:
            return "<Result that is not there yet>"
        if promise.is_rejected and isinstance(promise.reason, CommandCancelled):
            return "<Result of a command that was cancelled>"
        return repr(_plain(promise))

    def __getitem__(self, item: Any) -> Any:
        return get_value(self)[get_value(item)]

    def __setitem__(self, item: Any, value: Any) -> None:
        get_value(self)[get_value(item)] = value

    def __delitem__(self, item: Any) -> None:
        del get_value(self)[get_value(item)]

    def __contains__(self, item: Any) -> bool:
        return get_value(item) in get_value(self)

    def __format__(self, specification: str) -> str:
        return format(get_value(self), specification)

    def __round__(self, digits: int | None = None) -> Any:
        return round(get_value(self), digits)

    def __pow__(self, exponent: Any, modulus: Any = None) -> Any:
        return pow(get_value(self), get_value(exponent), get_value(modulus))

    def __rpow__(self, base: Any) -> Any:
        return pow(get_value(base), get_value(self))

    def __copy__(self) -> Any:
        return copy.copy(get_value(self))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Copies and pickles are the value's.
        return get_value, (get_value(self),)


def get_value(result: Any) -> Any:
    """The plain value of a `Result`; anything else as it is.

    Raises:
        ResultPending: the block of its map has not ended.
        CommandCancelled: the block was left with an exception, so its command was never sent.
    """
    if type(result) is not Result:
        return result
    promise = result._pindb_promise
    try:
        return _value(promise)
    except AttributeError:
        return _plain(promise)


def get_values(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with values in place of the results of maps."""
    return tuple(map(get_value, args)), {name: get_value(value) for name, value in kwargs.items()}


def results_of(issued: Sequence[Promise | list[Promise]] | None) -> list[Any]:
    """The values of a map's promises, in their order.

    Arguments:
        issued: promises, and lists of them; None: they have not been sent.

    Raises:
        ResultPending: they have not been sent.
        CommandCancelled: they never will be.
    """
    if issued is None:
        raise _pending()
    flat = (each if isinstance(each, list) else [each] for each in issued)
    return [_plain(promise) for promise in chain.from_iterable(flat)]


def _pending() -> ResultPending:
    return ResultPending(
        "The commands of this map have not been sent yet: their results are there after the with block."
    )


def _plain(promise: Promise) -> Any:
    """The value of a promise that is settled, or the reason of its rejection in the value's place."""
    if promise.is_resolved:
        return promise.value
    if promise.is_pending:
        raise _pending()
    if isinstance(promise.reason, CommandCancelled):
        raise promise.reason
    return promise.reason


def _unary(call: Callable[[Any], Any]) -> Callable[[Result], Any]:
    return lambda self: call(get_value(self))


def _binary(call: Callable[[Any, Any], Any]) -> Callable[[Result, Any], Any]:
    return lambda self, other: call(get_value(self), get_value(other))


def _reflected(call: Callable[[Any, Any], Any]) -> Callable[[Result, Any], Any]:
    return lambda self, other: call(get_value(other), get_value(self))


UNARY: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(operator, name) for name in ("neg", "pos", "abs", "invert", "index")},
    **{kind.__name__: kind for kind in (bool, int, float, complex, str, bytes)},
    **{call.__name__: call for call in (len, iter, reversed, hash, math.trunc, math.floor, math.ceil)},
}
ARITHMETIC = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "lshift", "rshift")
REFLECTED: dict[str, Callable[[Any, Any], Any]] = {
    **{name: getattr(operator, f"__{name}__") for name in (*ARITHMETIC, "and", "or", "xor")},
    "divmod": divmod,
}
COMPARED = ("lt", "le", "eq", "ne", "gt", "ge")

for _name, _call in UNARY.items():
    setattr(Result, f"__{_name}__", _unary(_call))
for _name, _both in REFLECTED.items():
    setattr(Result, f"__{_name}__", _binary(_both))
    setattr(Result, f"__r{_name}__", _reflected(_both))
for _name in COMPARED:
    setattr(Result, f"__{_name}__", _binary(getattr(operator, _name)))
