"""The pin store that uses a cookie: its name, its attributes (Secure, SameSite, Domain ...), its Max-Age."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from pindb.conf import conf
from pindb.pins.context import Pin
from pindb.pins.expiry import time_to_live
from pindb.pins.tokens import dump_pins, load_pins
from pindb.stores._base import TokenStore

__all__ = ["CookieStore"]


class CookieStore(TokenStore):
    """A store that carries pins in a signed cookie. Stateless."""

    needs_cookies = True

    def load(self, request: HttpRequest) -> Mapping[str, Pin]:
        token = request.COOKIES.get(conf.PINDB_PINNING_COOKIE)
        return {} if token is None else load_pins(token, time.time())

    def save(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        attributes: dict[str, Any] = {
            "domain": conf.PINDB_PINNING_COOKIE_DOMAIN,
            "path": conf.PINDB_PINNING_COOKIE_PATH,
            "samesite": conf.PINDB_PINNING_COOKIE_SAMESITE,
        }
        if pins:
            response.set_cookie(
                conf.PINDB_PINNING_COOKIE,
                dump_pins(pins),
                max_age=time_to_live(pins, time.time()),
                secure=conf.PINDB_PINNING_COOKIE_SECURE,
                httponly=conf.PINDB_PINNING_COOKIE_HTTPONLY,
                **attributes,
            )
        else:
            response.delete_cookie(conf.PINDB_PINNING_COOKIE, **attributes)
        # A shared cache must not serve one visitor's pins to others.
        patch_vary_headers(response, ("Cookie",))
