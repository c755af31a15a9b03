"""Settings that name something by its dotted path."""

from __future__ import annotations

from typing import Any

from django.utils.module_loading import import_string

from pindb.exceptions import PinDbConfigError

__all__ = ["import_entry"]


def import_entry(setting: str, entry: Any, what: str) -> Any:
    """What a setting names, if it is a dotted path; else the entry itself.

    Arguments:
        setting: which setting it stands in.
        entry: its value, or one of its values.
        what: what the path should lead to, for the message.

    Raises:
        PinDbConfigError: it cannot be imported.
    """
    if not isinstance(entry, str):
        return entry
    try:
        return import_string(entry)
    except (ImportError, TypeError, ValueError) as error:
        # The last two: '.views.router' and the like, which are no dotted paths.
        raise PinDbConfigError(
            f"{setting} names {entry!r}, which cannot be imported: {error}. Write the dotted path of {what}."
        ) from error
