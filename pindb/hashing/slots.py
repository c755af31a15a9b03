"""Hash slots of Redis Cluster: CRC-16/XMODEM of the key modulo 16384, as in its specification."""

from __future__ import annotations

from binascii import crc_hqx

from pindb.hashing.keys import Key, key_bytes

__all__ = ["SLOTS", "hash_tag", "slot"]

#: The number of slots of a Redis Cluster.
SLOTS = 16384

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
