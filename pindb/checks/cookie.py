"""Checks of the cookie that carries pins: its name, its attributes, and whether browsers keep it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.cookies import CookieError, SimpleCookie
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from pindb.conf import COOKIE_DEFAULTS, conf
from pindb.stores import CacheStore, CookieStore
from pindb.stores._base import load_store

__all__ = ["check_cookie"]

#: The settings with the names of Django's own cookies.
OTHER_COOKIES = ("SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME", "LANGUAGE_COOKIE_NAME")

#: The cookie of django.contrib.messages, which has no setting.
MESSAGES_COOKIE = "messages"


@register("pindb")
def check_cookie(**kwargs: Any) -> list[CheckMessage]:
    """Check the cookie that carries pins: E005, E017, E018, W011."""
    name = conf.PINDB_PINNING_COOKIE
    if not _is_cookie_name(name):
        return [
            Error(
                f"PINDB_PINNING_COOKIE is {name!r}, which is not a name for a cookie.",
                hint="Write a name of letters, digits, hyphens and underscores: 'pindb_pinned_set'.",
                id="pindb.E005",
            )
        ]
    if not _is_used():
        return []
    failures = [*_check_other_cookies(name), *_check_attributes()]
    return failures or list(_check_browsers(name))


def _is_cookie_name(name: Any) -> bool:
    if not isinstance(name, str) or not name:
        return False
    try:
        SimpleCookie()[name] = ""
    except CookieError:
        return False
    return True


def _is_used() -> bool:
    """Return whether the site's store uses the cookie."""
    try:
        return isinstance(load_store(), (CookieStore, CacheStore))
    except Exception:  # check_store reports it
        return True


def _check_other_cookies(name: str) -> Iterator[CheckMessage]:
    others = {setting: getattr(settings, setting) for setting in OTHER_COOKIES}
    if "django.contrib.messages" in settings.INSTALLED_APPS:
        others["django.contrib.messages"] = MESSAGES_COOKIE
    for owner, other in others.items():
        if name == other:
            yield Error(
                f"PINDB_PINNING_COOKIE is {name!r}, which is also the cookie of {owner}: each would "
                "overwrite the other.",
                hint="Write a name that the site does not use for another cookie: 'pindb_pinned_set'.",
                id="pindb.E017",
            )


def _check_attributes() -> Iterator[CheckMessage]:
    samesite = conf.PINDB_PINNING_COOKIE_SAMESITE
    if samesite and not (isinstance(samesite, str) and samesite.lower() in ("lax", "strict", "none")):
        yield _wrong_attribute("SAMESITE", samesite, "'Lax', 'Strict' or 'None', or False for no attribute")
    domain: Any = conf.PINDB_PINNING_COOKIE_DOMAIN
    if domain is not None and not (isinstance(domain, str) and re.fullmatch(r"[A-Za-z0-9._-]*", domain)):
        yield _wrong_attribute(
            "DOMAIN",
            domain,
            "a domain without scheme and port, such as 'example.com', or None for the site's own host",
        )
    path: Any = conf.PINDB_PINNING_COOKIE_PATH
    if not (isinstance(path, str) and re.fullmatch(r"/[!-:<-~]*", path)):
        yield _wrong_attribute("PATH", path, "a path that begins with a slash, such as '/'")


def _wrong_attribute(attribute: str, value: Any, what: str) -> CheckMessage:
    name = f"PINDB_PINNING_COOKIE_{attribute}"
    followed = "" if hasattr(settings, name) else f" (from {COOKIE_DEFAULTS[name]})"
    return Error(
        f"{name} is {value!r}{followed}, which is not valid.", hint=f"Write {what}.", id="pindb.E018"
    )


def _check_browsers(name: str) -> Iterator[CheckMessage]:
    """Report attributes that make browsers reject the cookie."""
    secure = conf.PINDB_PINNING_COOKIE_SECURE
    reason = None
    if str(conf.PINDB_PINNING_COOKIE_SAMESITE).lower() == "none" and conf.PINDB_PINNING_COOKIE_SAMESITE:
        reason = None if secure else "has SameSite=None and is not secure"
    if name.startswith("__Secure-") and not secure:
        reason = "has a name that begins with '__Secure-' and is not secure"
    if name.startswith("__Host-"):
        apart = conf.PINDB_PINNING_COOKIE_DOMAIN or conf.PINDB_PINNING_COOKIE_PATH != "/"
        if not secure or apart:
            reason = (
                "has a name that begins with '__Host-', which requires Secure, the path '/' and no domain"
            )
    if reason is not None:
        yield Warning(
            f"Browsers reject the cookie {name!r}, which {reason}: pins would not reach the user's next "
            "request.",
            hint="Set PINDB_PINNING_COOKIE_SECURE = True (or SESSION_COOKIE_SECURE, which it follows), or "
            "change PINDB_PINNING_COOKIE and its other attributes.",
            id="pindb.W011",
        )
