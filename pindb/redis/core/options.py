"""Options from settings: classes by their dotted paths, names of options, values in error messages."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from pindb.redis.exceptions import ClusterConfigError

__all__ = ["check_names", "keywords", "load_class", "read_dict", "read_retries", "shown"]


def shown(value: Any) -> str:
    """Return a value from settings for an error message, without passwords.

    Text before an ``@`` and after a ``?`` is left out. Containers and other objects are shown as their type.
    """
    if isinstance(value, (str, bytes)):
        text = value if isinstance(value, str) else value.decode("latin-1")
        start = text.find("://") + 3 if "://" in text else 0
        end = text.rfind("@") + 1
        if end > start:
            text = f"{text[:start]}***@{text[end:]}"
        text, mark, _ = text.partition("?")
        return repr(f"{text}?***" if mark else text)
    if value is None or isinstance(value, (bool, int, float, type)):
        return repr(value)
    return f"of the type {type(value).__name__}"


def load_class(what: str, value: Any, short: Mapping[str, type[Any] | str]) -> type[Any]:
    """Return a class from settings.

    Arguments:
        what: the name of the setting.
        value: the class, its dotted path, or one of the short names.
        short: classes, or their dotted paths, by short names.

    Raises:
        ClusterConfigError: there is no such class; the message lists the short names.
    """
    if isinstance(value, type):
        return value
    known = ", ".join(map(repr, short))
    ways = f"Write one of {known}, or a class or its dotted path."
    if not isinstance(value, str):
        raise ClusterConfigError(f"{what} is {shown(value)}. {ways}")
    if value in short:
        return load_class(what, short[value], {})
    module, _, name = value.rpartition(".")
    # A URL must not get into the error of an import: it may hold a password.
    if not module or "://" in value or "@" in value:
        raise ClusterConfigError(f"{what} is {shown(value)}, which is no {what} that pindb knows. {ways}")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ClusterConfigError(f"{what} is {value!r}, which cannot be imported: {error}. {ways}") from error
    if not isinstance(found, type):
        raise ClusterConfigError(f"{what} is {value!r}, which is no class. {ways}")
    return found


def check_names(what: str, given: Mapping[Any, Any], allowed: frozenset[str]) -> None:
    """Raise `ClusterConfigError` if `given` has names that are not allowed."""
    unknown = sorted(shown(name).strip("'") for name in given.keys() - allowed)
    if unknown:
        raise ClusterConfigError(
            f"{what} has unknown options: {', '.join(unknown)}. There are: {', '.join(sorted(allowed))}."
        )


def keywords(call: Callable[..., Any], positional: int) -> frozenset[str] | None:
    """Return the keyword arguments of a function after so many positional ones; None: any are allowed."""
    parameters = list(inspect.signature(call).parameters.values())[positional:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


def read_dict(name: str, value: Any) -> dict[str, Any]:
    """Return a copy of a dict from settings; an empty dict for None.

    Raises:
        ClusterConfigError: the value is not a dict.
    """
    if value is not None and not isinstance(value, Mapping):
        raise ClusterConfigError(f"{name} is a {type(value).__name__}. Write a dict.")
    return dict(value or {})


def read_retries(value: Any) -> int:
    """Return the setting ``max_connection_retries``.

    Raises:
        ClusterConfigError: the value is not a number of retries.
    """
    if type(value) is not int or value < 0:
        raise ClusterConfigError(f"max_connection_retries is {shown(value)}. Write a number: 0 or more.")
    return value
