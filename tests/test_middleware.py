"""Requests and their cookie, through Django's own handlers, on paused replicas."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from http.cookies import Morsel
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.core import signing
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings

import pindb
from pindb.middleware import PinDbMiddleware, PinUnsafeMethodsMiddleware
from pindb.pins.context import Pin
from pindb.pins.tokens import SALT, dump_pins
from pindb.testing.postgres import PostgresReplicaSet
from tests.conftest import resume_all
from tests.testapp import views
from tests.testapp.models import Author

COOKIE = "pindb_pinned_set"


pytestmark = pytest.mark.usefixtures("paused")


def pinned_cookie(**until: Any) -> str:
    return signing.get_cookie_signer(salt=SALT).sign_object(until)


def client_with(cookie: str) -> Client:
    client = Client()
    client.cookies[COOKIE] = cookie
    return client


# ---- a writer and a reader ---------------------------------------------------------------------


def test_a_reader_gets_no_cookie() -> None:
    response = Client().get("/read/")
    assert response.json()["pinned"] == []
    assert COOKIE not in response.cookies
    assert "Cookie" not in response.get("Vary", "")


def test_a_writer_reads_what_it_wrote_in_this_request_and_the_next_and_others_do_not() -> None:
    writer, reader = Client(), Client()
    seen = {"names": ["written"], "used": ["default"], "pinned": ["default"]}
    assert writer.get("/write/").json() == {**seen, "new": ["default"]}
    assert writer.get("/read/").json() == {**seen, "new": []}
    assert reader.get("/read/").json()["names"] == []


def test_a_cookie_is_set_when_and_only_when_something_is_newly_pinned() -> None:
    client = Client()
    assert COOKIE in client.get("/write/").cookies
    assert COOKIE not in client.get("/read/").cookies
    assert COOKIE in client.get("/write/?name=again").cookies


def test_a_write_that_was_followed_by_an_error_still_pins() -> None:
    client = Client(raise_request_exception=False)
    response = client.get("/write-and-fail/")
    assert response.status_code == 500
    assert COOKIE in response.cookies
    assert client.get("/read/").json()["names"] == ["written"]


def test_a_new_pin_keeps_the_pins_that_were_carried_in() -> None:
    client = Client()
    client.get("/write/")
    client.get("/write-api/")
    assert client.get("/read/").json()["pinned"] == ["api", "default"]


def test_a_pin_is_judged_by_the_time_in_it_and_not_by_the_browser() -> None:
    client = client_with(pinned_cookie(default=time.time() - 0.01))
    assert client.get("/read/").json()["pinned"] == []
    client = client_with(pinned_cookie(default=time.time() - 1, api=time.time() + 9))
    assert client.get("/read/").json()["pinned"] == ["api"]


@override_settings(PINDB_PINNING_SECONDS=0.2)
def test_a_pin_ends_after_the_seconds_of_the_setting() -> None:
    client = Client()
    before = time.time()
    client.get("/write/")
    assert client.get("/read/").json()["pinned"] == ["default"] or time.time() > before + 0.2
    time.sleep(0.25)
    assert client.get("/read/").json()["pinned"] == []


def test_requests_leave_nothing_behind() -> None:
    pindb.pin("api")
    Client().get("/write/")
    assert pindb.get_pinned() == {"api"}


@override_settings(PINDB_ENABLED=False)
def test_disabled_there_is_no_cookie_and_everything_is_read_from_the_master() -> None:
    response = Client().get("/write/")
    assert response.json() == {"names": ["written"], "used": ["default"], "pinned": [], "new": []}
    assert COOKIE not in response.cookies


@override_settings(PINDB_UNPINNED_MODELS=["sessions.Session"])
def test_sessions_survive_lag_without_pinning() -> None:
    client = Client()
    assert [client.get("/session/").json()["count"] for _ in range(3)] == [0, 1, 2]
    assert COOKIE not in client.cookies
    assert client.get("/read/").json()["pinned"] == []


# ---- the cookie --------------------------------------------------------------------------------


def cookie_after_write() -> Morsel[str]:
    return Client().get("/write/").cookies[COOKIE]


def test_the_cookie_follows_the_session_cookie() -> None:
    with override_settings(
        SESSION_COOKIE_DOMAIN="example.com",
        SESSION_COOKIE_PATH="/app/",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=False,
        SESSION_COOKIE_SAMESITE="Strict",
    ):
        cookie = cookie_after_write()
    assert (cookie["domain"], cookie["path"], cookie["samesite"]) == ("example.com", "/app/", "Strict")
    assert cookie["secure"] is True
    assert not cookie["httponly"]
    assert cookie["max-age"] == 15 + 2


def test_the_cookie_has_settings_of_its_own() -> None:
    with override_settings(
        PINDB_PINNING_COOKIE="pins",
        PINDB_PINNING_SECONDS=60,
        PINDB_PINNING_COOKIE_DOMAIN="www.example.com",
        PINDB_PINNING_COOKIE_PATH="/x/",
        PINDB_PINNING_COOKIE_SECURE=True,
        PINDB_PINNING_COOKIE_HTTPONLY=False,
        PINDB_PINNING_COOKIE_SAMESITE=None,
    ):
        cookie = Client().get("/write/").cookies["pins"]
    assert (cookie["domain"], cookie["path"], cookie["samesite"]) == ("www.example.com", "/x/", "")
    assert (cookie["max-age"], cookie["secure"], cookie["httponly"]) == (60 + 2, True, "")


def test_the_cookie_is_out_of_reach_of_scripts_and_of_shared_caches() -> None:
    response = Client().get("/write/")
    assert response.cookies[COOKIE]["httponly"] is True
    assert "Cookie" in response["Vary"]


def test_keys_can_be_rotated() -> None:
    cookie = pinned_cookie(default=time.time() + 9)
    with override_settings(SECRET_KEY="the next key", SECRET_KEY_FALLBACKS=["a key for tests"]):
        assert client_with(cookie).get("/read/").json()["pinned"] == ["default"]
    with override_settings(SECRET_KEY="the next key"):
        assert client_with(cookie).get("/read/").json()["pinned"] == []


def in_future(seconds: float = 9) -> float:
    return time.time() + seconds


BAD: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "garbage": lambda: "garbage",
    "noise": lambda: "\x00\xff;=" * 2048,
    "8 KB signed": lambda: pinned_cookie(default=in_future(), x="y" * 8192),
    "unsigned": lambda: signing.b64_encode(json.dumps({"default": in_future()}).encode()).decode(),
    "forged": lambda: pinned_cookie(default=in_future())[:-3] + "abc",
    "another signature": lambda: signing.get_cookie_signer(salt="x").sign_object({"default": in_future()}),
    "other key": lambda: signing.Signer(key="x", salt=SALT).sign_object({"default": in_future()}),
    "not a dict": lambda: signing.get_cookie_signer(salt=SALT).sign_object(["default"]),
    "signed but no JSON": lambda: signing.get_cookie_signer(salt=SALT).sign("bm8ganNvbg"),
    "expired": lambda: pinned_cookie(default=in_future(-1)),
    "too far away": lambda: pinned_cookie(default=in_future(3600)),
    "infinite": lambda: pinned_cookie(default=float("inf")),
    "not a number": lambda: pinned_cookie(default=float("nan")),
    "text": lambda: pinned_cookie(default=str(in_future())),
    "bool": lambda: pinned_cookie(default=True),
    "none": lambda: pinned_cookie(default=None),
    "list": lambda: pinned_cookie(default=[in_future()]),
    "unknown alias": lambda: pinned_cookie(nobody=in_future()),
    "unmanaged alias": lambda: pinned_cookie(unmanaged=in_future()),
    "replica": lambda: pinned_cookie(**{"default-0": in_future()}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_cookie_that_is_not_what_it_should_be_is_ignored(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="pindb"):
        response = client_with(BAD[name]()).get("/read/")
    assert response.json()["pinned"] == []
    assert COOKIE not in response.cookies
    assert [record.levelname for record in caplog.records if record.name == "pindb"] == ["DEBUG"]


def test_what_is_right_in_a_cookie_counts_beside_what_is_wrong() -> None:
    cookie = pinned_cookie(default=in_future(), nobody=in_future(), api="soon")
    assert client_with(cookie).get("/read/").json()["pinned"] == ["default"]


def test_servers_whose_clocks_differ_by_seconds_take_each_others_pins() -> None:
    assert client_with(pinned_cookie(default=in_future(18))).get("/read/").json()["pinned"] == ["default"]


def test_a_token_holds_no_more_than_aliases_and_times() -> None:
    token = dump_pins({"default": Pin(1_700_000_000.123456)})
    assert signing.get_cookie_signer(salt=SALT).unsign_object(token) == {"default": 1_700_000_000.123}


# ---- streaming ---------------------------------------------------------------------------------


def test_streamed_content_is_read_with_the_pins_of_its_request() -> None:
    client = Client()
    client.get("/write/")
    assert client.get("/stream/").getvalue() == b"written default ['default']\n"
    assert Client().get("/stream/").getvalue() == b""


def test_streamed_content_is_read_with_the_pins_of_its_request_under_asgi() -> None:
    async def run(client: AsyncClient) -> bytes:
        response: Any = await client.get("/astream/")
        return b"".join([chunk async for chunk in response])

    cookie = Client().get("/write/").cookies[COOKIE].value
    client = AsyncClient()
    client.cookies[COOKIE] = cookie
    assert asyncio.run(run(client)) == b"written default ['default']\n"
    assert asyncio.run(run(AsyncClient())) == b""


# ---- ASGI --------------------------------------------------------------------------------------


def test_under_asgi_a_writer_reads_what_it_wrote() -> None:
    async def run() -> None:
        client = AsyncClient()
        response = await client.get("/awrite/")
        assert response.json()["names"] == ["written"]
        assert COOKIE in response.cookies
        assert (await client.get("/aread/")).json()["names"] == ["written"]
        assert (await client.get("/read/")).json()["names"] == ["written"]
        assert (await AsyncClient().get("/aread/")).json()["names"] == []

    asyncio.run(run())


def test_requests_interleaved_on_one_loop_do_not_see_each_others_pins() -> None:
    async def run() -> None:
        views.meeting.clear()
        views.meeting.update(writer=asyncio.Event(), reader=asyncio.Event())
        writer, reader = await asyncio.gather(
            AsyncClient().get("/meet/writer/"), AsyncClient().get("/meet/reader/")
        )
        assert (writer.json()["names"], writer.json()["new"]) == (["written"], ["default"])
        assert (reader.json()["names"], reader.json()["pinned"]) == ([], [])
        assert COOKIE not in reader.cookies

    asyncio.run(run())


def test_the_middleware_is_native_on_both_sides() -> None:
    async def acall(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(threading.get_ident()))

    def call(request: HttpRequest) -> HttpResponse:
        return HttpResponse("sync")

    async def run() -> None:
        middleware = PinDbMiddleware(acall)
        assert iscoroutinefunction(middleware)
        response: Any = await middleware(HttpRequest())
        assert response.content == str(threading.get_ident()).encode()

    asyncio.run(run())
    response: Any = PinDbMiddleware(call)(HttpRequest())
    assert response.content == b"sync"
    assert PinDbMiddleware.async_capable
    assert PinDbMiddleware.sync_capable


def test_a_view_may_not_find_pins_of_the_process_in_its_request() -> None:
    pindb.pin("default")
    assert Client().get("/read/").json()["pinned"] == []


def test_readers_are_sent_to_the_replicas_in_turn(paused: PostgresReplicaSet) -> None:
    Author.objects.using("default").create(name="x")
    resume_all(paused)
    used = [Client().get("/read/").json()["used"] for _ in range(4)]
    assert used[:2] * 2 == used
    assert sorted(used[:2]) == [["default-0"], ["default-1"]]


# ---- pins by method ----------------------------------------------------------------------------


class PinArticles(PinUnsafeMethodsMiddleware):
    """A site's choice of sets."""

    aliases = ("api", "default")


