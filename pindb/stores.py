"""Pins and the outside world: how they leave one unit of work and reach the next.

A token is what travels: a signed JSON object with, for each alias, the Unix time (seconds) until which it
is pinned. It is signed with Django's cookie signer, so ``SECRET_KEY_FALLBACKS`` and ``SIGNING_BACKEND``
work, and judged by the times in it.
"""

from __future__ import annotations

import logging
import math
import time
from typing import Any

from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from pindb.conf import conf
from pindb.pinning import PinningContext
from pindb.sets import get_sets

__all__ = ["CookieStore", "dump_pins", "load_pins"]

logger = logging.getLogger("pindb")

SALT = "pindb.stores"

#: Longer than this (characters), a token is not looked at. Browsers keep no larger cookies.
MAX_TOKEN_LENGTH = 4096

#: How far the clocks of two servers may be apart (seconds) before one ignores the other's pins.
CLOCK_SKEW = 5

#: How much longer than its pins a cookie lasts (seconds): clients that count whole seconds drop it early.
GRACE = 2


def pins_of(context: PinningContext, now: float) -> dict[str, float]:
    """What leaves a unit of work: its new pins, and what it was given and is still in force.

    Arguments:
        context: the unit's pinning context.
        now: Unix time, seconds.

    Returns:
        For each alias the Unix time until which it is pinned, in seconds.
    """
    pins = {alias: until for alias, until in context.carried.items() if until > now}
    pins.update(dict.fromkeys(context.new, now + conf.PINDB_PINNING_SECONDS))
    return pins


def dump_pins(pins: dict[str, float]) -> str:
    """The token for `pins` (Unix times in seconds by alias)."""
    rounded = {alias: round(until, 3) for alias, until in pins.items()}
    return signing.get_cookie_signer(salt=SALT).sign_object(rounded)


def load_pins(token: Any, now: float) -> dict[str, float]:
    """The pins in a token that are in force; whatever else it holds is ignored and logged at DEBUG.

    Arguments:
        token: what came from outside: anything at all.
        now: Unix time, seconds.

    Returns:
        For each master's alias the Unix time until which it is pinned, in seconds.
    """
    try:
        return _load(token, now)
    except _Ignored as ignored:
        logger.debug("Ignored a pinned set: %s", ignored)
    except (signing.BadSignature, ValueError, RecursionError) as error:
        # ValueError covers bad base64, UTF-8 and JSON, and settings that are wrong.
        logger.debug("Ignored a pinned set: %s", type(error).__name__)
    return {}


class _Ignored(Exception):
    pass


def _load(token: Any, now: float) -> dict[str, float]:
    if not isinstance(token, str):
        raise _Ignored(f"a {type(token).__name__}")
    if len(token) > MAX_TOKEN_LENGTH:
        raise _Ignored(f"{len(token)} characters")
    data = signing.get_cookie_signer(salt=SALT).unsign_object(token)
    if not isinstance(data, dict):
        raise _Ignored(f"a {type(data).__name__} in it")
    masters = get_sets().replicas
    latest = now + conf.PINDB_PINNING_SECONDS + CLOCK_SKEW
    pins = {}
    wrong = []
    for alias, until in data.items():
        if alias not in masters or type(until) not in (int, float) or not now < until <= latest:
            wrong.append((alias, until))
        else:
            pins[alias] = until
    if wrong:
        logger.debug("Ignored in a pinned set: %.200r", wrong)
    return pins


class CookieStore:
    """Carries pins in a signed cookie. Stateless; safe under threads and in async code."""

    def load(self, request: HttpRequest) -> dict[str, float]:
        """The pins that the request's cookie carries; none where it is missing or worth nothing."""
        token = request.COOKIES.get(conf.PINDB_PINNING_COOKIE)
        if token is None:
            return {}
        return load_pins(token, time.time())

    def save(self, response: HttpResponseBase, context: PinningContext) -> None:
        """Put the pins of `context` into the response's cookie, to last a little longer than they do."""
        now = time.time()
        pins = pins_of(context, now)
        response.set_cookie(
            conf.PINDB_PINNING_COOKIE,
            dump_pins(pins),
            max_age=math.ceil(max(pins.values()) - now) + GRACE,
            domain=conf.PINDB_PINNING_COOKIE_DOMAIN,
            path=conf.PINDB_PINNING_COOKIE_PATH,
            secure=conf.PINDB_PINNING_COOKIE_SECURE,
            httponly=conf.PINDB_PINNING_COOKIE_HTTPONLY,
            samesite=conf.PINDB_PINNING_COOKIE_SAMESITE,
        )
        # A shared cache must not hand one visitor's pins to the others.
        patch_vary_headers(response, ("Cookie",))
