"""The site that is measured: two DB sets, on databases that no query is sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django
from django.conf import settings

import pindb

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["REPLICAS", "SiteRouter", "configure"]

REPLICAS = ["default-0", "default-1"]


class SiteRouter:
    """A site's own router, as in Django's documentation: the models of some apps live in a set of their own.

    pindb takes it as a delegate; other routers have it before them in ``DATABASE_ROUTERS``.
    """

    route_app_labels = {"other"}

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        if model._meta.app_label in self.route_app_labels:
            return "other"
        return None

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        if model._meta.app_label in self.route_app_labels:
            return "other"
        return None


def configure() -> None:
    """Configure Django: pindb's settings at their defaults, the peers' all given, which they read faster."""
    import django_replicated.settings as replicated

    masters = {
        alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for alias in ("default", "other")
    }
    sets: dict[str, list[dict[str, Any]]] = {"default": [{} for _ in REPLICAS], "other": [{}]}
    peers = {name: value for name, value in vars(replicated).items() if name.isupper()}
    peers |= {
        "REPLICATED_DATABASE_SLAVES": REPLICAS,
        "REPLICATED_CHECK_STATE_ON_WRITE": False,
        "REPLICA_DATABASES": REPLICAS,
        "MULTIDB_PINNING_COOKIE": "multidb_pin_writes",
        "MULTIDB_PINNING_COOKIE_HTTPONLY": False,
        "MULTIDB_PINNING_COOKIE_SAMESITE": "Lax",
        "MULTIDB_PINNING_COOKIE_SECURE": False,
        "MULTIDB_PINNING_SECONDS": 15,
    }
    settings.configure(
        MASTER_DATABASES=masters,
        DATABASE_SETS=sets,
        DATABASES=pindb.populate_replicas(masters, sets),
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
        ],
        SECRET_KEY="a key for benchmarks",
        **peers,
    )
    django.setup()
