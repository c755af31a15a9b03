"""Bytes to replies: with hiredis, or in Python where hiredis is not installed.

Source: the specifications of RESP2 and RESP3. Each type becomes what redis-py's own parsers make of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.exceptions import InvalidResponse, ResponseError

from pindb.redis.core.packing import hiredis

__all__ = [
    "NOT_ENOUGH",
    "PUSH",
    "UNREADABLE",
    "ErrorParser",
    "PythonReader",
    "holds_part",
    "make_reader",
    "unreadable",
]

#: What a reader returns while it has no complete reply.
NOT_ENOUGH: Any = object()


class PushMessage(list[Any]):
    """A push message, which answers no command."""


#: The types of push messages, of both readers.
PUSH: frozenset[type] = frozenset({PushMessage, getattr(hiredis, "PushNotification", PushMessage)})


#: What readers raise for bytes that are no reply, and for replies that Python cannot represent: a map with a
#: list as a key, more items than fit into memory. Nothing that follows can be read.
UNREADABLE: tuple[type[Exception], ...] = (
    InvalidResponse,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def unreadable(error: Exception) -> InvalidResponse:
    """Return an exception of a reader as one of redis-py's."""
    if isinstance(error, InvalidResponse):
        return error
    return InvalidResponse(f"Protocol error: {type(error).__name__}: {error}")


class ErrorParser:
    """Makes exceptions of error replies as redis-py does; a `ResponseError` where redis-py itself fails.

    Arguments:
        parse: redis-py's function.
    """

    __slots__ = ("_parse",)

    def __init__(self, parse: Callable[[str], Exception]) -> None:
        self._parse = parse

    def __call__(self, text: str) -> Exception:
        try:
            return self._parse(text)
        except Exception:
            # A MOVED without an address, say.
            return ResponseError(text)


def make_reader(encoder: Any, parse_error: Callable[[str], Exception]) -> Any:
    """Return a reader (``feed(buffer, start, length)``, ``gets()``) for the replies on a connection.

    Arguments:
        encoder: redis-py's encoder of the connection.
        parse_error: redis-py's function that makes exceptions of error replies.
    """
    parse_error = ErrorParser(parse_error)
    encoding = encoder.encoding if encoder.decode_responses else None
    if hiredis is None:
        return PythonReader(parse_error, encoding, encoder.encoding_errors)
    return hiredis.Reader(
        protocolError=InvalidResponse,
        replyError=parse_error,
        encoding=encoding,
        errors=encoder.encoding_errors,
        notEnoughData=NOT_ENOUGH,
    )


def holds_part(reader: Any) -> bool:
    """Return whether a reader has the beginning of a reply. If not, the reader can still be used."""
    if reader.has_data():
        return True
    if isinstance(reader, PythonReader):
        return False
    # hiredis does not tell that it has read a type or a length.
    reader.feed(b":7\r\n")
    try:
        reply = reader.gets()
    except Exception:
        return True
    return type(reply) is not int or reply != 7


#: The types of replies that have a length, and after it bytes, or other replies.
TEXTS = frozenset({b"$", b"=", b"!"})
NESTED = frozenset({b"*", b"~", b"%", b">", b"|"})

#: The longest text, and the most items, that a reply may have, as in hiredis.
LONGEST = 2**63 - 1
MOST = 2**32 - 1

#: How deeply replies may be nested: Python could not compare or show deeper ones.
DEEPEST = 512

#: Stands for a reply that is not complete.
_PART: Any = object()


