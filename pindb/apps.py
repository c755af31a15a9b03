from __future__ import annotations

from django.apps import AppConfig


class PinDbConfig(AppConfig):
    """``"pindb"`` in ``INSTALLED_APPS``: the system checks, and Celery where ``PINDB_CELERY`` is on."""

    name = "pindb"
    verbose_name = "pindb"

    def ready(self) -> None:
        from pindb import checks  # noqa: F401 (registers them)
        from pindb.conf import conf

        if conf.PINDB_CELERY:
            from pindb import celery

            celery.install()
