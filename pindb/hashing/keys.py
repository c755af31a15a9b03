"""What a key is: the bytes that are hashed."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Key", "key_bytes"]

#: What can be placed. A `bool` cannot, although it is an `int`.
Key: TypeAlias = str | bytes | bytearray | memoryview | int


def key_bytes(key: Key) -> bytes:
    """The bytes that stand for `key` wherever a key is hashed.

    Arguments:
        key: text, bytes (`bytes`, `bytearray`, `memoryview`), or an integer.

    Returns:
        Text as UTF-8, bytes as they are, an integer as decimal text.

    Raises:
        TypeError: `key` is of another type. A `bool` is refused: it could mean ``1`` or ``True``.
        UnicodeEncodeError: text with lone surrogates has no UTF-8.
    """
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, bytes):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        # A subclass such as IntEnum may have a text of its own; the number counts.
        return int.__repr__(key).encode()
    if isinstance(key, (bytearray, memoryview)):
        return bytes(key)
    raise TypeError(
        f"A key is str, bytes, bytearray, memoryview or int, not {type(key).__name__}. "
        "Convert it first, for example with str(key)."
    )
