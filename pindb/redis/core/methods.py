"""The commands that redis-py's methods send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from redis.commands import CoreCommands

__all__ = ["find_command", "find_words"]


class _Found(BaseException):
    """Ends a method when it sends its command; nothing in redis-py catches it.

    Attributes:
        command: the words, and redis-py's options for the reply.
    """

    def __init__(self, words: Sequence[Any], options: dict[str, Any]) -> None:
        super().__init__()
        self.command = words, options


class _Reader(CoreCommands):
    """redis-py's methods for all commands, which send nothing."""

    def execute_command(self, *args: Any, **options: Any) -> NoReturn:
        raise _Found(args, options)


_reader = _Reader()  # type: ignore[abstract]


def find_command(
    attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]] | None:
    """Return the command that a call of one of redis-py's methods sends.

    Arguments:
        attr: the method's name.
        args, kwargs: its arguments.

    Returns:
        The words and redis-py's options for the reply; None if there is no such method, if it sends no
        command at once, or if it does not take these arguments.
    """
    method = getattr(_reader, attr, None)
    if method is None or attr.startswith("_"):
        return None
    try:
        method(*args, **kwargs)
    except _Found as found:
        return found.command if found.command[0] else None
    except Exception:
        # The real call raises the error.
        return None
    return None


def find_words(attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any] | None:
    """Return the words of `find_command`."""
    found = find_command(attr, args, kwargs)
    return None if found is None else found[0]
