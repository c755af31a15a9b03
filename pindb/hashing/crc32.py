"""Placement by remainder: the signed CRC-32 of a key modulo the number of hosts.

The CRC is zlib's (ISO 3309). rb and Nydus take it as a signed number, as Python 2 gave it, so it is signed
here too: both place each key on the same host as `partition` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from pindb.hashing.keys import Key, key_bytes

__all__ = ["partition", "partition_many"]

_encode = str.encode


def partition(key: Key, n: int) -> int:
    """Which of `n` hosts has `key`.

    When `n` changes, most keys move. `Ketama` moves few.

    Arguments:
        key: what is placed; see `key_bytes`.
        n: the number of hosts.

    Returns:
        0 ... `n` - 1.

    Raises:
        TypeError: `key` is not text, bytes or an integer.
        ValueError: `n` is less than 1.
    """
    if n < 1:
        raise _no_hosts(n)
    try:
        crc = crc32(_encode(key))  # type: ignore[arg-type]
    except TypeError:
        crc = crc32(key_bytes(key))
    # The upper half of the unsigned numbers are the negative ones.
    if crc > 0x7FFFFFFF:
        crc -= 0x100000000
    return crc % n


def partition_many(keys: Iterable[Key], n: int) -> list[int]:
    """`partition` of each of many keys, at less than half the cost of so many calls.

    Arguments:
        keys: what is placed. Keys that are all text, or all `bytes`, are the fastest.
        n: the number of hosts.

    Returns:
        For each key which host has it, in the order of the keys.

    Raises:
        TypeError: a key is not text, bytes or an integer.
        ValueError: `n` is less than 1.
    """
    if n < 1:
        raise _no_hosts(n)
    if not isinstance(keys, (list, tuple)):
        keys = list(keys)
    types = set(map(type, keys))
    if types == {str}:
        crcs = map(crc32, map(_encode, keys))
    elif types == {bytes}:
        crcs = map(crc32, keys)
    else:
        crcs = map(crc32, map(key_bytes, keys))
    # Where n divides 2 ** 32, signed and unsigned numbers have the same remainder.
    if not 0x100000000 % n:
        return [crc % n for crc in crcs]
    return [crc % n if crc <= 0x7FFFFFFF else (crc - 0x100000000) % n for crc in crcs]


def _no_hosts(n: int) -> ValueError:
    return ValueError(f"There must be at least 1 host to place keys on, not {n!r}.")
