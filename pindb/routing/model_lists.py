"""Models that pin, or do not: ``PINDB_UNPINNED_MODELS`` and ``PINDB_GREEDY_MODELS``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.apps import apps

from pindb.conf import conf
from pindb.exceptions import PinDbConfigError

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["ModelLists", "greedy_models", "unpinned_models"]

#: Models of other apps that are unpinned without being listed: task queues. Their workers open a transaction
#: on the database that they read from, and lock rows in it, which only a master can do.
QUEUES = frozenset({"django_tasks_database.dbtaskresult"})


class ModelLists:
    """The models that the settings list. Models are compared by name.

    Attributes:
        on_replicas: models that are known not to be unpinned, so that they are read from replicas.
    """

    def __init__(self) -> None:
        self.on_replicas: set[type[Model]] = set()
        self._unpinned = unpinned_models() | QUEUES
        self._greedy = greedy_models()

    def is_unpinned(self, model: type[Model] | None) -> bool:
        """Return whether a model is read and written on the master, without pinning.

        Models are compared by name, so proxies and the historical models of migrations are unpinned too. The
        table of Django's database cache is always unpinned: a cache that pins would pin every visitor. So are
        `QUEUES`.
        """
        if model in self.on_replicas or model is None:
            # Raw SQL may come without a model.
            return False
        concrete = getattr(model._meta, "concrete_model", None)
        if concrete is None:
            return model._meta.app_label == "django_cache"
        unpinned = concrete._meta.label_lower in self._unpinned
        if not unpinned and model._meta.apps is apps:
            # Not for historical models, which this set would keep alive after their migration.
            self.on_replicas.add(model)
        return unpinned

    def is_greedy(self, model: type[Model] | None) -> bool:
        """Return whether a write of a model pins under the strict router too. Compares by name."""
        if model is None:
            return False
        meta = (model._meta.concrete_model or model)._meta
        return meta.label_lower in self._greedy or meta.app_label in self._greedy


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
