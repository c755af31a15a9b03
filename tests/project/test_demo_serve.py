"""The demo's site for people, driven as a browser does it: pins, and replicas that are paused and killed."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from pindb.testing.processes import wait_for
from testproject.queries import HEADER, read_header
from tests.project.test_demo import serving

PIN = "pindb_pinned_set"

#: For what takes a moment, in seconds.
TIMEOUT = 30


class Demo(NamedTuple):
    """The addresses of the running sites."""

    position: str
    time: str


class Browser:
    """Somebody with a browser, without JavaScript.

    Attributes:
        page: the text of the last page.
        read: the databases that the last page's notices were read from.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.client = httpx.Client(follow_redirects=True, timeout=TIMEOUT, trust_env=False)
        self.page = ""
        self.read: set[str] = set()

    def get(self, path: str = "") -> Browser:
        return self._show(self.client.get(self.address + path))

    def post(self, path: str, **fields: str) -> Browser:
        token = self.client.cookies.get("csrftoken") or ""
        data = {**fields, "csrfmiddlewaretoken": token}
        return self._show(self.client.post(self.address + path, data=data))

    def _show(self, response: httpx.Response) -> Browser:
        assert response.status_code == 200, response.text
        self.page = response.text
        queries = read_header(response.headers[HEADER])
        self.read = {query.database for query in queries if query.table == "board_notice"}
        return self

    def press(self, button: str, alias: str) -> Browser:
        """Press a button that the page has for a server."""
        assert f'aria-label="{button} {alias}"' in self.page
        return self.post(f"servers/{alias}/", action=button.lower())

    def post_notice(self, title: str) -> Browser:
        self.get("login/").post("login/", username="ada", password="lovelace", next="/new/")
        return self.post("new/", title=title, body="To be found.")

    def states(self) -> dict[str, str]:
        return dict(re.findall(r'data-server="([\w-]+)" data-state="(\w+)"', self.page))

    def is_pinned(self) -> bool:
        (pin,) = re.findall(r'data-pin="(\w+)"', self.page)
        return bool(pin == "pinned")

    def seconds(self) -> float:
        """What the countdown starts with."""
        (seconds,) = re.findall(r'data-countdown="([\d.]+)"', self.page)
        return float(seconds)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """The running demo; with the last test it is ended by SIGTERM, and has to leave nothing behind."""
    with serving(signal.SIGTERM) as addresses:
        yield Demo(addresses["The notice board"], addresses["Pins by time"])


@pytest.fixture
def browser(demo: Demo) -> Iterator[Browser]:
    """A new visitor; all replicas run when they leave."""
    browser = Browser(demo.position)
    yield browser.get()
    browser.get()
    for alias, state in browser.states().items():
        if state == "paused":
            browser.press("Resume", alias)
        elif state == "down":
            browser.press("Start", alias)
    browser.client.close()


def read_until(browser: Browser, alias: str) -> None:
    wait_for(lambda: alias in browser.get().read, f"{alias} to be read", TIMEOUT)


def test_a_page_shows_the_servers_and_which_of_them_it_was_read_from(browser: Browser) -> None:
    assert browser.states() == {"default": "running", "default-0": "running", "default-1": "running"}
    assert not browser.is_pinned()
    seen = set()
    for _ in range(2):
        (alias,) = browser.get().read
        (marked,) = re.findall(r'served" data-server="([\w-]+)"', browser.page)
        assert marked == alias
        seen.add(alias)
    assert seen == {"default-0", "default-1"}


def test_pages_need_nothing_from_elsewhere(browser: Browser, demo: Demo) -> None:
    links = re.findall(r'(?:href|src)="([^"]+)"', browser.page)
    assert {link for link in links if "//" in link} == set(demo)
    assets = [link for link in links if link.startswith("/static/")]
    assert {Path(asset).suffix for asset in assets} == {".css", ".js"}
    for asset in assets:
        text = browser.client.get(browser.address + asset.removeprefix("/")).raise_for_status().text
        assert "//" not in re.sub(r"^// .*$", "", text, flags=re.M)


