"""Functions that pin DB sets in the current unit of work, and tell which sets are pinned."""

from __future__ import annotations

from pindb import _events as events
from pindb.conf import conf
from pindb.pins.context import current
from pindb.sets.definitions import get_sets

__all__ = [
    "get_newly_pinned",
    "get_pinned",
    "is_enabled",
    "is_newly_pinned",
    "is_pinned",
    "pin",
    "unpin_all",
]


def is_enabled() -> bool:
    """Return whether pindb routes queries at all: the setting ``PINDB_ENABLED``."""
    return bool(conf.PINDB_ENABLED)


def pin(alias: str, count_as_new: bool = True) -> None:
    """Pin a set: read it from its master until the end of this pinning context.

    Pin before you read what you are going to write. An earlier read may have come from a replica that lags,
    which is logged as a warning (``pin_late``). After the call, `StrictPinDbRouter` allows writes.

    Does nothing while ``PINDB_ENABLED`` is off.

    Arguments:
        alias: the alias of a master.
        count_as_new: also carry the pin to the user's next requests and to tasks.

    Raises:
        PinDbConfigError: `alias` is not the alias of a master.
    """
    if not conf.PINDB_ENABLED:
        return
    get_sets().check_master(alias)
    context = current()
    if context.routes.get(alias, alias) != alias and alias not in context.from_replica:
        events.PIN_LATE.log(db_set=alias, alias=context.routes[alias])
    context.from_replica -= {alias}
    context.pin(alias, count_as_new)


def unpin_all(**kwargs: object) -> None:
    """Forget all pins and chosen replicas of this pinning context: at the start or end of a unit of work.

    Arguments:
        kwargs: ignored, so that the function can be connected to a signal.
    """
    current().clear()


def is_pinned(alias: str) -> bool:
    """Return whether the set of the master `alias` is pinned in this context."""
    return alias in current().pinned


def is_newly_pinned(alias: str) -> bool:
    """Return whether the set of the master `alias` was pinned in this context, not carried in."""
    return alias in current().new


def get_pinned() -> frozenset[str]:
    """Return the aliases of the masters of all pinned sets."""
    return current().pinned


def get_newly_pinned() -> frozenset[str]:
    """Return the aliases of the masters of all sets that were pinned in this context, not carried in."""
    return current().new
