"""The end of pins that carry positions: on real replicas that are paused and resumed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import path

import pindb
from pindb.exceptions import ReplicasBehind
from pindb.pins.context import Pin, current
from pindb.pins.propagation import export_pins
from pindb.pins.tokens import dump_pins, load_pins
from pindb.testing.postgres import PostgresReplicaSet
from tests.conftest import resume_all
from tests.testapp import views
from tests.testapp.models import Article, Author

COOKIE = "pindb_pinned_set"
MASTER, FIRST, SECOND = "default", "default-0", "default-1"


pytestmark = pytest.mark.usefixtures("by_position")


def read(client: Client, url: str = "/read/") -> tuple[list[str], str]:
    """The names that a client reads, and where."""
    answer = client.get(url).json()
    (used,) = answer["used"]
    return answer["names"], used


def position_queries() -> int:
    return pindb.stats().position_queries


def caught_up(servers: PostgresReplicaSet, replica: int) -> None:
    servers.resume(replica)
    servers.wait_until_caught_up(replica)


# ---- one writer --------------------------------------------------------------------------------


def test_a_writer_reads_the_master_until_a_replica_has_what_it_wrote(paused: PostgresReplicaSet) -> None:
    writer = Client()
    writer.get("/write/")
    assert read(writer) == (["written"], MASTER)
    caught_up(paused, 1)
    for _ in range(4):
        assert read(writer) == (["written"], SECOND)


def test_the_pin_is_dropped_when_all_replicas_have_caught_up(paused: PostgresReplicaSet) -> None:
    writer = Client()
    writer.get("/write/")
    caught_up(paused, 1)
    assert COOKIE not in writer.get("/read/").cookies
    assert writer.cookies[COOKIE].value
    caught_up(paused, 0)
    dropped = pindb.stats().pins_dropped
    # Each replica is asked when its turn comes.
    assert {read(writer)[1] for _ in range(2)} == {FIRST, SECOND}
    assert writer.cookies[COOKIE].value == ""
    assert pindb.stats().pins_dropped == dropped + 1
    assert writer.get("/read/").json()["pinned"] == []


def test_a_dropped_pin_leaves_the_others_in_the_cookie(paused: PostgresReplicaSet) -> None:
    writer = Client()
    writer.get("/write/")
    writer.get("/write-api/")
    token = writer.cookies[COOKIE].value
    assert load_pins(token, time.time()).keys() == {"default", "api"}
    resume_all(paused)
    for _ in range(2):
        read(writer)
    left = load_pins(writer.cookies[COOKIE].value, time.time())
    assert left == {"api": load_pins(token, time.time())["api"]}


def test_the_cookie_carries_a_position_and_lasts_as_long_as_the_setting_says() -> None:
    with override_settings(PINDB_POSITION_PIN_SECONDS=40):
        response = Client().get("/write/")
    (pin,) = load_pins(response.cookies[COOKIE].value, time.time()).values()
    assert pin.position is not None
    assert pin.until == pytest.approx(time.time() + 40, abs=5)
    assert response.cookies[COOKIE]["max-age"] in (41, 42)


def test_within_a_request_reads_stay_where_they_began(paused: PostgresReplicaSet) -> None:
    writer = Client()
    writer.get("/write/")
    position = load_pins(writer.cookies[COOKIE].value, time.time())
    with pindb.pinning_context():
        current().carry(position)
        assert Author.objects.get()._state.db == MASTER
        resume_all(paused)
        assert Author.objects.get()._state.db == MASTER
        with pindb.master("api"):
            assert Author.objects.get()._state.db == MASTER


def test_a_write_in_a_request_that_is_pinned_by_position_goes_back_to_the_master() -> None:
    writer = Client()
    writer.get("/write/?name=first")
    pindb.wait_for_replicas()
    first = writer.cookies[COOKIE].value
    answer = writer.get("/write/?name=second").json()
    assert (answer["names"], answer["used"]) == (["first", "second"], [MASTER])
    assert writer.cookies[COOKIE].value != first


def test_a_strict_write_is_covered_by_a_pin_with_a_position() -> None:
    with override_settings(DATABASE_ROUTERS=["pindb.StrictPinDbRouter"]):
        writer = Client()
        writer.get("/write-api/")
        before = pindb.current_position()
        carried = dump_pins({"default": Pin(time.time() + 5, before)})
        writer.cookies[COOKIE] = carried
        with pytest.raises(pindb.UnpinnedWriteException):
            writer.get("/write/")
        assert writer.cookies[COOKIE].value == carried
        assert writer.get("/declare/").json()["new"] == ["default"]
        position = load_pins(writer.cookies[COOKIE].value, time.time())["default"].position
        assert position is not None
        assert position != before


def test_two_replicas_at_different_positions(paused: PostgresReplicaSet) -> None:
    early, late = Client(), Client()
    early.get("/write/?name=early")
    caught_up(paused, 0)
    paused.pause(0)
    late.get("/write/?name=late")
    assert read(early) == (["early"], FIRST)
    assert read(late) == (["early", "late"], MASTER)
    caught_up(paused, 1)
    assert read(late) == (["early", "late"], SECOND)
    assert {read(early)[1] for _ in range(4)} == {FIRST, SECOND}


@override_settings(PINDB_DELEGATE_ROUTERS=["tests.routing.test_routers.ArticlesOnApi"])
def test_each_set_goes_by_a_position_of_its_own(paused: PostgresReplicaSet) -> None:
    with pindb.pinning_context():
        Article.objects.create(headline="written")
        pins = export_pins(current())
        # Both sets are on the same servers: the article is there, the author is not.
        caught_up(paused, 0)
        paused.pause(0)
        Author.objects.create(name="written")
        pins = {**export_pins(current()), **pins}
    assert pins.keys() == {"default", "api"}
    with pindb.pinning_context():
        current().carry(pins)
        assert Article.objects.get()._state.db == "api-0"
        assert Author.objects.get()._state.db == MASTER
        assert pindb.get_pinned() == {"default", "api"}
        # The set "api" has one replica only.
        assert current().carried.keys() == {"default"}


def test_a_replica_that_is_ahead_of_the_pin_is_read_without_a_question() -> None:
    writer = Client()
    writer.get("/write/")
    pindb.wait_for_replicas()
    writer_token = writer.cookies[COOKIE].value
    for _ in range(2):
        read(writer)
    before = position_queries()
    for _ in range(6):
        client = Client()
        client.cookies[COOKIE] = writer_token
        assert read(client)[1] in (FIRST, SECOND)
    assert position_queries() == before


def test_a_replica_that_is_behind_is_asked_once_in_a_while(paused: PostgresReplicaSet) -> None:
    with override_settings(PINDB_POSITION_CHECK_MS=60_000):
        writer = Client()
        writer.get("/write/")
        before = position_queries()
        for _ in range(5):
            assert read(writer) == (["written"], MASTER)
        assert position_queries() == before + 2


# ---- what it costs -----------------------------------------------------------------------------


def master_queries(client: Client, url: str) -> list[str]:
    with CaptureQueriesContext(connections[MASTER]) as queries:
        client.get(url)
    return [query["sql"] for query in queries.captured_queries]


def test_a_request_that_only_reads_asks_the_master_nothing() -> None:
    assert master_queries(Client(), "/read/") == []


def test_a_request_that_writes_asks_the_master_once_and_last() -> None:
    client = Client()
    queries = master_queries(client, "/write/")
    assert [index for index, sql in enumerate(queries) if "pg_current_wal_insert_lsn" in sql] == [2]
    assert len(queries) == 3


def test_a_pinned_request_that_only_reads_asks_the_master_nothing_but_its_reads(
    paused: PostgresReplicaSet,
) -> None:
    client = Client()
    client.get("/write/")
    assert len(master_queries(client, "/read/")) == 1
    caught_up(paused, 1)
    assert master_queries(client, "/read/") == []


# ---- transactions ------------------------------------------------------------------------------


def write_in_hook(request: HttpRequest) -> JsonResponse:
    with transaction.atomic():
        transaction.on_commit(lambda: Author.objects.create(name="hook") and None)
        Author.objects.create(name="block")
    return JsonResponse({})


def write_persistently(request: HttpRequest) -> JsonResponse:
    with pindb.master("default", persist=True):
        Author.objects.using("default").create(name="persistent")
    return views.read(request)


def write_with_sql(request: HttpRequest) -> JsonResponse:
    with pindb.with_masters(["default"], persist=True), connections[MASTER].cursor() as cursor:
        cursor.execute("INSERT INTO testapp_author (name) VALUES ('sql')")
    return JsonResponse({})


def fail_after_write(request: HttpRequest) -> JsonResponse:
    with transaction.atomic():
        Author.objects.create(name="rolled back")
        transaction.set_rollback(True)
    return JsonResponse({})


urlpatterns = [
    path("hook/", write_in_hook),
    path("persistent/", write_persistently),
    path("sql/", write_with_sql),
    path("rollback/", fail_after_write),
    path("stream/", lambda request: stream_what_it_writes(request)),
    path("read/", views.read),
    path("write/", views.write),
]


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("/hook/", ["block", "hook"]),
        ("/persistent/", ["persistent"]),
        ("/sql/", ["sql"]),
        ("/rollback/", []),
        ("/write/", ["written"]),
    ],
)
@pytest.mark.parametrize("atomic_requests", [False, True])
def test_the_position_is_taken_after_all_commits(
    url: str, names: list[str], atomic_requests: bool, paused: PostgresReplicaSet
) -> None:
    connections[MASTER].settings_dict["ATOMIC_REQUESTS"] = atomic_requests
    try:
        with override_settings(ROOT_URLCONF=__name__):
            writer = Client()
            writer.get(url)
            answer = writer.get("/read/").json()
            assert answer["names"] == names
            assert answer["pinned"] == [MASTER]
            if names:
                assert answer["used"] == [MASTER]
            pin = load_pins(writer.cookies[COOKIE].value, time.time())[MASTER]
            with connections[MASTER].cursor() as cursor:
                cursor.execute("SELECT 1")
            caught_up(paused, 0)
            answer = writer.get("/read/").json()
            assert answer["names"] == names
            assert not names or answer["used"] == [FIRST]
            assert pin.position is not None
    finally:
        connections[MASTER].settings_dict["ATOMIC_REQUESTS"] = False


def test_a_block_that_persists_pins_what_follows_it(paused: PostgresReplicaSet) -> None:
    with override_settings(ROOT_URLCONF=__name__):
        answer = Client().get("/persistent/").json()
    assert answer == {"names": ["persistent"], "used": [MASTER], "pinned": [MASTER], "new": [MASTER]}


def test_a_block_that_does_not_persist_leaves_no_pin() -> None:
    with pindb.master("default"):
        Author.objects.using("default").create(name="unpinned")
    assert pindb.get_newly_pinned() == frozenset()


class InsideATestCase(TestCase):
    databases = {"default", "default-0", "default-1", "api", "api-0"}

    def test_pins_go_by_time_where_a_transaction_is_open(self) -> None:
        with override_settings(PINDB_CONSISTENCY="position"):
            response = self.client.get("/write/")
        (pin,) = load_pins(response.cookies[COOKIE].value, time.time()).values()
        assert pin.position is None


def stream_what_it_writes(request: HttpRequest) -> StreamingHttpResponse:
    pindb.pin("default")

    def chunks() -> Iterator[str]:
        Author.objects.create(name="streamed")
        yield "done"

    return StreamingHttpResponse(chunks())


def test_a_pin_of_a_streaming_response_goes_by_time(paused: PostgresReplicaSet) -> None:
    with override_settings(ROOT_URLCONF=__name__):
        writer = Client()
        b"".join(writer.get("/stream/"))
        assert load_pins(writer.cookies[COOKIE].value, time.time())[MASTER].position is None
        assert read(writer) == (["streamed"], MASTER)


# ---- clocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [-3600, -30, 30, 3600])
def test_clocks_that_differ_do_not_matter(
    skew: int, paused: PostgresReplicaSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Client()
    writer.get("/write/")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + skew)
    assert read(writer) == (["written"], MASTER)
    caught_up(paused, 1)
    assert read(writer) == (["written"], SECOND)
    caught_up(paused, 0)
    assert {read(writer)[1] for _ in range(2)} == {FIRST, SECOND}
    assert writer.cookies[COOKIE].value == ""


def test_a_position_that_nobody_reaches_is_of_no_use_after_a_day() -> None:
    client = Client()
    for age, is_pinned in ((3600, True), (2 * 86_400, False)):
        client.cookies[COOKIE] = dump_pins({"default": Pin(time.time() - age, "1:FFFF/0")})
        assert client.get("/read/").json()["pinned"] == ["default"] * is_pinned


@pytest.mark.parametrize("position", ["", "nonsense", "1:zz/0", "-", "1", "9" * 1001, 7, None, ["1:0/0"], {}])
def test_a_position_that_is_none_is_never_reached_and_never_an_error(position: Any) -> None:
    Author.objects.create(name="written")
    client = Client()
    client.cookies[COOKIE] = dump_pins({"default": Pin(time.time() + 5, position)})
    answer = client.get("/read/").json()
    assert answer["used"] == [MASTER] or answer["pinned"] == []


# ---- asynchronous ------------------------------------------------------------------------------


def test_asynchronous_views_go_by_positions_too(paused: PostgresReplicaSet) -> None:
    async def run() -> None:
        client = AsyncClient()
        response = await client.get("/awrite/")
        pin = load_pins(response.cookies[COOKIE].value, time.time())[MASTER]
        assert pin.position is not None
        assert (await client.get("/aread/")).json()["used"] == [MASTER]
        await sync_to_async(caught_up)(paused, 1)
        assert (await client.get("/aread/")).json()["used"] == [SECOND]

    asyncio.run(run())


def test_positions_and_waiting_have_asynchronous_twins(paused: PostgresReplicaSet) -> None:
    async def run() -> None:
        await Author.objects.acreate(name="written")
        assert (await pindb.acurrent_position()).startswith("1:")
        with pytest.raises(ReplicasBehind, match=r"'default-0' is at .*'default-1' is at "):
            await pindb.await_for_replicas(timeout=0.01)
        await sync_to_async(resume_all)(paused)
        await pindb.await_for_replicas(timeout=10)

    asyncio.run(run())
