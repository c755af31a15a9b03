"""Checks of ``DATABASE_ROUTERS`` and ``MIDDLEWARE``."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from pindb.checks.reporting import pindb_routers, refers_to
from pindb.conf import conf
from pindb.middleware import PinDbMiddleware, PinUnsafeMethodsMiddleware

__all__ = ["check_methods", "check_middleware", "check_routers"]

MIDDLEWARE = "pindb.middleware.PinDbMiddleware"

#: Django's middleware that may use the database, so that pindb's middleware has to come first.
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


@register("pindb")
def check_routers(**kwargs: Any) -> list[CheckMessage]:
    """Check that there is one pindb router: W013."""
    first, *others = pindb_routers() or [None]
    if not others:
        return []
    return [
        Warning(
            f"DATABASE_ROUTERS has {len(others) + 1} pindb routers. Django uses only the first, {first!r}.",
            hint="Keep one. Write routers of your own that pick a set into PINDB_DELEGATE_ROUTERS.",
            id="pindb.W013",
        )
    ]


@register("pindb")
def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    """Check the middleware and its place: W001, W002, W005, W012."""
    if not conf.PINDB_ENABLED:
        return []
    entries = list(settings.MIDDLEWARE)
    places = [i for i, entry in enumerate(entries) if refers_to(entry, PinDbMiddleware)]
    if not places:
        if not pindb_routers():
            return []
        return [
            Warning(
                f"A pindb router is in DATABASE_ROUTERS, but {MIDDLEWARE} is not in MIDDLEWARE: pins would "
                "outlast the request in its thread, and not reach the user's next request.",
                hint=f"Put {MIDDLEWARE!r} into MIDDLEWARE, before all middleware that uses the database.",
                id="pindb.W001",
            )
        ]
    if not pindb_routers():
        return [
            Warning(
                f"{MIDDLEWARE} is in MIDDLEWARE, but no pindb router is in DATABASE_ROUTERS: no query goes "
                "to a replica.",
                hint="Set DATABASE_ROUTERS = ['pindb.GreedyPinDbRouter'] (or StrictPinDbRouter).",
                id="pindb.W002",
            )
        ]
    warnings: list[CheckMessage] = []
    if len(places) > 1:
        named = ", ".join(str(entries[place]) for place in places)
        warnings.append(
            Warning(
                f"MIDDLEWARE has {named}: each opens a pinning context of its own, so pins made in "
                "one are lost in the others.",
                hint="Keep only the first.",
                id="pindb.W012",
            )
        )
    early = [entry for entry in entries[: places[0]] if entry in DATABASE_MIDDLEWARE]
    if early:
        warnings.append(
            Warning(
                f"{', '.join(early)} comes before {MIDDLEWARE} in MIDDLEWARE: its reads and writes are "
                "outside of the request's pinning context.",
                hint=f"Move {MIDDLEWARE!r} up, before {early[0]!r}.",
                id="pindb.W005",
            )
        )
    return warnings


@register("pindb")
def check_methods(**kwargs: Any) -> list[CheckMessage]:
    """Check the place of the middleware that pins by method: W014."""
    entries = list(settings.MIDDLEWARE)
    pinning = [i for i, entry in enumerate(entries) if refers_to(entry, PinUnsafeMethodsMiddleware)]
    contexts = [i for i, entry in enumerate(entries) if refers_to(entry, PinDbMiddleware)]
    if not conf.PINDB_ENABLED or not pinning or (contexts and contexts[0] < pinning[0]):
        return []
    entry = entries[pinning[0]]
    where = f"before {MIDDLEWARE}" if contexts else f"in MIDDLEWARE without {MIDDLEWARE}"
    return [
        Warning(
            f"{entry} comes {where}: it would pin sets for the thread, not for the request.",
            hint=f"Put {entry!r} directly after {MIDDLEWARE!r}.",
            id="pindb.W014",
        )
    ]
