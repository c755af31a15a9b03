"""System checks: what is wrong with a site's settings, told when it starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from pindb.conf import conf
from pindb.exceptions import PinDbConfigError
from pindb.middleware import PinDbMiddleware
from pindb.routers import PinDbRouter, load_delegates, unpinned_models
from pindb.sets import get_sets

__all__ = ["check_caches", "check_clusters", "check_middleware", "check_sets", "check_values"]

POPULATE = "DATABASES.update(pindb.populate_replicas(MASTER_DATABASES, DATABASE_SETS))"
MIDDLEWARE = "pindb.middleware.PinDbMiddleware"

#: Middleware of Django's that uses the database (or may), so that pindb's has to come before it.
DATABASE_MIDDLEWARE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.auth.middleware.RemoteUserMiddleware",
    "django.contrib.auth.middleware.PersistentRemoteUserMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.contrib.sites.middleware.CurrentSiteMiddleware",
    "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware",
    "django.contrib.redirects.middleware.RedirectFallbackMiddleware",
)


def _is_routed() -> bool:
    """Whether a pindb router is in ``DATABASE_ROUTERS``."""
    return any(_is_a(entry, PinDbRouter) for entry in settings.DATABASE_ROUTERS)


def _is_a(entry: Any, base: type) -> bool:
    if isinstance(entry, str):
        try:
            entry = import_string(entry)
        except ImportError:  # Django reports it
            return False
    return issubclass(entry if isinstance(entry, type) else type(entry), base)


@register("pindb")
def check_sets(**kwargs: Any) -> list[CheckMessage]:
    """The sets: E001 to E003, W003, W004."""
    if not conf.PINDB_ENABLED and conf.MASTER_DATABASES is None:
        return []
    if not _is_routed() and conf.MASTER_DATABASES is None:
        return []
    for name in ("MASTER_DATABASES", "DATABASE_SETS"):
        if getattr(conf, name) is None:
            hint = f"Define MASTER_DATABASES and DATABASE_SETS, and write {POPULATE}."
            return [Error(f"The setting {name} is missing.", hint=hint, id="pindb.E001")]
    try:
        get_sets()
    except PinDbConfigError as error:
        hint = "See the chapter on settings in pindb's documentation."
        return [Error(str(error), hint=hint, id="pindb.E002")]
    # A site that is off under test may have replaced DATABASES.
    return list(_check_databases()) if conf.PINDB_ENABLED else []


def _check_databases() -> Iterator[CheckMessage]:
    for alias, replicas in get_sets().replicas.items():
        if not replicas:
            yield Warning(
                f"The DB set {alias!r} has no replicas: all its reads go to the master.",
                hint=f"Add dicts to DATABASE_SETS[{alias!r}], or silence this check if that is meant.",
                id="pindb.W004",
            )
        for member in (alias, *replicas):
            if member not in settings.DATABASES:
                yield Error(
                    f"The alias {member!r} of the DB set {alias!r} is not in DATABASES.",
                    hint=f"Write {POPULATE} after both are defined.",
                    id="pindb.E003",
                )
            elif member != alias:
                test: Any = settings.DATABASES[member].get("TEST") or {}
                if test.get("MIRROR") != alias:
                    yield Warning(
                        f"The replica {member!r} is not a test mirror of its master: tests would "
                        "create a database of its own for it.",
                        hint=f"Set DATABASES[{member!r}]['TEST'] = {{'MIRROR': {alias!r}}}, as "
                        "pindb.populate_replicas does.",
                        id="pindb.W003",
                    )


@register("pindb")
def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    """The middleware: W001, W002, W005."""
    if not conf.PINDB_ENABLED:
        return []
    entries = list(settings.MIDDLEWARE)
    places = [i for i, entry in enumerate(entries) if _is_a(entry, PinDbMiddleware)]
    if not places:
        if not _is_routed():
            return []
        return [
            Warning(
                f"A pindb router is in DATABASE_ROUTERS, but {MIDDLEWARE} is not in MIDDLEWARE: pins "
                "would not end with the request, nor reach the next one.",
                hint=f"Put {MIDDLEWARE!r} into MIDDLEWARE, before all that use the database.",
                id="pindb.W001",
            )
        ]
    if not _is_routed():
        return [
            Warning(
                f"{MIDDLEWARE} is in MIDDLEWARE, but no pindb router is in DATABASE_ROUTERS: nothing "
                "is read from replicas.",
                hint="Set DATABASE_ROUTERS = ['pindb.GreedyPinDbRouter'] (or StrictPinDbRouter).",
                id="pindb.W002",
            )
        ]
    early = [entry for entry in entries[: places[0]] if entry in DATABASE_MIDDLEWARE]
    if early:
        return [
            Warning(
                f"{', '.join(early)} comes before {MIDDLEWARE} in MIDDLEWARE: what it reads and writes "
                "is outside of the request's pinning context.",
                hint=f"Move {MIDDLEWARE!r} up, before {early[0]!r}.",
                id="pindb.W005",
            )
        ]
    return []


@register("pindb")
def check_values(**kwargs: Any) -> list[CheckMessage]:
    """The other settings: E004 to E007."""
    errors: list[CheckMessage] = []
    seconds = conf.PINDB_PINNING_SECONDS
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < 1e9:
        errors.append(
            Error(
                f"PINDB_PINNING_SECONDS is {seconds!r}.",
                hint="Write a number of seconds above 0; replication lag should stay below it.",
                id="pindb.E004",
            )
        )
    cookie = conf.PINDB_PINNING_COOKIE
    if not isinstance(cookie, str) or not cookie:
        errors.append(
            Error(
                f"PINDB_PINNING_COOKIE is {cookie!r}.",
                hint="Write the name of a cookie: 'pindb_pinned_set'.",
                id="pindb.E005",
            )
        )
    for find, code in ((load_delegates, "pindb.E006"), (unpinned_models, "pindb.E007")):
        try:
            find()
        except PinDbConfigError as error:
            errors.append(Error(str(error), hint="Correct the setting or drop the entry.", id=code))
    return errors


@register("pindb")
def check_clusters(**kwargs: Any) -> list[CheckMessage]:
    """The clusters: E008. Nothing is connected to."""
    if conf.PINDB_CLUSTERS == {}:
        return []
    try:
        # Only here: a site without clusters need not have redis-py.
        from pindb.redis import ClusterConfigError, Connections
    except ImportError as error:
        hint = "Install it, or drop the setting."
        return [Error(f"PINDB_CLUSTERS is set, but {error}", hint=hint, id="pindb.E008")]
    hint = "See the chapter on create_cluster in pindb's documentation."
    errors: list[CheckMessage] = []
    clusters = Connections(conf.PINDB_CLUSTERS)
    try:
        for name in clusters:
            try:
                clusters[name]
            except (ClusterConfigError, ImportError) as error:
                errors.append(Error(f"PINDB_CLUSTERS: {error}", hint=hint, id="pindb.E008"))
    except ClusterConfigError as error:
        errors.append(Error(str(error), hint=hint, id="pindb.E008"))
    return errors


@register("pindb")
def check_caches(**kwargs: Any) -> list[CheckMessage]:
    """The caches that are pindb's: E009. Nothing is connected to."""
    errors: list[CheckMessage] = []
    for alias, cache in settings.CACHES.items():
        options = cache.get("OPTIONS") or {}
        paths = (cache.get("BACKEND"), options.get("CLIENT_CLASS"))
        if not any(str(path).startswith("pindb.cache.") for path in paths):
            continue
        try:
            # Only here: a site without such a cache need not have django-redis.
            from pindb.cache.options import read_options
            from pindb.cache.shards import Shards

            Shards(read_options(cache.get("LOCATION"), options))
        except (ImproperlyConfigured, ImportError) as error:
            hint = "See the chapter on the cache in pindb's documentation."
            errors.append(Error(f"CACHES[{alias!r}]: {error}", hint=hint, id="pindb.E009"))
    return errors
