"""A visitor: keeps cookies, makes requests, and remembers what it wrote."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.cookies import SimpleCookie
from time import monotonic
from typing import Any

from django.test import RequestFactory

__all__ = ["Session"]

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


class Session:
    """One visitor, who has a row.

    Arguments:
        key: the row's.

    Attributes:
        number: what the row has had since the last write.
        lock: held while a request of it runs: a visitor waits for an answer.
    """

    def __init__(self, key: int) -> None:
        self.key = key
        self.number = 0
        self.lock = threading.Lock()
        # Values by name, with the time when they end.
        self._cookies: dict[str, tuple[str, float]] = {}

    def environ(self, writes: bool) -> dict[str, Any]:
        """What a WSGI server would make of the session's next request."""
        now = monotonic()
        cookies = [f"{name}={value}" for name, (value, until) in self._cookies.items() if now < until]
        more = {"HTTP_COOKIE": "; ".join(cookies)} if cookies else {}
        factory = RequestFactory()
        method = factory.post if writes else factory.get
        # What the factory says of its own cookies is overwritten.
        environ = dict(method(f"/{self.key}").environ)
        environ.pop("HTTP_COOKIE", None)
        return environ | more

    def take_cookies(self, headers: list[tuple[str, str]]) -> None:
        """Do what a browser does with the headers of a response."""
        now = monotonic()
        for name, text in headers:
            if name.lower() == "set-cookie":
                for cookie, morsel in SimpleCookie(text).items():
                    self._cookies[cookie] = morsel.value, now + float(morsel["max-age"])
