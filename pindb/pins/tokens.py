"""Pins as text: how they travel through hands that are not to be trusted.

A token is a signed JSON object with, for each alias, the Unix time (seconds) until which it is pinned, or a
list of that time and a position. It is signed with Django's cookie signer, so ``SECRET_KEY_FALLBACKS`` and
``SIGNING_BACKEND`` work, and judged by what is in it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.core import signing

from pindb.conf import conf
from pindb.pins.context import Pin
from pindb.sets.definitions import get_sets
from pindb.sets.positions import MAX_LENGTH

__all__ = ["dump_pins", "load_pins", "read_pin", "write_pin"]

logger = logging.getLogger("pindb")

SALT = "pindb.stores"

#: Longer than this (characters), a token is not looked at. Browsers keep no larger cookies.
MAX_TOKEN_LENGTH = 4096

#: How far the clocks of two servers may be apart (seconds) before one ignores the other's pins by time.
CLOCK_SKEW = 5

#: The same for pins that carry a position. A clock that is set wrongly is off by hours, and a position is
#: right without one; tasks may wait for hours, too. The position itself ends a pin, or what carries it: the
#: Max-Age of the cookie.
POSITION_SKEW = 86_400


def dump_pins(pins: Mapping[str, Pin]) -> str:
    """The token for pins, by master alias."""
    values = {alias: write_pin(pin._replace(until=round(pin.until, 3))) for alias, pin in pins.items()}
    return signing.get_cookie_signer(salt=SALT).sign_object(values)


def write_pin(pin: Pin) -> Any:
    """What a token has as a pin's value: the time until which it is in force, or a list with its position."""
    return pin.until if pin.position is None else list(pin)


def load_pins(token: Any, now: float) -> dict[str, Pin]:
    """The pins in a token that are in force; whatever else it holds is ignored and logged at DEBUG.

    Arguments:
        token: what came from outside: anything at all.
        now: Unix time, seconds.

    Returns:
        The pins by master alias.
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


def _load(token: Any, now: float) -> dict[str, Pin]:
    if not isinstance(token, str):
        raise _Ignored(f"a {type(token).__name__}")
    if len(token) > MAX_TOKEN_LENGTH:
        raise _Ignored(f"{len(token)} characters")
    data = signing.get_cookie_signer(salt=SALT).unsign_object(token)
    if not isinstance(data, dict):
        raise _Ignored(f"a {type(data).__name__} in it")
    masters = get_sets().replicas
    pins = {}
    wrong = []
    for alias, value in data.items():
        pin = read_pin(value, now) if alias in masters else None
        if pin is None:
            wrong.append((alias, value))
        else:
            pins[alias] = pin
    if wrong:
        logger.debug("Ignored in a pinned set: %.200r", wrong)
    return pins


def read_pin(value: Any, now: float) -> Pin | None:
    """The pin that a token has as `value`, if it is one and in force at `now` (Unix time, seconds)."""
    position = None
    if isinstance(value, list) and len(value) == 2:
        value, position = value
        if not isinstance(position, str) or not 0 < len(position) <= MAX_LENGTH:
            return None
    if type(value) not in (int, float):
        return None
    if position is None:
        in_force = now < value <= now + conf.PINDB_PINNING_SECONDS + CLOCK_SKEW
    else:
        in_force = abs(value - now) <= conf.PINDB_POSITION_PIN_SECONDS + POSITION_SKEW
    return Pin(value, position) if in_force else None
