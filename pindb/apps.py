"""The Django app ``"pindb"``."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from django.apps import AppConfig

from pindb.exceptions import PinDbConfigError


class PinDbConfig(AppConfig):
    """The app for ``INSTALLED_APPS``: system checks, pinned management commands, and pins in tasks."""

    name = "pindb"
    verbose_name = "pindb"

    def ready(self) -> None:
        from pindb import checks  # noqa: F401 (registers them)
        from pindb.conf import conf
        from pindb.management import pinned

        pinned.install()
        if conf.PINDB_CELERY:
            try:
                from pindb import celery
            except ImportError as error:
                raise PinDbConfigError(
                    "PINDB_CELERY is on, but Celery cannot be imported. Install it: "
                    'pip install "django-pindb[celery]", or remove the setting.'
                ) from error
            _install("PINDB_CELERY", conf.PINDB_CELERY, celery)
        if conf.PINDB_TASKS:
            from pindb import tasks

            _install("PINDB_TASKS", conf.PINDB_TASKS, tasks)


def _install(setting: str, value: Any, hooks: ModuleType) -> None:
    options = value if isinstance(value, dict) else {}
    try:
        hooks.install(**options)
    except TypeError as error:
        raise PinDbConfigError(
            f"{setting} is {options!r}: {error}. Write True, or a dict with the arguments of "
            f"{hooks.__name__}.install: {{'wait': '200ms'}}."
        ) from error
