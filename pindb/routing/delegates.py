"""Delegate routers: the site's own routers, which pick the set of a query (``PINDB_DELEGATE_ROUTERS``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pindb.conf import conf, import_entry
from pindb.exceptions import PinDbConfigError

__all__ = ["BaseRouter", "load_delegates"]


class BaseRouter:
    """The base class of pindb's own routers, which cannot be delegates."""


def load_delegates() -> list[Any]:
    """Return the routers of ``PINDB_DELEGATE_ROUTERS``; None in the setting is an empty list.

    Raises:
        PinDbConfigError: the setting is not a list, or an entry cannot be imported or is pindb's own router.
    """
    entries = conf.PINDB_DELEGATE_ROUTERS
    if entries is None:
        return []
    if isinstance(entries, str) or not isinstance(entries, Iterable):
        raise PinDbConfigError(
            f"PINDB_DELEGATE_ROUTERS is {entries!r}, not a list. Write a list of routers: "
            "['myapp.routers.Router']."
        )
    return [_load_delegate(entry) for entry in entries]


def _load_delegate(entry: Any) -> Any:
    entry = import_entry("PINDB_DELEGATE_ROUTERS", entry, "a router class, or a router")
    router = entry() if isinstance(entry, type) else entry
    if isinstance(router, BaseRouter):
        raise PinDbConfigError(
            f"PINDB_DELEGATE_ROUTERS names {type(router).__name__}, pindb's own router, which would call "
            "itself. Write it into DATABASE_ROUTERS; delegates are routers of your own."
        )
    return router
