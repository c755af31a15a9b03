"""What is wrong with the sets, the router and the middleware."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

from pindb.checks.replicas import check_replicas
from pindb.conf import conf
from pindb.exceptions import PinDbConfigError
from pindb.middleware import PinDbMiddleware, PinUnsafeMethodsMiddleware
from pindb.routing.routers import PinDbRouter
from pindb.sets.definitions import get_sets

__all__ = ["check_methods", "check_middleware", "check_sets"]

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


def _routers() -> list[Any]:
    """The entries of ``DATABASE_ROUTERS`` that are routers of pindb's."""
    return [entry for entry in settings.DATABASE_ROUTERS if _is_a(entry, PinDbRouter)]


def _is_routed() -> bool:
    """Whether a pindb router is in ``DATABASE_ROUTERS``."""
    return bool(_routers())


def _is_a(entry: Any, base: type) -> bool:
    if isinstance(entry, str):
        try:
            entry = import_string(entry)
        except ImportError:  # Django reports it
            return False
    return issubclass(entry if isinstance(entry, type) else type(entry), base)


@register("pindb")
def check_sets(**kwargs: Any) -> list[CheckMessage]:
    """The sets: E001 to E003, E019, W003, W004, W016 to W019."""
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
    return [*_check_databases(), *check_replicas()] if conf.PINDB_ENABLED else []


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
def check_routers(**kwargs: Any) -> list[CheckMessage]:
    """The routers: W013."""
    first, *others = _routers() or [None]
    if not others:
        return []
    return [
        Warning(
            f"DATABASE_ROUTERS has {len(others) + 1} routers of pindb's, and {first!r} answers for all of "
            "them.",
            hint="Keep one. Routers of your own that choose a set belong into PINDB_DELEGATE_ROUTERS.",
            id="pindb.W013",
        )
    ]


@register("pindb")
def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    """The middleware: W001, W002, W005, W012."""
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
    warnings: list[CheckMessage] = []
    if len(places) > 1:
        named = ", ".join(str(entries[place]) for place in places)
        warnings.append(
            Warning(
                f"MIDDLEWARE has {named}: each begins a pinning context, and none knows the pins that are "
                "made in the others.",
                hint="Keep the first.",
                id="pindb.W012",
            )
        )
    early = [entry for entry in entries[: places[0]] if entry in DATABASE_MIDDLEWARE]
    if early:
        warnings.append(
            Warning(
                f"{', '.join(early)} comes before {MIDDLEWARE} in MIDDLEWARE: what it reads and writes "
                "is outside of the request's pinning context.",
                hint=f"Move {MIDDLEWARE!r} up, before {early[0]!r}.",
                id="pindb.W005",
            )
        )
    return warnings


@register("pindb")
def check_methods(**kwargs: Any) -> list[CheckMessage]:
    """The middleware that pins by method: W014."""
    entries = list(settings.MIDDLEWARE)
    pinning = [i for i, entry in enumerate(entries) if _is_a(entry, PinUnsafeMethodsMiddleware)]
    contexts = [i for i, entry in enumerate(entries) if _is_a(entry, PinDbMiddleware)]
    if not conf.PINDB_ENABLED or not pinning or (contexts and contexts[0] < pinning[0]):
        return []
    entry = entries[pinning[0]]
    where = f"before {MIDDLEWARE}" if contexts else f"in MIDDLEWARE without {MIDDLEWARE}"
    return [
        Warning(
            f"{entry} comes {where}: what it pins would not be pinned in the request, but in its thread.",
            hint=f"Put {entry!r} directly after {MIDDLEWARE!r}.",
            id="pindb.W014",
        )
    ]
