"""Commands to bytes: with hiredis, or in Python where hiredis is not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
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

#: Fewer commands are packed by hiredis, one by one: that is faster then.
FEW = 32


class Packer:
    """Packs commands into bytes: those of maps and, as ``command_packer``, those of redis-py's clients.

    Arguments:
        encoder: redis-py's encoder of the connection.

    Raises:
        redis.DataError: (by the methods) a word is no text, bytes or number.
    """

    def __init__(self, encoder: Any) -> None:
        self._encode: Encode = encoder.encode
        self._is_utf8 = (
            encoder.encoding.replace("-", "").lower() == "utf8" and encoder.encoding_errors == "strict"
        )
        self._fast = hiredis.pack_command if hiredis is not None and self._is_utf8 else None

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

    def many(self, *columns: Sequence[Any] | repeat[Any]) -> bytes:
        """Pack many commands.

        Arguments:
            columns: the first words of all, the second words of all ...; sequences of the same length, or a
                `repeat`.
        """
        if self._fast is not None and is_short(columns):
            plain = [self._plain_column(column) for column in columns]
            return b"".join(map(self._fast, zip(*plain, strict=False)))
        # All that is between the words of one column and those of the next depends on the length of the word
        # alone. So the loops are in C, and faster than a call of hiredis for each command.
        between = b"*%d\r\n" % len(columns)
        written: list[tuple[bytes, Sequence[bytes]]] = []
        for column in columns:
            if isinstance(column, repeat):
                (word,) = self._encoded([next(column)])
                between += b"$%d\r\n%b\r\n" % (len(word), word)
            else:
                written.append((between, self._encoded(column)))
                between = b"\r\n"
        end = between
        pieces: list[Iterable[bytes]] = []
        for between, words in written:
            # The end of each command is written before the next one.
            before = between if pieces else end + between
            lengths = list(map(len, words))
            heads = {length: before + b"$%d\r\n" % length for length in set(lengths)}
            pieces += map(heads.__getitem__, lengths), words
        parts = list(chain.from_iterable(zip(*pieces, strict=False)))
        if parts:
            parts[0] = parts[0][len(end) :]
            parts.append(end)
        return b"".join(parts)

    def _encoded(self, words: Sequence[Any]) -> Sequence[bytes]:
        kinds = set(map(type, words))
        if kinds == {bytes}:
            return words
        if self._is_utf8 and kinds == {str}:
            return list(map(str.encode, words))
        if self._is_utf8 and kinds == NUMBER:
            return list(map(str.encode, map(str, words)))
        if self._fast is None:
            return [encode_word(word, self._encode) for word in words]
        plain = map(self._plain, words)
        return [str.encode(word) if isinstance(word, str) else bytes(word) for word in plain]

    def _plain_column(self, column: Iterable[Any]) -> Iterable[Any]:
        if isinstance(column, repeat):
            return repeat(self._plain(next(column)))
        kinds = set(map(type, column))
        if is_text(kinds - TEXT):
            return column
        return map(str if kinds == NUMBER else self._plain, column)


def is_short(columns: Iterable[Sequence[Any] | repeat[Any]]) -> bool:
    """Return whether there are fewer than `FEW` commands."""
    for column in columns:
        if type(column) is not repeat:
            return len(column) < FEW  # type: ignore[arg-type]
    return False


def is_text(kinds: Iterable[type]) -> bool:
    """Return whether all types are subclasses of text or bytes, as Django's cache keys are."""
    return all(issubclass(kind, (str, bytes)) for kind in kinds)


def pack_words(words: Sequence[Any], encode: Encode) -> bytes:
    """Pack a command in Python."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        value = encode_word(word, encode)
        parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(parts)


def encode_word(word: Any, encode: Encode) -> bytes:
    """Return a word as bytes."""
    return bytes(encode_number(word, encode) if isinstance(word, int) else encode(word))


def encode_number(word: Any, encode: Encode) -> bytes:
    """Return a number, or what else redis-py's encoder takes, as bytes."""
    if isinstance(word, int) and type(word) is not int:
        # A member of an enum, for example: the encoder would send the repr of some.
        raise DataError(
            f"Invalid input of type: {type(word).__name__!r}. Convert to a bytes, string, int or float first."
        )
    return encode(word)
