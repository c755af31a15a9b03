"""Names of commands, in whatever type they are written."""

from __future__ import annotations

from typing import Any

__all__ = ["read_word", "with_plain_name"]


def read_word(word: Any) -> str:
    """A word of a command as the server reads it: of bytes, of a member of an enum, or of anything else."""
    if isinstance(word, str):
        # What str() makes of a member of an enum is not what is sent.
        return str.__str__(word)
    if isinstance(word, (bytes, bytearray, memoryview)):
        return bytes(word).decode("latin-1")
    return str(word)


def with_plain_name(words: tuple[Any, ...]) -> tuple[Any, ...]:
    """A command whose name is a plain `str` or `bytes`, for what looks at it by its type or its hash."""
    name = words[0]
    if isinstance(name, str):
        return (str.__str__(name), *words[1:])
    if isinstance(name, (bytearray, memoryview)):
        return (bytes(name), *words[1:])
    return words
