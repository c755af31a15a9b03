"""The hash slots of Redis Cluster: CRC-16/XMODEM of the key modulo 16384, as in its specification."""

from __future__ import annotations

from binascii import crc_hqx

from pindb.hashing.keys import Key, key_bytes

__all__ = ["SLOTS", "hash_tag", "slot"]

#: How many slots a Redis Cluster has.
SLOTS = 16384

# A number is looked up in bytes several times as fast as bytes are.
_BRACE = ord("{")


def slot(key: Key) -> int:
    """The hash slot of `key` in a Redis Cluster.

    Arguments:
        key: what is placed; see `key_bytes`.

    Returns:
        0 ... 16383: what ``CLUSTER KEYSLOT`` answers. Keys with the same hash tag share a slot.

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
    """The part of `key` that decides where it goes.

    Arguments:
        key: text, bytes or an integer; see `key_bytes`.

    Returns:
        What stands between the first ``{`` and the first ``}`` after it, where that is not empty; else the
        whole key.

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
