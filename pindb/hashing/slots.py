"""Hash slots of Redis Cluster: CRC-16/XMODEM of the key modulo 16384, as in its specification."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from operator import and_

from pindb.hashing.keys import Key, key_bytes

__all__ = ["SLOTS", "hash_tag", "slot", "slot_groups", "slot_many"]

#: The number of slots of a Redis Cluster.
SLOTS = 16384

#: For so many keys it is faster to make a table first.
MANY = SLOTS // 4

# Looking up a number in bytes is several times as fast as looking up bytes.
_BRACE = ord("{")


def slot(key: Key) -> int:
    """Return the hash slot of `key` in a Redis Cluster.

    Arguments:
        key: the key; see `key_bytes`.

    Returns:
        A number from 0 to 16383, as ``CLUSTER KEYSLOT`` returns it. Keys with the same hash tag share a slot.

    Raises:
        TypeError: `key` is not text, bytes or an integer.
    """
    if type(key) is str:
        key = key.encode()
    elif type(key) is not bytes:
        key = key_bytes(key)
    if _BRACE in key:
        key = hash_tag(key)
    # crc_hqx is CRC-16/XMODEM.
    return crc_hqx(key, 0) % SLOTS


def slot_many(keys: Iterable[Key]) -> list[int]:
    """Return the hash slot of each key, faster than calls of `slot`.

    Arguments:
        keys: the keys. It is fastest if all of them are text.

    Returns:
        The slots, in the order of the keys.

    Raises:
        TypeError: a key is not text, bytes or an integer.
    """
    return list(map(and_, _crcs(list(keys)), repeat(SLOTS - 1)))


def _crcs(keys: list[Key]) -> Iterator[int]:
    """Return the CRC-16 of the hash tag of each key."""
    try:
        data = list(map(str.encode, keys))  # type: ignore[arg-type]
    except TypeError:
        data = list(map(key_bytes, keys))
    if b"{" in b"".join(data):
        data = list(map(hash_tag, data))
    return map(crc_hqx, data, repeat(0))


def slot_groups(keys: Iterable[Key], hosts: Sequence[int]) -> dict[int, list[int]]:
    """Group keys by the host of their slots: the fastest way to split a batch.

    Arguments:
        keys: the keys. It is fastest if all of them are text.
        hosts: the host of each slot.

    Returns:
        For each host that has a key, the indexes in `keys` of its keys, in ascending order.

    Raises:
        TypeError: a key is not text, bytes or an integer.
    """
    keys = list(keys)
    places: Iterator[int] = _crcs(keys)
    if len(keys) < MANY:
        places = map(and_, places, repeat(SLOTS - 1))
    else:
        # A CRC has 16 bits, and a slot is the lower 14. A table by the CRC spares a step for each key.
        hosts = list(hosts) * (2**16 // SLOTS)
    groups: dict[int, list[int]] = {}
    add: dict[int, Callable[[int], None]] = {}
    for place, host in enumerate(map(hosts.__getitem__, places)):
        try:
            add[host](place)
        except KeyError:
            groups[host] = [place]
            add[host] = groups[host].append
    return groups


def hash_tag(key: Key) -> bytes:
    """Return the part of `key` that decides about its placement.

    Arguments:
        key: the key; see `key_bytes`.

    Returns:
        The bytes between the first ``{`` and the first ``}`` after it; the whole key if there are none.

    Raises:
        TypeError: `key` is not text, bytes or an integer.
    """
    data = key_bytes(key)
    start = data.find(b"{") + 1
    if start:
        end = data.find(b"}", start)
        if end > start:
            return data[start:end]
    return data
