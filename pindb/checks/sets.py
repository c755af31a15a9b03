"""Checks of the DB sets: ``MASTER_DATABASES``, ``DATABASE_SETS`` and ``DATABASES``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from pindb.checks.replicas import check_replicas
from pindb.checks.reporting import pindb_routers
from pindb.conf import conf
from pindb.exceptions import PinDbConfigError
from pindb.sets.definitions import get_sets

__all__ = ["check_sets"]

POPULATE = "DATABASES.update(pindb.populate_replicas(MASTER_DATABASES, DATABASE_SETS))"


@register("pindb")
def check_sets(**kwargs: Any) -> list[CheckMessage]:
    """Check the DB sets: E001 to E003, E019, W003, W004, W016 to W019."""
    if not conf.PINDB_ENABLED and conf.MASTER_DATABASES is None:
        return []
    if not pindb_routers() and conf.MASTER_DATABASES is None:
        return []
    for name in ("MASTER_DATABASES", "DATABASE_SETS"):
        if getattr(conf, name) is None:
            hint = f"Define MASTER_DATABASES and DATABASE_SETS, and write {POPULATE}."
            return [Error(f"The setting {name} is missing.", hint=hint, id="pindb.E001")]
    try:
        get_sets()
    except PinDbConfigError as error:
        hint = "See MASTER_DATABASES and DATABASE_SETS in the reference of settings."
        return [Error(str(error), hint=hint, id="pindb.E002")]
    # Test settings that turn pindb off often replace DATABASES.
    return [*_check_databases(), *check_replicas()] if conf.PINDB_ENABLED else []


def _check_databases() -> Iterator[CheckMessage]:
    for alias, replicas in get_sets().replicas.items():
        if not replicas:
            yield Warning(
                f"The DB set {alias!r} has no replicas, so all its reads go to the master.",
                hint=f"Add replicas to DATABASE_SETS[{alias!r}], or silence this check if you have none.",
                id="pindb.W004",
            )
        for server in (alias, *replicas):
            if server not in settings.DATABASES:
                yield Error(
                    f"The alias {server!r} of the DB set {alias!r} is not in DATABASES.",
                    hint=f"Write {POPULATE} after both settings.",
                    id="pindb.E003",
                )
            elif server != alias:
                test: Any = settings.DATABASES[server].get("TEST") or {}
                if test.get("MIRROR") != alias:
                    yield Warning(
                        f"The replica {server!r} is not a test mirror of its master {alias!r}: tests would "
                        "create an independent database for the replica.",
                        hint=f"Set DATABASES[{server!r}]['TEST'] = {{'MIRROR': {alias!r}}}, as "
                        "pindb.populate_replicas does.",
                        id="pindb.W003",
                    )
