"""Modulo partitioning: the signed CRC-32 of a key modulo the number of hosts.

The CRC is zlib's (ISO 3309). It is taken as a signed number, as in Python 2, so that `partition` places each
key on the same host as rb and Nydus do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

from pindb.hashing.keys import Key, key_bytes

__all__ = ["partition", "partition_groups", "partition_many"]


def partition(key: Key, n: int) -> int:
    """Return the host of `key`.

    Most keys move if `n` changes. With a `Ketama` ring, few keys move.

    Arguments:
        key: the key; see `key_bytes`.
        n: the number of hosts.

    Returns:
        The host, as a number from 0 to `n` - 1.

    Raises:
        TypeError: `key` is not text, bytes or an integer.
        ValueError: `n` is less than 1.
    """
    if n < 1:
        raise _no_hosts(n)
    # Called for every single command: most keys are a str or bytes, and skip the call of key_bytes().
    if type(key) is str:
        key = key.encode()
    elif type(key) is not bytes:
        key = key_bytes(key)
    crc = crc32(key)
    # The upper half of the unsigned numbers stands for the negative ones.
    return (crc - 0x100000000) % n if crc > 0x7FFFFFFF else crc % n


def partition_many(keys: Iterable[Key], n: int) -> list[int]:
    """Return the host of each key, faster than calls of `partition`.

    Arguments:
        keys: the keys.
        n: the number of hosts.

    Returns:
        The hosts, in the order of the keys.

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
    """Group keys by host: the fastest way to split a batch.

    Arguments:
        keys: the keys. It is fastest if all of them are text.
        n: the number of hosts.

    Returns:
        For each of the `n` hosts, the indexes in `keys` of its keys, in ascending order.

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
        # Modulo a power of two, signed and unsigned numbers have the same remainder. (A bit mask is slower:
        # most of the numbers are too large for Python's fast path.)
        for place, crc in enumerate(crcs):
            add[crc % n](place)
    return groups


def _no_hosts(n: int) -> ValueError:
    return ValueError(f"n is {n!r}. Write the number of hosts: 1 or more.")
