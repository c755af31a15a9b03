"""Placement by remainder: the signed CRC-32 of a key modulo the number of hosts.

The CRC is zlib's (ISO 3309). rb and Nydus take it as a signed number, as Python 2 gave it, so it is signed
here too: both place each key on the same host as `partition` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

from pindb.hashing.keys import Key, key_bytes

__all__ = ["partition", "partition_groups", "partition_many"]


def partition(key: Key, n: int) -> int:
    """Which of `n` hosts has `key`.

    When `n` changes, most keys move. On a `Ketama` ring few do.

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
    # Whoever routes many keys calls this for each, so a call of key_bytes is saved for what most keys are.
    if type(key) is str:
        key = key.encode()
    elif type(key) is not bytes:
        key = key_bytes(key)
    crc = crc32(key)
    # In 32 signed bits the upper half of the numbers are the negative ones.
    return (crc - 0x100000000) % n if crc > 0x7FFFFFFF else crc % n


def partition_many(keys: Iterable[Key], n: int) -> list[int]:
    """`partition` of each of many keys, faster than so many calls.

    Arguments:
        keys: what is placed.
        n: the number of hosts.

    Returns:
        For each key which host has it, in the order of the keys.

    Raises:
        TypeError: a key is not text, bytes or an integer.
        ValueError: `n` is less than 1.
    """
    if n < 1:
        raise _no_hosts(n)
    return [
        (crc - 0x100000000) % n if crc > 0x7FFFFFFF else crc % n
        for key in keys
        for crc in (
            crc32(key.encode() if type(key) is str else key if type(key) is bytes else key_bytes(key)),
        )
    ]


def partition_groups(keys: Sequence[Key], n: int) -> list[list[int]]:
    """`partition` of each of many keys, as what each host has: the fastest way to cut a batch by host.

    Arguments:
        keys: what is placed. Keys that are all text are the fastest.
        n: the number of hosts.

    Returns:
        For each of the `n` hosts the places in `keys` of the keys that it has, in order.

    Raises:
        TypeError: a key is not text, bytes or an integer.
        ValueError: `n` is less than 1.
    """
    if n < 1:
        raise _no_hosts(n)
    try:
        return _groups(map(crc32, map(str.encode, keys)), n)  # type: ignore[arg-type]
    except TypeError:
        return _groups(map(crc32, map(key_bytes, keys)), n)


def _groups(crcs: Iterable[int], n: int) -> list[list[int]]:
    groups: list[list[int]] = [[] for _ in range(n)]
    add = [group.append for group in groups]
    if n & (n - 1):
        for place, crc in enumerate(crcs):
            add[crc % n if crc <= 0x7FFFFFFF else (crc - 0x100000000) % n](place)
    else:
        # A power of two: signed and unsigned numbers have the same remainder. (A mask takes longer: most of
        # the numbers are too large for Python's fast path.)
        for place, crc in enumerate(crcs):
            add[crc % n](place)
    return groups


def _no_hosts(n: int) -> ValueError:
    return ValueError(f"There must be at least 1 host to place keys on, not {n!r}.")