class PythonReader:
    """Reads replies from bytes that come in any pieces, with the interface of ``hiredis.Reader``.

    Arguments:
        parse_error: makes an exception of an error reply's text.
        encoding: decode text with it; None leaves bytes.
        errors: what to do with bytes that are not in the encoding.
    """

    def __init__(
        self, parse_error: Callable[[str], Exception], encoding: str | None, errors: str = "strict"
    ) -> None:
        self._parse_error = parse_error
        self._encoding = encoding
        self._errors = errors
        self._buffer = bytearray()
        self._position = 0
        # No line ends before this position.
        self._searched = 0
        # The incomplete replies that contain each other, from the outermost in: kind, length, items.
        self._nested: list[tuple[bytes, int, list[Any]]] = []
        self._decodes = True
        self._undecodable: UnicodeDecodeError | None = None

    def feed(self, data: Any, start: int = 0, length: int = -1) -> None:
        """Add bytes: `length` bytes of `data` from `start` on, or all the rest."""
        self._buffer += data[start:] if length < 0 else memoryview(data)[start : start + length]

    def gets(self, should_decode: bool = True) -> Any:
        """Return the next reply, or `NOT_ENOUGH`. An error reply is an exception, which is not raised.

        Arguments:
            should_decode: False leaves bytes undecoded.

        Raises:
            redis.InvalidResponse: the bytes are no reply; nothing that follows can be read.
            UnicodeDecodeError: the reply has text that is not in the encoding; the next one can be read.
        """
        self._decodes = should_decode and self._encoding is not None
        try:
            reply = self._read()
        except (TypeError, ValueError) as error:
            raise InvalidResponse(f"Protocol error: {error}") from error
        if reply is _PART:
            return NOT_ENOUGH
        # Bytes that were read are dropped once for many replies.
        if self._position > 65536 or self._position == len(self._buffer):
            del self._buffer[: self._position]
            self._position = self._searched = 0
        undecodable, self._undecodable = self._undecodable, None
        if undecodable is not None:
            raise undecodable from None
        return reply

    def has_data(self) -> bool:
        """Return whether there are bytes of an incomplete reply."""
        return bool(self._nested) or len(self._buffer) > self._position

    def _read(self) -> Any:
        """Return the next reply, or `_PART`."""
        nested = self._nested
        while True:
            reply = self._read_one()
            if reply is _PART:
                return reply
            if type(reply) is tuple:
                nested.append(reply)
                if len(nested) > DEEPEST:
                    raise ValueError(f"replies in replies, more than {DEEPEST} deep")
            elif nested:
                nested[-1][2].append(reply)
            else:
                return reply
            while nested and len(nested[-1][2]) == nested[-1][1]:
                kind, _, items = nested.pop()
                if kind == b"|":
                    # Attributes belong to the reply that follows, and are no items.
                    break
                whole: Any = items
                if kind == b"%":
                    whole = dict(zip(items[::2], items[1::2], strict=True))
                elif kind == b">":
                    whole = PushMessage(items)
                if not nested:
                    return whole
                nested[-1][2].append(whole)

    def _read_one(self) -> Any:
        """Return the next reply; the beginning of `_nested` if it contains others; `_PART` if incomplete."""
        buffer, start = self._buffer, self._position
        end = buffer.find(b"\r\n", max(start, self._searched))
        if end < 0:
            self._searched = max(start, len(buffer) - 1)
            return _PART
        line = bytes(buffer[start:end])
        kind, rest = line[:1], line[1:]
        after = end + 2
        if kind in TEXTS:
            length = _read_length(rest, LONGEST, kind != b"!")
            if length is not None:
                if len(buffer) < after + length + 2:
                    return _PART
                text = bytes(buffer[after : after + length])
                after += length
                if buffer[after : after + 2] != b"\r\n":
                    raise ValueError(f"{length} bytes do not end with the line")
                after += 2
            self._position = self._searched = after
            if length is None:
                return None
            if kind == b"!":
                return self._parse_error(text.decode("utf-8", "replace"))
            return self._text(text if kind == b"$" else text[4:])
        self._position = self._searched = after
        if kind == b"+":
            return self._text(rest)
        if kind in (b":", b"("):
            return _read_number(rest)
        if kind == b"-":
            return self._parse_error(rest.decode("utf-8", "replace"))
        if kind in NESTED:
            length = _read_length(rest, MOST, kind in b"*~%")
            if length is None:
                return None
            return kind, length * 2 if kind in b"%|" else length, []
        if kind == b"_" and not rest:
            return None
        if kind == b"#" and rest in (b"t", b"f"):
            return rest == b"t"
        if kind == b",":
            return float(rest)
        raise ValueError(f"a reply that starts with {line[:20]!r}")

    def _text(self, value: bytes) -> Any:
        if not self._decodes:
            return value
        try:
            return value.decode(self._encoding or "", self._errors)
        except UnicodeDecodeError as error:
            # The rest of the reply has to be read before this is raised.
            self._undecodable = self._undecodable or error
            return None


def _read_number(digits: bytes) -> int:
    if not digits.lstrip(b"+-").isdigit():
        raise ValueError(f"a number {digits[:20]!r}")
    return int(digits)


def _read_length(digits: bytes, most: int, may_be_none: bool) -> int | None:
    """Return a length, or None for -1, which stands for "no value"."""
    if digits == b"-1" and may_be_none:
        return None
    length = int(digits) if digits.isdigit() and len(digits) < 20 else -1
    if not 0 <= length <= most:
        raise ValueError(f"a length {digits[:20]!r}")
    return length