def test_reads_move_to_the_other_replica_when_one_is_killed_and_back_when_it_is_started(
    browser: Browser,
) -> None:
    browser.press("Kill", "default-0")
    assert browser.states()["default-0"] == "down"
    assert "default-0 is killed" in browser.page
    # The statement that the dead server fails is run again by the other one.
    assert "default-1" in browser.read
    for _ in range(4):
        assert "default-1" in browser.get().read
    assert 'aria-label="Kill default-0"' not in browser.page
    browser.press("Start", "default-0")
    assert browser.states()["default-0"] == "running"
    read_until(browser, "default-0")


def test_reads_go_to_the_primary_when_all_replicas_are_killed(browser: Browser) -> None:
    for alias in ("default-0", "default-1"):
        browser.press("Kill", alias)
    assert browser.states() == {"default": "running", "default-0": "down", "default-1": "down"}
    for _ in range(3):
        assert "default" in browser.get().read


def test_a_pin_by_position_goes_on_while_a_replica_is_paused_and_ends_when_it_has_the_write(
    browser: Browser,
) -> None:
    browser.press("Pause", "default-1")
    assert browser.states()["default-1"] == "paused"
    browser.post_notice("Lost: one glove")
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        assert "Lost: one glove" in browser.get().page
        assert browser.is_pinned()
        assert browser.read <= {"default", "default-0"}
    assert "has your write" in browser.page
    assert "lacks your write" in browser.page
    assert 290 < browser.seconds() <= 300
    assert PIN in browser.client.cookies
    browser.press("Resume", "default-1")
    deadline = time.monotonic() + TIMEOUT
    while PIN in browser.client.cookies:
        assert "Lost: one glove" in browser.get().page
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not browser.get().is_pinned()
    read_until(browser, "default-1")
    assert "Lost: one glove" in browser.page


def test_a_paused_replica_shows_others_what_it_had(browser: Browser) -> None:
    browser.press("Pause", "default-1")
    browser.post_notice("Lost: one hat")
    browser.client.cookies.delete(PIN)
    read_until(browser, "default-1")
    assert "Lost: one hat" not in browser.page


def test_the_other_site_pins_by_time_and_counts_down(demo: Demo, browser: Browser) -> None:
    assert f'<a href="{demo.time}">by time</a>' in browser.page
    browser.address = demo.time
    assert f'<a href="{demo.time}" aria-current="true">by time</a>' in browser.get().page
    browser.post_notice("Lost: one shoe")
    assert browser.is_pinned()
    assert browser.read == {"default"}
    first = browser.seconds()
    assert 0 < first <= 15
    assert browser.get().seconds() < first


def test_the_other_site_takes_a_pin_by_position_for_what_it_is(demo: Demo, browser: Browser) -> None:
    browser.press("Pause", "default-1")
    browser.post_notice("Lost: one scarf")
    browser.address = demo.time
    assert "Lost: one scarf" in browser.get().page
    assert browser.seconds() > 15
    assert "The pin ends when all have it" in browser.page


@pytest.mark.parametrize(
    ("alias", "action", "error"),
    [
        ("default", "kill", "&#x27;kill&#x27; is not possible."),
        ("default-7", "kill", "&#x27;kill&#x27; is not possible."),
        ("default-0", "promote", "&#x27;promote&#x27; is not possible."),
        ("default-0", "", "&#x27;nothing&#x27; is not possible."),
        ("default-0", "start", "replica-0 runs already."),
    ],
)
def test_what_cannot_be_done_is_said(browser: Browser, alias: str, action: str, error: str) -> None:
    browser.post(f"servers/{alias}/", action=action)
    assert f"{alias}: {error}" in browser.page
    assert set(browser.states().values()) == {"running"}


def test_servers_are_changed_by_forms_of_the_site_alone(browser: Browser) -> None:
    address = f"{browser.address}servers/default-0/"
    assert httpx.get(address, trust_env=False).status_code == 405
    assert httpx.post(address, data={"action": "kill"}, trust_env=False).status_code == 403
    assert browser.get().states()["default-0"] == "running"
