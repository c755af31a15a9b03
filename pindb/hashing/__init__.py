"""Placement of keys on servers: modulo partitioning, consistent hashing, hash slots. Does no I/O.

Keys are text (hashed as UTF-8), bytes, or integers (hashed as decimal text).

Private modules: the public names are in ``__all__``.
"""

from __future__ import annotations

from pindb.hashing.continuum import Continuum, Server
from pindb.hashing.crc32 import partition, partition_groups, partition_many
from pindb.hashing.ketama import Ketama
from pindb.hashing.keys import Key, key_bytes
from pindb.hashing.slots import SLOTS, hash_tag, slot, slot_groups, slot_many

__all__ = [
    "SLOTS",
    "Continuum",
    "Ketama",
    "Key",
    "Server",
    "hash_tag",
    "key_bytes",
    "partition",
    "partition_groups",
    "partition_many",
    "slot",
    "slot_groups",
    "slot_many",
]
