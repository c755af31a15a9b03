"""Pin stores: backends that keep a user's pins between requests (``PINDB_PIN_STORE``).

Derive your own store from `BaseStore`.
"""

from __future__ import annotations

from pindb.stores._base import BaseStore
from pindb.stores._cache import CacheStore, token_key, user_key
from pindb.stores._cookie import CookieStore
from pindb.stores._header import HeaderStore, aget_pin_headers, get_pin_headers, take_pin_headers

__all__ = [
    "BaseStore",
    "CacheStore",
    "CookieStore",
    "HeaderStore",
    "aget_pin_headers",
    "get_pin_headers",
    "take_pin_headers",
    "token_key",
    "user_key",
]
