"""Settings that list models: ``PINDB_UNPINNED_MODELS`` and ``PINDB_GREEDY_MODELS``."""

from __future__ import annotations

from collections.abc import Iterable

from django.apps import apps

from pindb.conf import conf
from pindb.exceptions import PinDbConfigError

__all__ = ["greedy_models", "unpinned_models"]


def unpinned_models() -> frozenset[str]:
    """Return the models of ``PINDB_UNPINNED_MODELS``, as "app_label.modelname".

    Raises:
        PinDbConfigError: the setting is not a list, or an entry is not an installed model.
    """
    return _labels("PINDB_UNPINNED_MODELS", "models: ['sessions.Session']")


def greedy_models() -> frozenset[str]:
    """Return the models of ``PINDB_GREEDY_MODELS`` as "app_label.modelname", and its apps as "app_label".

    Raises:
        PinDbConfigError: the setting is not a list, or an entry is not an installed model or app.
    """
    return _labels("PINDB_GREEDY_MODELS", "models and apps: ['admin', 'auth.User']", or_apps=True)


def _labels(setting: str, example: str, or_apps: bool = False) -> frozenset[str]:
    labels = getattr(conf, setting)
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise PinDbConfigError(f"{setting} is {labels!r}, not a list. Write a list of {example}.")
    found = set()
    for label in labels:
        try:
            if or_apps and "." not in label:
                found.add(apps.get_app_config(label).label)
            else:
                found.add(apps.get_model(label)._meta.label_lower)
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            raise PinDbConfigError(
                f"{setting} names {label!r}, which is not an installed model{' or app' if or_apps else ''}: "
                f"{error}. Write 'app_label.ModelName'{' or an app_label' if or_apps else ''}."
            ) from error
    return frozenset(found)
