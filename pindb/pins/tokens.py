"""Tokens: pins as signed text, for cookies, headers and the messages of tasks.

A token is a signed JSON object. For each master's alias it has the Unix time (seconds) until which the set is
pinned, or a list of that time and a position. Django's cookie signer signs it, so ``SECRET_KEY_FALLBACKS``
and ``SIGNING_BACKEND`` work. Everything in a token is validated, since tokens come from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core import signing

from pindb import _events as events
from pindb.pins.context import Pin
from pindb.pins.expiry import is_in_force
from pindb.sets.definitions import get_sets
from pindb.sets.positions import MAX_LENGTH

__all__ = ["dump_pins", "load_pins", "read_pin", "write_pin"]

SALT = "pindb.stores"

#: The longest token (characters) that is read. Browsers keep no larger cookies.
MAX_TOKEN_LENGTH = 4096


def dump_pins(pins: Mapping[str, Pin]) -> str:
    """Return the token for pins, by the master's alias."""
    values = {alias: write_pin(pin._replace(until=round(pin.until, 3))) for alias, pin in pins.items()}
    return signing.get_cookie_signer(salt=SALT).sign_object(values)


def load_pins(token: Any, now: float) -> dict[str, Pin]:
    """Return the pins of a token that are in force. The rest is ignored, and logged at level DEBUG.

    Arguments:
        token: a token, or anything else that came from outside.
        now: Unix time, seconds.

    Returns:
        The pins by the master's alias.
    """
    try:
        return _load(token, now)
    except _Ignored as ignored:
        events.PINS_IGNORED.log(reason=str(ignored))
    except (signing.BadSignature, ValueError, RecursionError) as error:
        # ValueError: bad base64, UTF-8 or JSON, and settings that are wrong.
        events.PINS_IGNORED.log(reason=type(error).__name__)
    return {}


class _Ignored(Exception):
    pass


def _load(token: Any, now: float) -> dict[str, Pin]:
    if not isinstance(token, str):
        raise _Ignored(f"the token is a {type(token).__name__}")
    if len(token) > MAX_TOKEN_LENGTH:
        raise _Ignored(f"the token has {len(token)} characters")
    data = signing.get_cookie_signer(salt=SALT).unsign_object(token)
    if not isinstance(data, dict):
        raise _Ignored(f"the token holds a {type(data).__name__}")
    masters = get_sets().replicas
    pins = {}
    ignored = []
    for alias, value in data.items():
        pin = read_pin(value, now) if alias in masters else None
        if pin is None:
            ignored.append((alias, value))
        else:
            pins[alias] = pin
    if ignored:
        events.PINS_IGNORED.log(reason=f"{ignored!r:.200}")
    return pins


def write_pin(pin: Pin) -> Any:
    """Return a pin as a token holds it: its time, or a list of its time and position."""
    return pin.until if pin.position is None else list(pin)


def read_pin(value: Any, now: float) -> Pin | None:
    """Return the pin that a token holds as `value`; None if it is not a pin, or not in force.

    Arguments:
        value: anything that JSON can express.
        now: Unix time, seconds.
    """
    position = None
    if isinstance(value, list) and len(value) == 2:
        value, position = value
        if not isinstance(position, str) or not 0 < len(position) <= MAX_LENGTH:
            return None
    if type(value) not in (int, float):
        return None
    pin = Pin(value, position)
    return pin if is_in_force(pin, now) else None
