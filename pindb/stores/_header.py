"""The pin store that uses a header, for services that call other services."""

from __future__ import annotations

import time
from collections.abc import Mapping

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from pindb.conf import conf
from pindb.pins.context import Pin, current
from pindb.pins.propagation import aexport_pins, export_pins
from pindb.pins.tokens import dump_pins, load_pins
from pindb.stores._base import TokenStore

__all__ = ["HeaderStore", "aget_pin_headers", "get_pin_headers", "take_pin_headers"]


class HeaderStore(TokenStore):
    """A store that carries pins in a header with a signed token, for services that call other services.

    The header ``PINDB_PIN_HEADER`` of a request has the caller's pins. If the request changes them, the
    header of the response has the new pins. The caller sends `get_pin_headers` with its request, and passes
    the headers of the response to `take_pin_headers`. Both services need the same ``SECRET_KEY`` and the same
    aliases. Stateless.
    """

    def load(self, request: HttpRequest) -> Mapping[str, Pin]:
        token = request.headers.get(conf.PINDB_PIN_HEADER)
        return {} if token is None else load_pins(token, time.time())

    def save(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        response.headers[conf.PINDB_PIN_HEADER] = dump_pins(pins)
        patch_vary_headers(response, (conf.PINDB_PIN_HEADER,))


def get_pin_headers() -> dict[str, str]:
    """Return the headers to send with a request to a service that uses `HeaderStore`.

    Returns:
        A dict with one header, which has the pins that are in force here; empty if nothing is pinned.
    """
    return _headers(export_pins(current()) if conf.PINDB_ENABLED else {})


async def aget_pin_headers() -> dict[str, str]:
    """Return what `get_pin_headers` returns, in async code."""
    return _headers(await aexport_pins(current()) if conf.PINDB_ENABLED else {})


def _headers(pins: Mapping[str, Pin]) -> dict[str, str]:
    return {conf.PINDB_PIN_HEADER: dump_pins(pins)} if pins else {}


def take_pin_headers(headers: Mapping[str, str]) -> None:
    """Take over the pins of a service's response: from now on, this code reads what the service wrote.

    The pins are carried on to the user's next requests and to tasks. `StrictPinDbRouter` allows no writes
    with them. Headers without valid pins are ignored.

    Arguments:
        headers: the headers of the response, their names in any case.
    """
    if not conf.PINDB_ENABLED:
        return
    wanted = conf.PINDB_PIN_HEADER.lower()
    token = next((value for name, value in headers.items() if name.lower() == wanted), None)
    pins = {} if token is None else load_pins(token, time.time())
    context = current()
    for alias, pin in pins.items():
        if alias in context.pinned or alias in context.carried:
            # Two pins of one set: the master's position at the end of this unit of work covers both.
            context.renew(alias)
        else:
            context.carry({alias: pin})
            context.changed = True
