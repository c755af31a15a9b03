"""Types of keys, and the bytes that are hashed for them."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Key", "key_bytes"]

#: The types of keys. `bool` is not one of them, although it is an `int`.
Key: TypeAlias = str | bytes | bytearray | memoryview | int


def key_bytes(key: Key) -> bytes:
    """Return the bytes that are hashed for `key`.

    Arguments:
        key: text, bytes (`bytes`, `bytearray`, `memoryview`), or an integer.

    Returns:
        Text as UTF-8, bytes as they are, an integer as decimal text.

    Raises:
        TypeError: `key` is of another type. A `bool` is refused: it could mean ``1`` or ``True``.
        UnicodeEncodeError: the text has lone surrogates, which UTF-8 cannot encode.
    """
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, bytes):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        # Subclasses such as IntEnum may define another text; the number counts.
        return int.__repr__(key).encode()
    if isinstance(key, (bytearray, memoryview)):
        return bytes(key)
    raise TypeError(
        f"A key must be str, bytes, bytearray, memoryview or int, not {type(key).__name__}. Convert it, for "
        "example with str(key)."
    )
