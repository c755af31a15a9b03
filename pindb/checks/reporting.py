"""Helpers that the checks share."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from pindb.exceptions import PinDbConfigError
from pindb.routing.routers import PinDbRouter

__all__ = ["failures", "nearest", "pindb_routers", "refers_to"]


def failures(code: str, setting: str, load: Callable[[], Any]) -> Iterator[CheckMessage]:
    """Report the exception that `load` raises, if any, as the error `code`.

    A setting may name the site's own classes, which may raise anything.
    """
    hint = "Correct the setting, or remove the entry."
    try:
        load()
    except PinDbConfigError as error:
        yield Error(str(error), hint=hint, id=code)
    except Exception as error:
        yield Error(f"{setting} cannot be loaded: {type(error).__name__}: {error}.", hint=hint, id=code)


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the name in `known` that `name` is probably a misspelling of; None if none is similar."""
    spelled = str(name)
    for guess in (spelled, spelled.upper(), spelled.lower()):
        found = difflib.get_close_matches(guess, list(known), n=1, cutoff=0.75)
        if found:
            return found[0]
    return None


def refers_to(entry: Any, base: type) -> bool:
    """Return whether an entry of a setting is a dotted path, class or instance of `base` or a subclass."""
    if isinstance(entry, str):
        try:
            entry = import_string(entry)
        except ImportError:  # Django reports it
            return False
    return issubclass(entry if isinstance(entry, type) else type(entry), base)


def pindb_routers() -> list[Any]:
    """Return the entries of ``DATABASE_ROUTERS`` that are routers of pindb."""
    return [entry for entry in settings.DATABASE_ROUTERS if refers_to(entry, PinDbRouter)]
