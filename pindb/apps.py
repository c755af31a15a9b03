from __future__ import annotations

from django.apps import AppConfig

from pindb.exceptions import PinDbConfigError


class PinDbConfig(AppConfig):
    """``"pindb"`` in ``INSTALLED_APPS``: system checks, management commands that run pinned, and Celery where
    ``PINDB_CELERY`` is on."""

    name = "pindb"
    verbose_name = "pindb"

    def ready(self) -> None:
        from pindb import (
            checks,  # noqa: F401 (registers them)
            commands,
        )
        from pindb.conf import conf

        commands.install()
        if conf.PINDB_CELERY:
            try:
                from pindb import celery
            except ImportError as error:
                raise PinDbConfigError(
                    "PINDB_CELERY is on, but Celery cannot be imported: "
                    'pip install "django-pindb[celery]", or drop the setting.'
                ) from error

            options = conf.PINDB_CELERY if isinstance(conf.PINDB_CELERY, dict) else {}
            try:
                celery.install(**options)
            except TypeError as error:
                raise PinDbConfigError(
                    f"PINDB_CELERY is {options!r}: {error}. Write True, or a dict with the arguments of "
                    "pindb.celery.install: {'wait': '200ms'}."
                ) from error
