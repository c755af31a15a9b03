"""Redis's wire format: commands to bytes, and bytes to replies; by hiredis, or in Python where there is none.

Source: the RESP2 and RESP3 specifications of Redis. What redis-py's own parsers make of each type, this makes
of it too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import repeat
from typing import Any

from redis.exceptions import DataError, InvalidResponse

hiredis: Any
try:
    import hiredis
except ImportError:
    hiredis = None

__all__ = ["NOT_ENOUGH", "PUSH", "Packer", "PythonReader", "Serializer", "make_reader"]

#: What a reader gives while it has no whole reply.
NOT_ENOUGH: Any = object()

Encode = Callable[[Any], bytes]

TEXT = frozenset({str, bytes})
NUMBER = frozenset({int})


class PushMessage(list[Any]):
    """A message that the server sent without being asked."""


#: The types of such messages, of either reader.
PUSH: frozenset[type] = frozenset({PushMessage, getattr(hiredis, "PushNotification", PushMessage)})


class Packer:
    """Turns commands into bytes.

    Arguments:
        encoder: redis-py's encoder of the connection.

    Raises:
        redis.DataError: by its calls, for a word that is no text, bytes or number.
    """

    def __init__(self, encoder: Any) -> None:
        self._encode: Encode = encoder.encode
        is_utf8 = encoder.encoding.replace("-", "").lower() == "utf8" and encoder.encoding_errors == "strict"
        self._fast = hiredis.pack_command if hiredis is not None and is_utf8 else None

    def __call__(self, words: Sequence[Any]) -> bytes:
        """One command."""
        if self._fast is None:
            return pack_words(words, self._encode)
        if not TEXT.issuperset(map(type, words)):
            words = [
                word if type(word) in TEXT else str(word) if type(word) is int else self._plain(word)
                for word in words
            ]
        return self._fast(tuple(words))  # type: ignore[no-any-return]

    def _plain(self, word: Any) -> Any:
        """A word as text or bytes.

        hiredis crashes where the handler of a signal raises an exception while it packs a number.
        """
        if isinstance(word, (str, bytes)):
            return word
        if isinstance(word, (bytearray, memoryview)):
            # hiredis takes the first bytes of the memory of a view that leaves some out.
            return bytes(word)
        return encode_number(word, self._encode)

    def many(self, *columns: Iterable[Any]) -> bytes:
        """Many commands at once.

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
        if kinds <= TEXT:
            return column
        return map(str if kinds == NUMBER else self._plain, column)


class Serializer:
    """Packs single commands for redis-py's connections as maps are packed.

    Arguments:
        encoder: redis-py's encoder of the connections.
    """

    def __init__(self, encoder: Any) -> None:
        self._pack = Packer(encoder)

    def pack(self, *words: Any) -> list[bytes]:
        """Pack a command, whose name may be two words in one."""
        name = words[0] if isinstance(words[0], str) else bytes(words[0])
        if (" " in name) if isinstance(name, str) else (b" " in name):
            words = (*name.split(), *words[1:])
        return [self._pack(words)]


def pack_words(words: Sequence[Any], encode: Encode) -> bytes:
    """A command's words as bytes."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        value = bytes(encode_number(word, encode) if isinstance(word, int) else encode(word))
        parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(parts)


def encode_number(word: Any, encode: Encode) -> bytes:
    """A number as bytes; what is none, as redis-py's encoder has it, or refuses it."""
    if isinstance(word, int) and type(word) is not int:
        # Of an enum, say: the encoder takes some for their repr, and hiredis takes none.
        raise DataError(
            f"Invalid input of type: {type(word).__name__!r}. Convert to a bytes, string, int or float first."
        )
    return encode(word)


def make_reader(connection: Any) -> Any:
    """A reader (``feed(buffer, start, length)``, ``gets()``) for the replies on a redis-py connection."""
    encoder = connection.encoder
    parse_error = connection._parser.parse_error
    encoding = encoder.encoding if encoder.decode_responses else None
    if hiredis is None:
        return PythonReader(parse_error, encoding, encoder.encoding_errors)
    options = {
        "protocolError": InvalidResponse,
        "replyError": parse_error,
        "errors": encoder.encoding_errors,
        "notEnoughData": NOT_ENOUGH,
    }
    if encoding is not None:
        options["encoding"] = encoding
    return hiredis.Reader(**options)


