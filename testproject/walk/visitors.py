"""Those who use the site: HTTP clients with cookies, and what they were shown."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser

import httpx

from testproject.queries import HEADER, Query, read_header
from testproject.walk.stage import PASSWORD, TIMEOUT, USER, Site, Stage

__all__ = ["Answer", "Notices", "Page", "Visitor"]

#: Notices by id: title, text and thanks.
Notices = dict[int, tuple[str, str, int]]

#: The cookie that carries pins (``PINDB_PINNING_COOKIE``).
PIN_COOKIE = "pindb_pinned_set"

#: Elements without an end tag.
VOID = {"br", "hr", "img", "input", "link", "meta"}


class Page(HTMLParser):
    """A page of the site, read.

    Attributes:
        notices: the notices that it shows; None where it is not the board.
        refusal: the message about a refused write; empty where there is none.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self._is_board = False
        self._fields: dict[tuple[int, str], str] = {}
        self._refusal = ""
        self._notice = 0
        # For each open element what its text belongs to: "", a field of a notice, or the refusal.
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.refusal = self._refusal.strip()
        self.notices = self._read_notices() if self._is_board else None

    def _read_notices(self) -> Notices:
        fields = self._fields
        return {
            pk: (fields[pk, "title"], fields[pk, "body"], int(fields[pk, "thanks"]))
            for pk in dict.fromkeys(pk for pk, _ in fields)
        }

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._is_board = self._is_board or "data-board" in values
        if notice := values.get("data-notice"):
            self._notice = int(notice)
        field = values.get("data-field") or ("refusal" if "data-refusal" in values else "")
        if field and field != "refusal":
            self._fields[self._notice, field] = ""
        if tag not in VOID:
            self._open.append(field)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        field = self._open[-1] if self._open else ""
        if field == "refusal":
            self._refusal += data
        elif field:
            self._fields[self._notice, field] += data


@dataclass(frozen=True)
class Answer:
    """What a visitor got for one request.

    Attributes:
        visitor: who asked.
        request: what was asked: ``"GET /"``.
        status: the HTTP status.
        queries: the queries that the site made for it.
        page: what came back.
        committed: what the master had when the request was sent.
        wrote_before: whether the visitor had written anything before.
    """

    visitor: str
    request: str
    status: int
    queries: list[Query]
    page: Page
    committed: Notices
    wrote_before: bool

    @property
    def is_stale(self) -> bool | None:
        """Whether the board shown is not what was committed; None where no board was shown."""
        return None if self.page.notices is None else self.page.notices != self.committed

    @property
    def of_notices(self) -> list[Query]:
        """The queries of notices, which are what pindb routes; the others stay on the master."""
        return [query for query in self.queries if query.table == "board_notice"]


class Visitor:
    """Somebody with a browser.

    Arguments:
        name: what the visitor is called.
        stage: knows what is committed.
        site: the site visited first.
    """

    def __init__(self, name: str, stage: Stage, site: Site) -> None:
        self.name = name
        self.site = site
        self._stage = stage
        self._wrote = False
        # A connection for each request, so that nothing but cookies ties a visitor's requests together.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(limits=limits, timeout=TIMEOUT, trust_env=False)

    @property
    def holds_pin(self) -> bool:
        """Whether the browser has pindb's cookie."""
        return PIN_COOKIE in self._client.cookies

    def close(self) -> None:
        """Close the browser."""
        self._client.close()

    def get(self, path: str) -> Answer:
        """Ask for a page."""
        return self._ask("GET", path)

    def post(self, path: str, **fields: str) -> Answer:
        """Send a form. Redirects are not followed: the page that they lead to is a request of its own."""
        token = self._client.cookies.get("csrftoken") or ""
        answer = self._ask("POST", path, {**fields, "csrfmiddlewaretoken": token})
        self._wrote = self._wrote or any(query.verb != "SELECT" for query in answer.of_notices)
        return answer

    def log_in(self) -> Answer:
        """Fetch the form, for its token, and log in."""
        self._ask("GET", "/login/")
        return self.post("/login/", username=USER, password=PASSWORD, next="/new/")

    def _ask(self, method: str, path: str, data: dict[str, str] | None = None) -> Answer:
        committed = self._stage.committed()
        response = self._client.request(method, f"{self.site.address}{path}", data=data)
        if HEADER not in response.headers:
            raise RuntimeError(
                f"{method} {path} was answered with status {response.status_code} and without its queries. "
                f"The site's log ends:\n{self.site.log()}"
            )
        return Answer(
            visitor=self.name,
            request=f"{method} {path}",
            status=response.status_code,
            queries=read_header(response.headers[HEADER]),
            page=Page(response.text),
            committed=committed,
            wrote_before=self._wrote,
        )
