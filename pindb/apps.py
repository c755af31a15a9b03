from __future__ import annotations

from django.apps import AppConfig

from pindb.exceptions import PinDbConfigError


class PinDbConfig(AppConfig):
    """``"pindb"`` in ``INSTALLED_APPS``: the system checks, and Celery where ``PINDB_CELERY`` is on."""

    name = "pindb"
    verbose_name = "pindb"

    def ready(self) -> None:
        from pindb import checks  # noqa: F401 (registers them)
        from pindb.conf import conf

        if conf.PINDB_CELERY:
            try:
                from pindb import celery
            except ImportError as error:
                raise PinDbConfigError(
                    "PINDB_CELERY is on, but Celery cannot be imported: "
                    'pip install "django-pindb[celery]", or drop the setting.'
                ) from error

            celery.install()