class PythonReader:
    """Reads replies, in whatever pieces their bytes come. Has the interface of ``hiredis.Reader``.

    Arguments:
        parse_error: makes an exception of an error reply's text.
        encoding: decode text with it; None leaves bytes.
        errors: how to treat what is not in that encoding.
    """

    def __init__(
        self, parse_error: Callable[[str], Exception], encoding: str | None, errors: str = "strict"
    ) -> None:
        self._parse_error = parse_error
        self._encoding = encoding
        self._errors = errors
        self._buffer = bytearray()
        self._position = 0
        # Where the reply begins that is being read.
        self._began = 0
        self._decodes = True
        self._undecodable: UnicodeDecodeError | None = None
        self._reply = self._read()

    def feed(self, data: Any, start: int = 0, length: int = -1) -> None:
        """Take more bytes: `length` of `data` from `start` on, or all the rest."""
        self._buffer += data[start:] if length < 0 else memoryview(data)[start : start + length]

    def gets(self, should_decode: bool = True) -> Any:
        """The next reply, or `NOT_ENOUGH`. An error reply is an exception, given and not raised.

        Arguments:
            should_decode: False leaves bytes, whatever the encoding.

        Raises:
            redis.InvalidResponse: the bytes are no reply; nothing that follows can be read.
            UnicodeDecodeError: the reply has text that is not in the encoding; the next one can be read.
        """
        self._decodes = should_decode and self._encoding is not None
        try:
            next(self._reply)
        except StopIteration as end:
            # What was read is dropped once for many replies.
            if self._position > 65536 or self._position == len(self._buffer):
                del self._buffer[: self._position]
                self._position = 0
            self._began = self._position
            self._reply = self._read()
            error, self._undecodable = self._undecodable, None
            if error is not None:
                raise error from None
            return end.value
        except ValueError as error:
            raise InvalidResponse(f"Protocol error: {error}") from error
        return NOT_ENOUGH

    def has_data(self) -> bool:
        """Whether there are bytes of a reply that is not whole."""
        return len(self._buffer) > self._began

    def _line(self) -> Generator[None, None, bytes]:
        start = searched = self._position
        while (end := self._buffer.find(b"\r\n", searched)) < 0:
            searched = max(start, len(self._buffer) - 1)
            yield
        self._position = end + 2
        return bytes(self._buffer[start:end])

    def _bytes(self, length: int) -> Generator[None, None, bytes]:
        while len(self._buffer) < self._position + length + 2:
            yield
        start = self._position
        self._position += length + 2
        return bytes(self._buffer[start : start + length])

    def _text(self, value: bytes) -> Any:
        if not self._decodes:
            return value
        try:
            return value.decode(self._encoding or "", self._errors)
        except UnicodeDecodeError as error:
            # The rest of the reply has to be read first.
            self._undecodable = self._undecodable or error
            return None

    def _many(self, count: int) -> Generator[None, None, list[Any]]:
        items = []
        for _ in range(count):
            items.append((yield from self._read()))  # noqa: PERF401 (no comprehension can yield)
        return items

    def _read(self) -> Generator[None, None, Any]:
        line = yield from self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return self._text(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._text((yield from self._bytes(int(rest))))
        if kind in (b":", b"("):
            return int(rest)
        if kind == b"*":
            return None if rest == b"-1" else (yield from self._many(int(rest)))
        if kind == b"-":
            return self._parse_error(rest.decode("utf-8", "replace"))
        if kind == b"!":
            return self._parse_error((yield from self._bytes(int(rest))).decode("utf-8", "replace"))
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind == b",":
            return float(rest)
        if kind == b"=":
            return self._text((yield from self._bytes(int(rest)))[4:])
        if kind == b"%":
            items = yield from self._many(2 * int(rest))
            return dict(zip(items[::2], items[1::2], strict=True))
        if kind == b"~":
            return (yield from self._many(int(rest)))
        if kind == b">":
            return PushMessage((yield from self._many(int(rest))))
        if kind == b"|":
            yield from self._many(2 * int(rest))
            return (yield from self._read())
        raise InvalidResponse(f"Protocol error: a reply that starts with {line[:20]!r}")
