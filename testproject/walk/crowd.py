"""Many readers at once, to see what they notice of a server that fails."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType

import httpx

from testproject.queries import HEADER, read_header
from testproject.walk.stage import TIMEOUT, Site
from testproject.walk.visitors import Notices, Page

__all__ = ["Crowd"]

READERS = 4


class Crowd:
    """Readers without cookies who reload the board for as long as the block lasts.

    Attributes:
        answered: how many boards were shown, by the alias of the database that they came from.
        failures: what readers got instead of the board as it is, and how often.

    Arguments:
        site: what they read.
        committed: the notices that the board should show.
    """

    def __init__(self, site: Site, committed: Notices) -> None:
        self.answered: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._url = f"{site.address}/"
        self._committed = committed
        self._is_over = threading.Event()
        self._counting = threading.Lock()
        self._readers = [threading.Thread(target=self._read, daemon=True) for _ in range(READERS)]

    def __enter__(self) -> Crowd:
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        for reader in self._readers:
            reader.join(TIMEOUT)

    def answered_by(self, alias: str) -> int:
        """How many boards a database has answered by now."""
        with self._counting:
            return self.answered[alias]

    def _read(self) -> None:
        # A connection for each request: a small server of Django's answers a kept one 40 ms late.
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(limits=limits, timeout=TIMEOUT, trust_env=False) as client:
            while not self._is_over.is_set():
                try:
                    wrong, alias = self._judge(client.get(self._url))
                except httpx.HTTPError as error:
                    wrong, alias = type(error).__name__, ""
                with self._counting:
                    if wrong:
                        self.failures[wrong] += 1
                    else:
                        self.answered[alias] += 1

    def _judge(self, response: httpx.Response) -> tuple[str, str]:
        """What is wrong with a response, if anything, and which database it came from."""
        if response.status_code != httpx.codes.OK:
            return f"status {response.status_code}", ""
        if Page(response.text).notices != self._committed:
            return "not what was committed", ""
        # A statement that one database failed is followed by the one that another answered.
        return "", read_header(response.headers[HEADER])[-1].database
