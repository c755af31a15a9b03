"""Those who use the site: some only read, others write and look whether they see what they wrote."""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.cookies import SimpleCookie
from random import Random
from urllib.parse import urlencode

from testproject.queries import HEADER, read_header

__all__ = ["BY_TIME", "Call", "Read", "Seen", "Task", "Write", "log_in", "visit"]

TIMEOUT = 30.0
PIN_COOKIE = "pindb_pinned_set"

#: What a pin without a position has in its place.
BY_TIME = "time"

#: Seconds between two requests of a visitor, on average, and between two writes.
THINKS = 0.05
WRITES = 0.8


@dataclass(frozen=True)
class Call:
    """A request.

    Attributes:
        port: the process that got it.
        began, ended: when (`time.monotonic`).
        succeeded: whether it was answered as it should be.
    """

    port: int
    began: float
    ended: float
    succeeded: bool


@dataclass(frozen=True)
class Read(Call):
    """A GET of the board.

    Attributes:
        member: the alias of the database that answered.
        pin: the position that the visitor was pinned by, or `BY_TIME`; empty where there was no pin.
        written: the visitor's last write that was acknowledged.
        shown: what the board had of it; None: nothing.
        error: what the site or the connection said where it failed.
    """

    member: str
    pin: str
    written: int
    shown: int | None
    error: str = ""

    @property
    def is_stale(self) -> bool:
        """Whether the visitor's own write was missing."""
        return self.succeeded and (self.shown is None or self.shown < self.written)


@dataclass(frozen=True)
class Write(Call):
    """A POST that changes the visitor's notice."""


@dataclass
class Seen:
    """What happened to some visitors."""

    reads: list[Read] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """What a process of visitors has to do.

    Attributes:
        seed: what their pace comes from.
        ports: the processes of the site.
        session: the cookies of somebody who may write.
        writers: the notice of each visitor who writes.
        readers: the notices that the others look at.
        until: when to end (`time.monotonic`).
    """

    seed: int
    ports: Sequence[int]
    session: dict[str, str]
    writers: Sequence[int]
    readers: Sequence[int]
    until: float


def visit(task: Task) -> Seen:
    """Let all visitors of a process come at the same time, until the time is over."""
    seen = Seen()
    visitors = [
        _Visitor(task, notice, number < len(task.writers), seen)
        for number, notice in enumerate((*task.writers, *task.readers))
    ]
    with ThreadPoolExecutor(len(visitors)) as pool:
        for done in [pool.submit(visitor.stay) for visitor in visitors]:
            done.result()
    return seen


def log_in(port: int, user: str, password: str) -> dict[str, str]:
    """The cookies of somebody who has logged in.

    Raises:
        RuntimeError: the site let nobody in.
    """
    cookies: dict[str, str] = {}
    _ask(port, "GET", "/login/", cookies)
    fields = {"username": user, "password": password, "csrfmiddlewaretoken": cookies["csrftoken"]}
    status, _, _ = _ask(port, "POST", "/login/", cookies, fields)
    if status != 302:
        raise RuntimeError(f"the site let nobody in: status {status}")
    return {name: cookies[name] for name in ("csrftoken", "sessionid")}


class _Visitor:
    """Somebody with a pin of their own.

    A page for somebody who has logged in reads the session, which is on the master. So the visitor shows the
    session's cookie only where it is needed, for writes.
    """

    def __init__(self, task: Task, notice: int, writes: bool, seen: Seen) -> None:
        self.task = task
        self.notice = notice
        self.writes = writes
        self.seen = seen
        self.random = Random(task.seed * 1_000_003 + notice)
        self.pins: dict[str, str] = {}
        self.tried = self.written = 0
        # The text of the notice, a number.
        self.text = re.compile(rf'data-notice="{notice}">.*?data-field="body">(\d+)<', re.DOTALL)

    def stay(self) -> None:
        next_write = time.monotonic() + self.random.uniform(0, WRITES)
        while (now := time.monotonic()) < self.task.until:
            if self.writes and now >= next_write:
                self.write()
                next_write = now + self.random.uniform(0, 2 * WRITES)
            else:
                self.read()
            time.sleep(self.random.uniform(0, 2 * THINKS))

    def read(self) -> None:
        pin = _pin(self.pins.get(PIN_COOKIE, ""))
        port, began = self.random.choice(self.task.ports), time.monotonic()
        status, response, body = _ask(port, "GET", "/", self.pins)
        found = self.text.search(body)
        queries = read_header(response.headers.get(HEADER, "[]")) if response else []
        # The last one, since the statement may have been run again.
        members = [query.database for query in queries if query.table == "board_notice"]
        self.seen.reads.append(
            Read(
                port,
                began,
                time.monotonic(),
                succeeded=status == 200,
                member=members[-1] if members else "",
                pin=pin,
                written=self.written,
                shown=int(found[1]) if found else None,
                error="" if status == 200 else body,
            )
        )

    def write(self) -> None:
        self.tried += 1
        session = self.task.session
        fields = {
            "title": "Counter",
            "body": str(self.tried),
            "csrfmiddlewaretoken": session["csrftoken"],
        }
        port, began = self.random.choice(self.task.ports), time.monotonic()
        cookies = {**self.pins, **session}
        status, response, _ = _ask(port, "POST", f"/{self.notice}/edit/", cookies, fields)
        self.pins = {name: cookies[name] for name in (PIN_COOKIE,) if name in cookies}
        done = status == 302 and response is not None and response.headers["Location"] == "/"
        if done:
            self.written = self.tried
        self.seen.writes.append(Write(port, began, time.monotonic(), done))


def _ask(
    port: int, method: str, path: str, cookies: dict[str, str], fields: dict[str, str] | None = None
) -> tuple[int, HTTPResponse | None, str]:
    """Status, response and text. Cookies that are set get into `cookies`.

    Status 0: there was no answer; the text says why.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
    if fields is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        connection.request(method, path, urlencode(fields) if fields else None, headers)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, HTTPException) as error:
        return 0, None, repr(error)
    finally:
        connection.close()
    for line in response.headers.get_all("Set-Cookie", ()):
        for name, morsel in SimpleCookie(line).items():
            if morsel.value:
                cookies[name] = morsel.value
            else:
                cookies.pop(name, None)
    return response.status, response, text


def _pin(token: str) -> str:
    """What a pinned cookie says: a position or `BY_TIME`; empty where it says nothing that is in force."""
    if not token:
        return ""
    coded = token.strip('"').partition(":")[0]
    value = json.loads(urlsafe_b64decode(coded + "=" * (-len(coded) % 4)))["default"]
    if isinstance(value, list):
        position: str = value[1]
        return position
    return BY_TIME if value > time.time() else ""
