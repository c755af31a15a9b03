"""Settings that the routers read: delegate routers, and lists of models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps

from pindb.conf import conf, import_entry
from pindb.exceptions import PinDbConfigError

__all__ = ["OwnRouter", "greedy_models", "load_delegates", "unpinned_models"]


class OwnRouter:
    """The base of pindb's own routers, which cannot be delegates."""


def load_delegates() -> list[Any]:
    """The routers of ``PINDB_DELEGATE_ROUTERS``; none where it is None.

    Raises:
        PinDbConfigError: the setting is no list, or an entry cannot be imported or is pindb's own router.
    """
    entries = conf.PINDB_DELEGATE_ROUTERS
    if entries is None:
        return []
    if isinstance(entries, str) or not isinstance(entries, Iterable):
        raise PinDbConfigError(
            f"PINDB_DELEGATE_ROUTERS is {entries!r}. Write a list of routers: ['myapp.routers.Router']."
        )
    return [_load_delegate(entry) for entry in entries]


def _load_delegate(entry: Any) -> Any:
    entry = import_entry("PINDB_DELEGATE_ROUTERS", entry, "a router class, or a router")
    router = entry() if isinstance(entry, type) else entry
    if isinstance(router, OwnRouter):
        raise PinDbConfigError(
            f"PINDB_DELEGATE_ROUTERS names {type(router).__name__}, which would ask itself. It belongs "
            "into DATABASE_ROUTERS; delegate routers are the site's own."
        )
    return router


def unpinned_models() -> frozenset[str]:
    """The models of ``PINDB_UNPINNED_MODELS``, as "app_label.modelname".

    Raises:
        PinDbConfigError: the setting is no list, or an entry names no installed model.
    """
    return _labels("PINDB_UNPINNED_MODELS", "models: ['sessions.Session']")


def greedy_models() -> frozenset[str]:
    """The models of ``PINDB_GREEDY_MODELS``, as "app_label.modelname", and its apps, as "app_label".

    Raises:
        PinDbConfigError: the setting is no list, or an entry names no installed model or app.
    """
    return _labels("PINDB_GREEDY_MODELS", "models and apps: ['admin', 'auth.User']", or_apps=True)


def _labels(setting: str, example: str, or_apps: bool = False) -> frozenset[str]:
    labels = getattr(conf, setting)
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise PinDbConfigError(f"{setting} is {labels!r}. Write a list of {example}.")
    found = set()
    for label in labels:
        try:
            if or_apps and "." not in label:
                found.add(apps.get_app_config(label).label)
            else:
                found.add(apps.get_model(label)._meta.label_lower)
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            raise PinDbConfigError(
                f"{setting} names {label!r}, which is no installed model{' or app' if or_apps else ''}: "
                f"{error}. Write 'app_label.ModelName'{' or an app_label' if or_apps else ''}."
            ) from error
    return frozenset(found)
