"""Names of commands, which may be text, bytes, or members of an enum."""

from __future__ import annotations

from typing import Any

__all__ = ["read_word", "with_plain_name"]


def read_word(word: Any) -> str:
    """Return a word of a command as the server reads it."""
    if isinstance(word, str):
        # str() of a member of an enum is not the text that is sent.
        return str.__str__(word)
    if isinstance(word, (bytes, bytearray, memoryview)):
        return bytes(word).decode("latin-1")
    return str(word)


def with_plain_name(words: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a command whose name is a plain `str` or `bytes`, for code that checks its type or its hash."""
    name = words[0]
    if isinstance(name, str):
        return (str.__str__(name), *words[1:])
    if isinstance(name, (bytearray, memoryview)):
        return (bytes(name), *words[1:])
    return words
