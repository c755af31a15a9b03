"""Log events: every line that pindb writes to the logger ``pindb``.

docs/reference/logging.md lists them; tests/test_logging.py compares that page with this module.
"""

from __future__ import annotations

import logging
import re
from typing import Any

logger = logging.getLogger("pindb")


class Event:
    """A kind of line in the log.

    Attributes:
        name: a stable name; records have it as the attribute ``event``.
        level: a level of `logging`.
        text: the message, with ``%``-placeholders for its fields.
        fields: the names of the attributes that records have. ``error`` may be left out when logging; where
            it is given, the message ends with it.
    """

    def __init__(self, name: str, level: int, text: str, *, error: bool = False) -> None:
        self.name = name
        self.level = level
        self.text = text
        self.fields = (*re.findall(r"%\((\w+)\)", text), *(["error"] if error else []))

    def log(self, *, error: object = None, traceback: bool = False, **fields: Any) -> None:
        """Write a line.

        Arguments:
            error: an exception or its text.
            traceback: also write the traceback of the exception that is being handled.
            fields: the values of the event's fields.
        """
        text = self.text
        # Plain strings: handlers may pickle records, and the pickle of a RoutedAlias is its master's alias.
        fields = {name: str(value) if isinstance(value, str) else value for name, value in fields.items()}
        if error:
            # The messages of database drivers span several lines.
            fields["error"] = " ".join(str(error).split())
            text += " (%(error)s)"
        extra = {"event": self.name, **fields}
        logger.log(self.level, text, fields, extra=extra, exc_info=traceback, stacklevel=2)


# ---- database servers --------------------------------------------------------------------------

REPLICA_DOWN = Event(
    "replica_down",
    logging.WARNING,
    "replica %(alias)s down: %(reason)s; retrying in %(retry_in).1f s",
    error=True,
)
REPLICA_UP = Event("replica_up", logging.WARNING, "replica %(alias)s up after %(down_for).1f s")
MASTER_DOWN = Event(
    "master_down",
    logging.WARNING,
    "master %(alias)s down: %(reason)s; retrying in %(retry_in).1f s",
    error=True,
)
MASTER_UP = Event("master_up", logging.WARNING, "master %(alias)s up after %(down_for).1f s")
PINNED_READS_ON_REPLICA = Event(
    "pinned_reads_on_replica",
    logging.WARNING,
    "master %(db_set)s down: pinned reads go to replica %(alias)s and may be stale",
)
REPLICA_LAGGING = Event(
    "replica_lagging",
    logging.WARNING,
    "replica %(alias)s lagging: more than %(max_lag)s s behind its master; not read until it has caught up",
)
REPLICA_CAUGHT_UP = Event(
    "replica_caught_up", logging.WARNING, "replica %(alias)s caught up after %(lagged_for).1f s"
)
STATEMENT_RERUN = Event(
    "statement_rerun", logging.DEBUG, "statement of replica %(failed)s runs again on %(alias)s"
)

# ---- positions ---------------------------------------------------------------------------------

POSITIONS_UNAVAILABLE = Event(
    "positions_unavailable",
    logging.WARNING,
    "master %(alias)s positions unavailable; pins go by time",
    error=True,
)
MASTER_POSITION_UNREADABLE = Event(
    "master_position_unreadable", logging.WARNING, "master %(alias)s position unreadable", error=True
)
REPLICA_POSITION_UNREADABLE = Event(
    "replica_position_unreadable", logging.DEBUG, "replica %(alias)s position unreadable", error=True
)
INCARNATION_UNREADABLE = Event(
    "incarnation_unreadable", logging.DEBUG, "replica %(alias)s incarnation unreadable", error=True
)
POSITIONS_NOT_COMPARABLE = Event(
    "positions_not_comparable",
    logging.DEBUG,
    "positions of %(alias)s not comparable: %(replayed)s and %(position)s",
)

# ---- pins --------------------------------------------------------------------------------------

PIN_LATE = Event(
    "pin_late",
    logging.WARNING,
    "pin of %(db_set)s late: replica %(alias)s was read before it in the same pinning context, and that read "
    "may be stale",
)
UNDECLARED_WRITE = Event(
    "undeclared_write",
    logging.WARNING,
    "undeclared write to %(model)s on the DB set %(db_set)s at %(file)s:%(line)d in %(function)s; pinning "
    "the set",
)
PINS_IGNORED = Event("pins_ignored", logging.DEBUG, "pins ignored: %(reason)s")
PINS_NOT_LOADED = Event(
    "pins_not_loaded", logging.ERROR, "pins not loaded; reading all sets from their masters", error=True
)
PINS_NOT_SAVED = Event(
    "pins_not_saved", logging.ERROR, "pins not saved; users may not see their own writes", error=True
)

# ---- the cache ---------------------------------------------------------------------------------

CACHE_KEYS_NOT_SET = Event(
    "cache_keys_not_set", logging.WARNING, "cache set_many: %(failed)d of %(keys)d keys not set", error=True
)

EVENTS = [value for value in globals().values() if isinstance(value, Event)]
