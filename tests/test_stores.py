"""Pin stores: pins in a cache and in headers, and stores that fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import AsyncClient, Client, RequestFactory, override_settings

import pindb
from pindb.middleware import PinDbMiddleware
from pindb.pins.context import Pin
from pindb.pins.tokens import load_pins
from pindb.stores import BaseStore, CacheStore, aget_pin_headers, get_pin_headers, take_pin_headers, user_key
from pindb.testing.postgres import PostgresReplicaSet
from tests.testapp.models import Author

COOKIE = "pindb_pinned_set"
HEADER = "X-Pindb-Pins"


def by_header(request: HttpRequest) -> str | None:
    """Whose pins a request has, by a header that names its user."""
    return request.headers.get("X-User")


class BrokenCache(LocMemCache):
    """A cache whose server is away."""

    def get_many(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("the cache is away")

    set_many = get_many


class FullCache(LocMemCache):
    """A cache that keeps nothing, and says so."""

    def set_many(self, data: Mapping[str, Any], *args: Any, **kwargs: Any) -> list[str]:
        return list(data)


BACKEND = "django.core.cache.backends.locmem.LocMemCache"


def in_cache(backend: str = BACKEND, **settings: Any) -> override_settings:
    return override_settings(
        CACHES={"default": {"BACKEND": backend, "LOCATION": "pins"}},
        PINDB_PIN_STORE="pindb.stores.CacheStore",
        PINDB_PIN_CACHE_KEY="tests.test_stores.by_header",
        **settings,
    )


pytestmark = pytest.mark.usefixtures("paused")


def as_user(name: str) -> dict[str, Any]:
    return {"headers": {"X-User": name}}


@pytest.fixture
def anns() -> Iterator[tuple[CacheStore, HttpRequest]]:
    """A store in a cache that is empty, and a request by ann."""
    with in_cache():
        caches["default"].clear()
        yield CacheStore(), RequestFactory().get("/", **as_user("ann"))


@pytest.mark.parametrize("consistency", ["time", "position"])
def test_a_user_with_two_devices_reads_on_one_what_was_written_on_the_other(
    consistency: str, paused: PostgresReplicaSet
) -> None:
    with in_cache(PINDB_CONSISTENCY=consistency, PINDB_POSITION_CHECK_MS=0):
        caches["default"].clear()
        response = Client().get("/write/", **as_user("ann"))
        assert COOKIE not in response.cookies
        assert Client().get("/read/", **as_user("ann")).json()["names"] == ["written"]
        assert Client().get("/read/", **as_user("bob")).json()["names"] == []
        paused.resume(0)
        paused.wait_until_caught_up(0)
        used = Client().get("/read/", **as_user("ann")).json()["used"]
        assert used == (["default-0"] if consistency == "position" else ["default"])


def test_nobodys_pins_travel_in_the_cookie() -> None:
    with in_cache():
        client = Client()
        assert COOKIE in client.get("/write/").cookies
        assert client.get("/read/").json()["names"] == ["written"]


def test_an_older_pin_does_not_take_the_place_of_a_newer_one(anns: tuple[CacheStore, HttpRequest]) -> None:
    store, request = anns
    newer, older = (Pin(time.time() + seconds) for seconds in (15, 14))
    for pins in ({"default": newer}, {"default": older, "api": older}, {}):
        store.save(request, HttpResponse(), pins)
    assert store.load(request) == {"default": newer, "api": older}
    # One whose position could not be had lasts for a shorter time, and covers a later write.
    for newest in (Pin(time.time() + 301, "1:0/1"), Pin(time.time() + 17)):
        store.save(request, HttpResponse(), {"default": newest})
        assert store.load(request)["default"] == newest


def test_which_of_two_pins_is_further_is_told_by_their_positions_and_not_by_clocks(
    anns: tuple[CacheStore, HttpRequest],
) -> None:
    store, request = anns
    now = time.time() + 300
    first, second = Pin(now + 1, "1:0/100"), Pin(now, "1:0/200")
    for pin in (first, second, first):
        store.save(request, HttpResponse(), {"default": pin})
    assert store.load(request) == {"default": second}
    after_a_failover = Pin(now, "2:0/150")
    store.save(request, HttpResponse(), {"default": after_a_failover})
    assert store.load(request) == {"default": after_a_failover}


@pytest.mark.parametrize("value", ["nonsense", [1], [None, None], ["x", "1:0/1"], 7, [10**12, None], {}])
def test_what_is_no_pin_in_the_cache_is_ignored(anns: tuple[CacheStore, HttpRequest], value: Any) -> None:
    store, request = anns
    store.save(request, HttpResponse(), {"default": Pin(time.time() + 9)})
    cache: Any = caches["default"]
    (name,) = (key.split(":", 2)[2] for key in cache._cache)
    assert "ann" not in name
    cache.set(name, value)
    assert store.load(request) == {}


def test_the_user_is_found_in_the_session(paused: PostgresReplicaSet) -> None:
    with (
        in_cache(PINDB_UNPINNED_MODELS=["sessions.Session", "auth.User"]),
        override_settings(PINDB_PIN_CACHE_KEY="pindb.stores.user_key"),
    ):
        caches["default"].clear()
        user = get_user_model().objects.create_user("ann")
        first, second = Client(), Client()
        for client in (first, second):
            client.force_login(user)
        assert COOKIE not in first.get("/write/").cookies
        assert second.get("/read/").json()["names"] == ["written"]
        # Pages for everybody stay so.
        assert "Vary" not in Client().get("/read/").headers


@pytest.mark.parametrize(("authenticated", "key"), [(True, "7"), (False, None)])
def test_the_user_may_come_from_other_middleware_than_djangos(authenticated: bool, key: str | None) -> None:
    request = RequestFactory().get("/")
    assert user_key(request) is None
    request.user = SimpleNamespace(pk=7, is_authenticated=authenticated)  # type: ignore[assignment]
    assert user_key(request) == key


@pytest.mark.parametrize("backend", ["BrokenCache", "FullCache"])
def test_a_cache_that_fails_fails_no_request_and_pins_all_sets_for_it(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    with in_cache(f"{__name__}.{backend}"):
        client = Client()
        answer = client.get("/write/", **as_user("ann")).json()
        assert answer["names"] == ["written"]
        if backend == "BrokenCache":
            for _ in range(3):
                answer = client.get("/read/", **as_user("ann")).json()
                assert (answer["names"], answer["new"]) == (["written"], [])
                assert answer["pinned"] == ["api", "default"]
    lines = [record for record in caplog.records if record.name == "pindb"]
    assert len(lines) == 1
    assert lines[0].exc_info is not None


def test_asynchronous_requests_have_their_pins_in_the_cache_too() -> None:
    def get(url: str, user: str) -> Any:
        return asyncio.run(AsyncClient().get(url, **as_user(user))).json()["names"]

    with in_cache():
        caches["default"].clear()
        assert get("/awrite/", "ann") == ["written"]
        assert get("/aread/", "ann") == ["written"]
        assert get("/aread/", "bob") == []
    with in_cache(f"{__name__}.BrokenCache"):
        assert get("/aread/", "ann") == ["written"]


# ---- headers -----------------------------------------------------------------------------------


class TestHeaders:
    """One service that calls another: both have the same databases."""

    @pytest.fixture(autouse=True)
    def in_headers(self) -> Iterator[None]:
        with override_settings(PINDB_PIN_STORE="pindb.stores.HeaderStore"):
            yield

    def test_what_the_caller_wrote_is_read_by_whom_it_calls(self) -> None:
        with pindb.pinning_context():
            assert get_pin_headers() == {}
            Author.objects.create(name="written")
            headers = get_pin_headers()
        assert headers.keys() == {HEADER}
        assert Client().get("/read/", headers=headers).json()["names"] == ["written"]
        assert Client().get("/read/").json()["names"] == []

    @pytest.mark.parametrize("consistency", ["time", "position"])
    def test_what_a_called_service_wrote_is_read_by_the_caller_and_its_caller(self, consistency: str) -> None:
        with override_settings(PINDB_CONSISTENCY=consistency), pindb.pinning_context():
            assert list(Author.objects.all()) == []
            response = Client().get("/write/")
            assert HEADER in response["Vary"]
            take_pin_headers(response.headers)
            assert Author.objects.get().name == "written"
            onward = load_pins(get_pin_headers()[HEADER], time.time())
        assert onward.keys() == {"default"}
        assert (onward["default"].position is not None) == (consistency == "position")

    def test_headers_of_two_services_are_both_covered(self) -> None:
        with override_settings(PINDB_CONSISTENCY="position"), pindb.pinning_context():
            take_pin_headers(Client().get("/write/?name=a").headers)
            take_pin_headers(Client().get("/write/?name=b").headers)
            after = pindb.current_position()
            assert {author.name for author in Author.objects.all()} == {"a", "b"}
            assert load_pins(get_pin_headers()[HEADER], time.time())["default"].position == after

    def test_taken_pins_leave_a_block(self) -> None:
        with pindb.pinning_context():
            with pindb.master("api"):
                take_pin_headers(Client().get("/write/").headers)
            assert Author.objects.get().name == "written"
            assert get_pin_headers().keys() == {HEADER}

    def test_a_response_that_changes_nothing_has_no_header(self) -> None:
        assert HEADER not in Client().get("/read/").headers

    @pytest.mark.parametrize("value", ["", "nonsense", "a:b:c", "x" * 5000])
    def test_headers_that_hold_nothing_are_ignored(self, value: str) -> None:
        assert Client().get("/read/", headers={HEADER: value}).json()["pinned"] == []
        with pindb.pinning_context():
            take_pin_headers({HEADER: value})
            take_pin_headers({})
            assert pindb.get_pinned() == frozenset()

    def test_there_are_asynchronous_twins(self) -> None:
        async def run() -> dict[str, str]:
            with pindb.pinning_context():
                await Author.objects.acreate(name="written")
                return await aget_pin_headers()

        for consistency in ("time", "position"):
            with override_settings(PINDB_CONSISTENCY=consistency):
                headers = asyncio.run(run())
            assert load_pins(headers[HEADER], time.time()).keys() == {"default"}
            Author.objects.using("default").all().delete()

    def test_nothing_happens_while_pindb_is_off(self) -> None:
        token = get_headers_of_a_writer()
        with override_settings(PINDB_ENABLED=False), pindb.pinning_context():
            take_pin_headers(token)
            assert get_pin_headers() == {}
            assert pindb.get_pinned() == frozenset()


def get_headers_of_a_writer() -> dict[str, str]:
    with pindb.pinning_context():
        pindb.pin("default")
        return get_pin_headers()


# ---- stores of a site --------------------------------------------------------------------------


class OwnStore(BaseStore):
    """Keeps the pins of everybody in one place."""

    kept: dict[str, Pin] = {}

    def load(self, request: HttpRequest) -> Mapping[str, Pin]:
        return self.kept

    def save(self, request: HttpRequest, response: HttpResponseBase, pins: Mapping[str, Pin]) -> None:
        type(self).kept = dict(pins)


def test_a_site_may_have_a_store_of_its_own() -> None:
    with override_settings(PINDB_PIN_STORE=OwnStore):
        Client().get("/write/")
        assert Client().get("/read/").json()["names"] == ["written"]

        response = asyncio.run(AsyncClient().get("/aread/"))
        assert response.json()["names"] == ["written"]


def test_a_store_that_is_none_is_an_error_when_the_site_starts() -> None:
    with (
        override_settings(PINDB_PIN_STORE="pindb.pins.pinning.pin"),
        pytest.raises(pindb.PinDbConfigError, match=r"'pindb\.pins\.pinning\.pin'.*CookieStore"),
    ):
        PinDbMiddleware(lambda request: HttpResponse())
