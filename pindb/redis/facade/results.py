"""Deferred results of maps, which act as their values after the end of the block."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pindb.redis.core.promises import Promise
from pindb.redis.exceptions import CommandCancelled, ResultPending

__all__ = ["Result", "get_outcome", "get_value", "get_values"]

_value = Promise.__dict__["value"].__get__


class Result:
    """Deferred result of a call in a map. After the end of the block, it acts as the value.

    It compares, calculates, iterates, formats and pickles like the value, and passes `isinstance` tests for
    the type of the value. The result of a failed call acts as the exception. Using a result before the end of
    the block raises `ResultPending`. Code that bypasses the methods of an object (``b"".join``,
    ``json.dumps``, C extensions) needs `get_value`.
    """

    __slots__ = ("_pindb_promise",)

    def __init__(self, promise: Promise) -> None:
        self._pindb_promise = promise

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        return type(get_value(self))

    @property
    def is_error(self) -> bool:
        """Whether the call failed, so that the value is an exception."""
        get_value(self)
        return bool(self._pindb_promise.is_rejected)

    def __getattr__(self, name: str) -> Any:
        return getattr(get_value(self), name)

    def __dir__(self) -> list[str]:
        return dir(get_value(self))

    def __repr__(self) -> str:
        # Debuggers and logs may show results before the end of the block: never raise here.
        promise = self._pindb_promise
        if promise.is_pending:
            return "<Result pending>"
        if promise.is_rejected and isinstance(promise.reason, CommandCancelled):
            return "<Result cancelled>"
        return repr(get_outcome(promise))

    def __round__(self, digits: int | None = None) -> Any:
        return round(get_value(self), digits)

    def __pow__(self, exponent: Any, modulus: Any = None) -> Any:
        return pow(get_value(self), get_value(exponent), get_value(modulus))

    def __rpow__(self, base: Any) -> Any:
        return pow(get_value(base), get_value(self))

    def __setitem__(self, item: Any, value: Any) -> None:
        get_value(self)[get_value(item)] = value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Copy and pickle the value.
        return get_value, (get_value(self),)


def get_value(result: Any) -> Any:
    """Return the plain value of a `Result`. Any other object is returned as it is.

    Raises:
        ResultPending: the block of the map has not ended.
        CommandCancelled: the block has ended with an exception, and the command was never sent.
    """
    if type(result) is not Result:
        return result
    promise = result._pindb_promise
    try:
        return _value(promise)
    except AttributeError:
        return get_outcome(promise)


def get_values(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with each `Result` replaced by its value."""
    return tuple(map(get_value, args)), {name: get_value(value) for name, value in kwargs.items()}


def get_outcome(promise: Promise) -> Any:
    """Return the value of a settled promise, or its exception.

    Raises:
        ResultPending: the promise is not settled.
        CommandCancelled: the command was never sent.
    """
    if promise.is_resolved:
        return promise.value
    if promise.is_pending:
        raise ResultPending(
            "The commands of this map have not been sent yet. Use their results after the with block, or "
            "call join() before."
        )
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
    "copy": copy.copy,
}
ARITHMETIC = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "lshift", "rshift")
REFLECTED: dict[str, Callable[[Any, Any], Any]] = {
    **{name: getattr(operator, f"__{name}__") for name in (*ARITHMETIC, "and", "or", "xor")},
    "divmod": divmod,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    **{name: getattr(operator, name) for name in ("lt", "le", "eq", "ne", "gt", "ge")},
    **{name: getattr(operator, name) for name in ("getitem", "delitem", "contains")},
    "format": format,
    **REFLECTED,
}

for _name, _call in UNARY.items():
    setattr(Result, f"__{_name}__", _unary(_call))
for _name, _both in REFLECTED.items():
    setattr(Result, f"__r{_name}__", _reflected(_both))
for _name, _both in BINARY.items():
    setattr(Result, f"__{_name}__", _binary(_both))
