"""Helpers that the checks share."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.core.checks import CheckMessage, Error

from pindb.exceptions import PinDbConfigError

__all__ = ["failures", "nearest"]


def failures(code: str, setting: str, load: Callable[[], Any]) -> Iterator[CheckMessage]:
    """Report what `load` raises as the error `code`: nothing, if it can load the setting.

    A setting may name the site's own classes, which may raise anything at all.
    """
    hint = "Correct the setting or drop the entry."
    try:
        load()
    except PinDbConfigError as error:
        yield Error(str(error), hint=hint, id=code)
    except Exception as error:
        yield Error(f"{setting} cannot be loaded: {type(error).__name__}: {error}.", hint=hint, id=code)


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the name in `known` that `name` is probably meant to be; None: it is like none of them."""
    spelled = str(name)
    for guess in (spelled, spelled.upper(), spelled.lower()):
        found = difflib.get_close_matches(guess, list(known), n=1, cutoff=0.75)
        if found:
            return found[0]
    return None