def pinning_methods(name: str = "pindb.middleware.PinUnsafeMethodsMiddleware") -> override_settings:
    middleware = ["pindb.middleware.PinDbMiddleware", name]
    return override_settings(MIDDLEWARE=middleware, DATABASE_ROUTERS=["pindb.StrictPinDbRouter"])


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
def test_requests_that_may_write_are_pinned_from_their_beginning(method: str) -> None:
    Author.objects.using("default").create(name="new")
    with pinning_methods():
        client = Client()
        seen = {"names": ["new"], "used": ["default"], "pinned": ["default"], "new": ["default"]}
        assert client.generic(method, "/read/").json() == seen
        assert COOKIE in client.cookies
        assert client.generic(method, "/write/").json()["names"] == ["new", "written"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_requests_that_may_not_write_are_not_pinned_by_their_method(method: str) -> None:
    with pinning_methods():
        client = Client()
        response = client.generic(method, "/read/")
        assert method == "HEAD" or response.json()["pinned"] == []
        assert COOKIE not in client.cookies
        with pytest.raises(pindb.UnpinnedWriteException):
            client.generic(method, "/write/")


def test_a_site_says_which_sets_its_methods_pin() -> None:
    with pinning_methods("tests.test_middleware.PinArticles"):
        assert Client().post("/read/").json()["new"] == ["api", "default"]


def test_a_set_that_is_none_is_an_error_when_the_site_starts() -> None:
    class Wrong(PinUnsafeMethodsMiddleware):
        aliases = ("default-0",)

    with pytest.raises(pindb.PinDbConfigError, match="write 'default'"):
        Wrong(lambda request: HttpResponse())
    with override_settings(PINDB_ENABLED=False, MASTER_DATABASES=None, DATABASE_SETS=None):
        Wrong(lambda request: HttpResponse())
        with pinning_methods():
            assert Client().post("/read/").json()["pinned"] == []


def test_pins_by_method_are_native_under_asgi() -> None:
    async def run() -> None:
        client = AsyncClient()
        assert (await client.post("/awrite/")).json()["new"] == ["default"]
        assert COOKIE in client.cookies
        assert (await client.get("/aread/")).json()["new"] == []
        with pytest.raises(pindb.UnpinnedWriteException):
            await client.get("/awrite/")

    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(threading.get_ident()))

    async def call() -> None:
        middleware = PinUnsafeMethodsMiddleware(view)
        assert iscoroutinefunction(middleware)
        response = await middleware(HttpRequest())
        assert response.content == str(threading.get_ident()).encode()

    with pinning_methods():
        asyncio.run(run())
    with pindb.pinning_context():
        asyncio.run(call())


@pytest.mark.parametrize("atomic", [True, False])
def test_pins_by_method_hold_when_a_store_loads_its_pins_just_before_the_view(
    paused: PostgresReplicaSet, monkeypatch: pytest.MonkeyPatch, atomic: bool
) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    caches = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": __name__}}
    with (
        pinning_methods(),
        override_settings(
            CACHES=caches,
            PINDB_CONSISTENCY="position",
            PINDB_PIN_STORE="pindb.stores.CacheStore",
            PINDB_PIN_CACHE_KEY="tests.test_stores.by_header",
        ),
    ):
        client = Client(headers={"X-User": "ann"})
        client.post("/write/")
        resume_all(paused)
        pindb.wait_for_replicas()
        assert client.get("/read/").json()["used"] != ["default"]
        # The pin that is loaded is satisfied by all replicas; the one of the method is not.
        assert client.post("/read/").json()["used"] == ["default"]
        assert client.post("/write/?name=again").json()["names"] == ["again", "written"]
