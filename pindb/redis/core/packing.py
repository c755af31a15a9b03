"""Commands to bytes: with hiredis, or in Python where hiredis is not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

from redis.exceptions import DataError

hiredis: Any
try:
    import hiredis
except ImportError:
    hiredis = None

__all__ = ["Packer"]

Encode = Callable[[Any], bytes]

TEXT = frozenset({str, bytes})
NUMBER = frozenset({int})


class Packer:
    """Packs commands into bytes: those of maps and, as ``command_packer``, those of redis-py's clients.

    Arguments:
        encoder: redis-py's encoder of the connection.

    Raises:
        redis.DataError: (by the methods) a word is no text, bytes or number.
    """

    def __init__(self, encoder: Any) -> None:
        self._encode: Encode = encoder.encode
        is_utf8 = encoder.encoding.replace("-", "").lower() == "utf8" and encoder.encoding_errors == "strict"
        self._fast = hiredis.pack_command if hiredis is not None and is_utf8 else None

    def pack(self, *words: Any) -> list[bytes]:
        """Pack a command for redis-py."""
        return [self.command(words)]

    def command(self, words: Sequence[Any]) -> bytes:
        """Pack a command as redis-py writes it: some names are two words in one."""
        name = words[0] if isinstance(words[0], str) else bytes(words[0])
        if (" " in name) if isinstance(name, str) else (b" " in name):
            words = (*name.split(), *words[1:])
        return self(words)

    def __call__(self, words: Sequence[Any]) -> bytes:
        """Pack a command."""
        if self._fast is None:
            return pack_words(words, self._encode)
        others = set(map(type, words)) - TEXT
        if others:
            if others == NUMBER:
                words = [str(word) if type(word) is int else word for word in words]
            elif not is_text(others):
                words = list(map(self._plain, words))
        return self._fast(tuple(words))  # type: ignore[no-any-return]

    def _plain(self, word: Any) -> Any:
        """Return a word as text or bytes.

        If a signal handler raises an exception while hiredis packs a number, hiredis crashes.
        """
        if isinstance(word, (str, bytes)):
            return word
        if isinstance(word, (bytearray, memoryview)):
            # Of a view with a step, hiredis would take the first bytes of the memory.
            return bytes(word)
        return encode_number(word, self._encode)

    def many(self, *columns: Iterable[Any]) -> bytes:
        """Pack many commands.

        Arguments:
            columns: the first words of all, the second words of all ...; lists, or a `repeat`.
        """
        if self._fast is None:
            return b"".join([pack_words(words, self._encode) for words in zip(*columns, strict=False)])
        plain = [self._plain_column(column) for column in columns]
        return b"".join(map(self._fast, zip(*plain, strict=False)))

    def _plain_column(self, column: Iterable[Any]) -> Iterable[Any]:
        if isinstance(column, repeat):
            return repeat(self._plain(next(column)))
        kinds = set(map(type, column))
        if is_text(kinds - TEXT):
            return column
        return map(str if kinds == NUMBER else self._plain, column)


def is_text(kinds: Iterable[type]) -> bool:
    """Return whether all types are subclasses of text or bytes, as Django's cache keys are."""
    return all(issubclass(kind, (str, bytes)) for kind in kinds)


def pack_words(words: Sequence[Any], encode: Encode) -> bytes:
    """Pack a command in Python."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        value = bytes(encode_number(word, encode) if isinstance(word, int) else encode(word))
        parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(parts)


def encode_number(word: Any, encode: Encode) -> bytes:
    """Return a number, or what else redis-py's encoder takes, as bytes."""
    if isinstance(word, int) and type(word) is not int:
        # A member of an enum, for example: the encoder would send the repr of some.
        raise DataError(
            f"Invalid input of type: {type(word).__name__!r}. Convert to a bytes, string, int or float first."
        )
    return encode(word)
