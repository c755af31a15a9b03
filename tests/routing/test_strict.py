"""StrictPinDbRouter: declarations of writes, and undeclared writes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, thread
from contextlib import AbstractContextManager, ExitStack
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import router
from django.db import utils as router_module
from django.db.migrations.state import ModelState, ProjectState
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

import pindb
from pindb.pins.context import Pin, current
from pindb.pins.propagation import export_pins
from pindb.pins.tokens import dump_pins
from pindb.stores import take_pin_headers
from pindb.testing.postgres import PostgresReplicaSet
from tests.conftest import empty, resume_all
from tests.testapp import views
from tests.testapp.models import Article, Author, Book

COOKIE = "pindb_pinned_set"
HEADER = "X-Pindb-Pins"


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    with override_settings(DATABASE_ROUTERS=["pindb.StrictPinDbRouter"], ROOT_URLCONF=__name__):
        yield


def declare(request: HttpRequest) -> JsonResponse:
    pindb.pin("default")
    return views.write(request)


def declare_for_now(request: HttpRequest) -> JsonResponse:
    pindb.pin("default", count_as_new=False)
    return views.write(request)


async def write_async(request: HttpRequest) -> JsonResponse:
    await Author.objects.acreate(name="written")  # the place of the asynchronous write
    return await views.aread(request)


urlpatterns = [
    path("read/", views.read),
    path("async/", write_async),
    path("undeclared/", views.write),
    path("declare/", declare),
    path("declare-for-now/", declare_for_now),
]


def may_write() -> bool:
    """Whether an undeclared write would be allowed here. Leaves no pin behind."""
    with pindb.master("api"):
        inner = current()
        pinned, new = inner.pinned, inner.new
        try:
            router.db_for_write(Author)
        except pindb.UnpinnedWriteException:
            return False
        finally:
            inner.pinned, inner.new = pinned, new
        return True


def carry(position: str | None = None) -> None:
    current().carry({"default": Pin(time.time() + 9, position)})


# ---- what is no declaration --------------------------------------------------------------------


def test_a_pin_that_was_carried_in_decides_where_reads_go_and_allows_no_writes() -> None:
    carry()
    assert router.db_for_read(Author) == "default"
    with pytest.raises(pindb.UnpinnedWriteException, match="carried in"):
        router.db_for_write(Author)
    assert not pindb.is_newly_pinned("default")


@pytest.mark.parametrize("consistency", ["time", "position"])
def test_an_undeclared_write_fails_whether_replicas_lag_or_not(
    paused: PostgresReplicaSet, consistency: str
) -> None:
    with override_settings(PINDB_CONSISTENCY=consistency):
        writer = Client()
        writer.get("/declare/?name=first")
        assert writer.get("/read/").json()["used"] == ["default"]
        with pytest.raises(pindb.UnpinnedWriteException):
            writer.get("/undeclared/")
        resume_all(paused)
        pindb.wait_for_replicas()
        with pytest.raises(pindb.UnpinnedWriteException):
            writer.get("/undeclared/")
        with pytest.raises(pindb.UnpinnedWriteException):
            Client().get("/undeclared/")


@pytest.mark.parametrize("store", ["pindb.stores.HeaderStore", "tests.routing.test_strict.NoStore"])
def test_no_store_of_pins_allows_writes(servers: PostgresReplicaSet, store: str) -> None:
    token = dump_pins({"default": Pin(time.time() + 9)})
    with override_settings(PINDB_PIN_STORE=store):
        client = Client(headers={HEADER: token})
        assert client.get("/read/").json()["pinned"] != []
        with pytest.raises(pindb.UnpinnedWriteException):
            client.get("/undeclared/")
        assert client.get("/declare/").json()["new"] == ["default"]


class NoStore(pindb.stores.BaseStore):
    """A store that is out of order: all sets are pinned."""

    def load(self, request: HttpRequest) -> Any:
        raise OSError("out of order")

    def save(self, request: HttpRequest, response: Any, pins: Any) -> None:
        raise OSError("out of order")


@pytest.mark.parametrize("times", [1, 2])
def test_pins_in_the_headers_of_an_answer_allow_no_writes(times: int) -> None:
    for _ in range(times):
        take_pin_headers({HEADER: dump_pins({"default": Pin(time.time() + 9)})})
    assert pindb.is_pinned("default")
    assert not may_write()
    assert export_pins(current()).keys() == {"default"}


def test_a_site_is_tested_for_declared_writes_without_replicas(servers: PostgresReplicaSet) -> None:
    # As docs/how-to/testing.md says: tests may write, and their requests declare it.
    with override_settings(DATABASE_SETS={"default": [], "api": []}):
        pindb.pin("default")
        Author.objects.create(name="by the test")
        assert Client().get("/read/").json() == {
            "names": ["by the test"],
            "used": ["default"],
            "pinned": [],
            "new": [],
        }
        with pytest.raises(pindb.UnpinnedWriteException):
            Client().get("/undeclared/")
        assert Client().get("/declare/").json()["names"] == ["by the test", "written"]


# ---- what is one -------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/declare/", "/declare-for-now/"])
def test_a_declared_write_of_a_user_with_a_carried_pin_starts_the_time_anew(
    servers: PostgresReplicaSet, url: str
) -> None:
    client = Client()
    client.cookies[COOKIE] = dump_pins({"default": Pin(time.time() + 1)})
    response = client.get(url)
    assert response.json()["new"] == ["default"]
    assert response.cookies[COOKIE]["max-age"] == 15 + 2


@pytest.mark.parametrize("carried", [True, False])
@pytest.mark.parametrize("count_as_new", [True, False])
def test_a_pin_of_this_unit_of_work_allows_writes(carried: bool, count_as_new: bool) -> None:
    if carried:
        carry()
    pindb.pin("default", count_as_new=count_as_new)
    assert may_write()
    assert not pindb.is_pinned("api")
    with pindb.pinning_context():
        assert not may_write()
    pindb.unpin_all()
    assert not may_write()


BLOCKS: list[Any] = [
    # The blocks from the outside to the inside, what is done in the innermost, and where writes are allowed.
    pytest.param([pindb.master("default")], None, [True, False], id="master"),
    pytest.param([pindb.master("default", persist=True)], None, [True, True], id="persist"),
    pytest.param([pindb.master("api", persist=True)], None, [False, False], id="persist-other"),
    pytest.param([pindb.unpinned_replica("default")], None, [False, False], id="replica"),
    pytest.param([pindb.unpinned_replica("default")], True, [True, False], id="replica-pin"),
    pytest.param([pindb.master("api")], True, [True, True], id="other-pin"),
    pytest.param([pindb.master("api")], False, [True, True], id="other-pin-old"),
    pytest.param([pindb.unpinned_replica("api")], False, [True, True], id="other-replica-pin-old"),
    pytest.param(
        [pindb.master("default"), pindb.master("api")], None, [True, True, False], id="master-other"
    ),
    pytest.param(
        [pindb.master("default"), pindb.unpinned_replica("default")],
        None,
        [False, True, False],
        id="master-replica",
    ),
    pytest.param(
        [pindb.unpinned_replica("default"), pindb.master("default")],
        True,
        [True, False, False],
        id="replica-master-pin",
    ),
    pytest.param(
        [pindb.master("default"), pindb.master("api")], False, [True, True, False], id="master-other-pin"
    ),
    pytest.param(
        [pindb.unpinned_replica("api"), pindb.master("default", persist=True)],
        None,
        [True, True, True],
        id="other-persist",
    ),
    pytest.param([pindb.pinning_context()], True, [True, False], id="context"),
]


@pytest.mark.parametrize("carried", [True, False], ids=["carried", "clean"])
@pytest.mark.parametrize(("blocks", "pin", "allowed"), BLOCKS)
def test_blocks_leave_declarations_as_they_leave_pins(
    carried: bool, blocks: list[AbstractContextManager[Any]], pin: bool | None, allowed: list[bool]
) -> None:
    if carried:
        carry()
    found = []
    with ExitStack() as stack:
        for block in blocks:
            stack.callback(lambda: found.append(may_write()))
            stack.enter_context(block)
        if pin is not None:
            pindb.pin("default", count_as_new=pin)
        found.append(may_write())
    assert found == allowed
    assert pindb.is_pinned("default") == (carried or allowed[-1])


def test_a_declaration_in_a_block_of_another_set_reads_the_master_whatever_replicas_have() -> None:
    pindb.wait_for_replicas()
    carry(pindb.current_position())
    assert router.db_for_read(Author) != "default"
    with pindb.master("api"):
        pindb.pin("default", count_as_new=False)
    assert router.db_for_read(Author) == "default"
    current().forget_choices()
    assert router.db_for_read(Author) == "default"


# ---- pins that are taken over ------------------------------------------------------------------


def test_a_pin_that_is_carried_in_later_takes_nothing_from_a_declaration() -> None:
    pindb.wait_for_replicas()
    pindb.pin("default", count_as_new=False)
    carry(pindb.current_position())
    assert router.db_for_read(Author) == "default"
    assert may_write()


@pytest.mark.parametrize("block", [pindb.master, pindb.unpinned_replica])
@pytest.mark.parametrize("carried", [True, False])
def test_what_an_answer_brought_into_a_block_is_carried_on_from_there(
    servers: PostgresReplicaSet, carried: bool, block: Any
) -> None:
    with override_settings(PINDB_CONSISTENCY="position"):
        before = pindb.current_position()
        if carried:
            carry(before)
        with block("default"):
            with pindb.master("default"):
                Author.objects.create(name="by the service")
            after = pindb.current_position()
            take_pin_headers({HEADER: dump_pins({"default": Pin(time.time() + 9, after)})})
        assert pindb.is_pinned("default")
        assert not may_write()
        position = export_pins(current())["default"].position
    assert before != after
    assert position == after


def test_a_write_that_is_about_no_model_is_refused_like_any_other() -> None:
    no_model: Any = None
    with pytest.raises(pindb.UnpinnedWriteException, match="'default'"):
        router.db_for_write(no_model)


@override_settings(PINDB_DELEGATE_ROUTERS=["tests.routing.test_routers.ArticlesOnApi"])
def test_each_set_is_declared_by_itself() -> None:
    pindb.pin("default")
    assert may_write()
    with pytest.raises(pindb.UnpinnedWriteException, match="'api'"):
        router.db_for_write(Article)


# ---- PINDB_STRICT = "log" ----------------------------------------------------------------------


def line_of(words: str) -> int:
    """The number of the first line of this file that has `words`."""
    return next(number for number, line in enumerate(LINES, 1) if words in line)


LINES = Path(__file__).read_text().splitlines()


def place(record: logging.LogRecord) -> tuple[str, int, str]:
    told = vars(record)
    return told["file"], told["line"], told["function"]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with override_settings(PINDB_STRICT="log"), caplog.at_level(logging.WARNING, logger="pindb"):
        yield caplog


def test_to_log_an_undeclared_write_pins_and_says_where_it_is(log: pytest.LogCaptureFixture) -> None:
    router.db_for_write(Author)  # the place of this write
    line = line_of("the place of this write")
    function = "test_to_log_an_undeclared_write_pins_and_says_where_it_is"
    (record,) = log.records
    assert (record.name, record.levelname) == ("pindb", "WARNING")
    assert record.getMessage() == (
        f"undeclared write to testapp.Author on the DB set default at {__file__}:{line} in {function}; "
        "pinning the set"
    )
    assert place(record) == (__file__, line, function)
    assert (vars(record)["model"], vars(record)["db_set"]) == ("testapp.Author", "default")
    assert pindb.is_newly_pinned("default")


def test_to_log_is_for_writes_that_would_raise_and_no_others(log: pytest.LogCaptureFixture) -> None:
    with pindb.master("default"):
        router.db_for_write(Author)
    with override_settings(PINDB_UNPINNED_MODELS=["testapp.Author"]):
        router.db_for_write(Author)
    pindb.pin("default")
    router.db_for_write(Author)
    assert log.records == []
    with pindb.unpinned_replica("default"):
        router.db_for_write(Author)
        assert router.db_for_read(Author) != "default"
    for _ in range(2):
        with pindb.pinning_context():
            carry()
            router.db_for_write(Author)
            router.db_for_write(Author)
    assert len(log.records) == 3


def test_to_log_a_request_works_as_under_greedy(
    paused: PostgresReplicaSet, log: pytest.LogCaptureFixture
) -> None:
    client = Client()
    assert client.get("/undeclared/").json()["new"] == ["default"]
    assert client.get("/read/").json()["names"] == ["written"]
    (record,) = log.records
    # In the view, not in Django, nor in the test that sent the request.
    assert (place(record)[0], place(record)[2]) == (views.__file__, "write")


def test_to_log_the_place_of_an_asynchronous_write_is_in_the_coroutine(
    servers: PostgresReplicaSet, log: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        response = await AsyncClient().get("/async/")
        assert response.json()["new"] == ["default"]

    asyncio.run(run())
    empty("default")
    # Here the test is below the view on the same thread.
    Client().get("/async/")
    line = line_of("the place of the asynchronous write")
    assert [place(record) for record in log.records] == [(__file__, line, "write_async")] * 2


def write_in(file: str) -> Callable[[], None]:
    """A function that writes, and stands in the second line of `file`."""
    names: dict[str, Any] = {"router": router, "Author": Author}
    exec(compile("def write():\n    router.db_for_write(Author)", file, "exec"), names)
    write: Callable[[], None] = names["write"]
    return write


PACKAGE = "/lib/python3/site-packages/shop/tasks.py"


@pytest.mark.parametrize("file", [PACKAGE, asyncio.__file__, router_module.__file__])
def test_to_log_the_place_is_in_the_sites_code_whatever_that_called(
    log: pytest.LogCaptureFixture, file: str
) -> None:
    write_in(file)()
    assert [place(record)[0] for record in log.records] == [__file__]


def test_to_log_where_no_code_of_the_site_runs_the_place_is_the_innermost_package(
    log: pytest.LogCaptureFixture,
) -> None:
    # A thread begins in the standard library.
    with ThreadPoolExecutor(1) as threads:
        for file in (PACKAGE, router_module.__file__):
            with pindb.pinning_context():
                threads.submit(copy_context().run, write_in(file)).result()
    package, library = log.records
    assert place(package) == (PACKAGE, 2, "write")
    assert place(library)[0] == thread.__file__


# ---- PINDB_GREEDY_MODELS -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "greedy"),
    [
        (["testapp"], {Author, Article, Book.tags.through}),
        (["testapp.author"], {Author}),
        (["testapp.Author", "testapp.Book_tags"], {Author, Book.tags.through}),
        (["auth", "sessions.Session"], set()),
        ([], set()),
    ],
)
@pytest.mark.parametrize("setting", ["raise", "log"])
def test_undeclared_writes_of_greedy_models_pin(
    labels: list[str], greedy: set[Any], setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(PINDB_GREEDY_MODELS=labels, PINDB_STRICT=setting):
        for model in (Author, Article, Book.tags.through):
            with pindb.pinning_context():
                caplog.clear()
                if model in greedy or setting == "log":
                    router.db_for_write(model)
                    assert pindb.is_newly_pinned("default")
                    assert (caplog.records == []) == (model in greedy)
                else:
                    with pytest.raises(pindb.UnpinnedWriteException):
                        router.db_for_write(model)


@override_settings(PINDB_GREEDY_MODELS=["testapp.Author"])
def test_proxies_and_historical_versions_of_greedy_models_are_greedy_too() -> None:
    state = ProjectState.from_apps(apps)
    state.add_model(ModelState("testapp", "Proxy", [], {"proxy": True}, ("testapp.author",)))
    for name in ("testapp.Author", "testapp.Proxy"):
        with pindb.pinning_context():
            router.db_for_write(state.apps.get_model(name))
            assert pindb.is_newly_pinned("default")
    with pytest.raises(pindb.UnpinnedWriteException):
        router.db_for_write(state.apps.get_model("testapp.Article"))


@override_settings(PINDB_GREEDY_MODELS=["testapp.Author"])
def test_a_write_of_a_greedy_model_covers_a_carried_pin_in_full() -> None:
    carry()
    router.db_for_write(Author)
    assert pindb.is_newly_pinned("default")


@pytest.mark.parametrize("wrong", [["testapp.Nothing"], ["Author"], ["nothing"], [7], [""], "testapp", None])
def test_a_greedy_model_or_app_that_does_not_exist_is_refused(wrong: Any) -> None:
    with (
        override_settings(PINDB_GREEDY_MODELS=wrong),
        pytest.raises(pindb.PinDbConfigError, match="PINDB_GREEDY_MODELS"),
    ):
        router.db_for_read(Author)
