"""The how-to guides do what they say: their code runs on real servers, while replicas lag."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from functools import cache as cache_result
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.core.cache import cache
from django.test import AsyncClient, Client, override_settings

import pindb
from pindb.testing.postgres import PostgresReplicaSet
from tests.conftest import pause_all, resume_all
from tests.processes import ROOT
from tests.test_docs import blocks
from tests.testapp import models
from tests.testapp.models import Author, Note

LOCAL = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "guides"}}


@cache_result
def read_page(page: str, *defines: str) -> dict[str, Any]:
    """The names that the blocks of a guide define, of those blocks that define one of `defines`."""
    names: dict[str, Any] = {"__name__": f"guide {page}"}
    found = set()
    for _line, language, code in blocks(ROOT / "docs" / "how-to" / f"{page}.md"):
        wanted = {name for name in defines if f"def {name}(" in code or f"class {name}:" in code}
        if language == "python" and wanted:
            exec(compile(code, page, "exec", dont_inherit=True), names)
            found |= wanted
    assert found == set(defines)
    return names


# ---- docs/how-to/rollout.md ----------------------------------------------------------------------


CANARY = read_page("rollout", "CanaryMiddleware")["CanaryMiddleware"]


class Canary(CANARY):  # type: ignore[misc, valid-type]
    """The guide's middleware, where Django can import it."""


@pytest.fixture
def rolled_out(servers: PostgresReplicaSet) -> Iterator[None]:
    """A site with the canary, whose replicas are paused."""
    pause_all(servers)
    middleware = ["pindb.middleware.PinDbMiddleware", f"{__name__}.Canary"]
    with override_settings(MIDDLEWARE=middleware, REPLICA_PERCENT=0, PINDB_CONSISTENCY="position"):
        yield


@pytest.mark.usefixtures("rolled_out")
def test_outside_of_the_canary_visitors_read_the_master_and_writes_pin() -> None:
    writer, other = Client(), Client()
    answer = writer.get("/write/")
    assert answer.cookies["pindb_pinned_set"].value
    assert other.get("/read/").json()["used"] == ["default"]
    assert other.cookies == {}
    # A higher percentage does not lose the pin.
    with override_settings(REPLICA_PERCENT=100):
        assert writer.get("/read/").json()["names"] == ["written"]
        assert other.get("/read/").json()["names"] == []


@pytest.mark.usefixtures("rolled_out")
def test_the_canary_decides_by_visitor() -> None:
    Author.objects.using("default").create(name="new")

    def sees(visitor: str) -> bool:
        client = Client()
        client.cookies["sessionid"] = visitor
        return bool(client.get("/read/").json()["names"] == ["new"])

    with override_settings(REPLICA_PERCENT=50):
        seen = {name: sees(name) for name in "abcdefghijklmnopqrst"}
        assert set(seen.values()) == {True, False}
        assert {name: sees(name) for name in seen} == seen


@pytest.mark.usefixtures("rolled_out")
def test_the_canary_works_under_asgi() -> None:
    async def read() -> Any:
        return (await AsyncClient().get("/aread/")).json()["pinned"]

    assert asyncio.run(read()) == ["default"]
    with override_settings(REPLICA_PERCENT=100):
        assert asyncio.run(read()) == []


# ---- docs/how-to/stale-caches.md -----------------------------------------------------------------


@pytest.fixture
def caching(servers: PostgresReplicaSet, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The functions of the guide, a note that replicas have, and replicas that are paused."""
    notes = ModuleType("notes")
    monkeypatch.setitem(sys.modules, "notes", notes)
    monkeypatch.setitem(sys.modules, "notes.models", models)
    Note.objects.using("default").create(pk=1, text="old")
    pause_all(servers)
    with override_settings(CACHES=LOCAL):
        cache.clear()
        yield read_page("stale-caches", "titles", "note_text", "read_text", "forget_now_and_later")


def visit(function: Any, *args: Any) -> Any:
    """What one visitor, who has no pins, gets."""
    with pindb.pinning_context():
        return function(*args)


def test_a_cache_that_is_filled_from_a_lagging_replica_stays_old(
    servers: PostgresReplicaSet, caching: dict[str, Any]
) -> None:
    def titles() -> Any:
        return cache.get_or_set("titles", lambda: [note.text for note in Note.objects.all()])

    Note.objects.using("default").update(text="new")
    assert visit(titles) == ["old"]
    resume_all(servers)
    assert visit(titles) == ["old"]


def test_a_cache_that_is_filled_from_the_master_is_not(
    servers: PostgresReplicaSet, caching: dict[str, Any]
) -> None:
    Note.objects.using("default").update(text="new")
    assert visit(caching["titles"]) == ["new"]
    assert not pindb.is_pinned("default")


def test_a_version_in_the_key_ends_a_stale_fill_when_the_replica_has_caught_up(
    servers: PostgresReplicaSet, caching: dict[str, Any]
) -> None:
    note = Note.objects.using("default").get()
    note.text = "new"
    note.save(using="default")
    assert visit(caching["note_text"], 1) == "old"
    resume_all(servers)
    assert visit(caching["note_text"], 1) == "new"


def test_a_late_reader_does_not_replace_what_the_writer_has_filled(
    servers: PostgresReplicaSet, caching: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    visit(caching["save_text"], 1, "new")
    assert visit(caching["read_text"], 1) == "new"
    # The reader asked the cache before the writer filled it.
    with monkeypatch.context() as patch:
        patch.setattr(type(cache._connections["default"]), "get", lambda *args: None)  # type: ignore[attr-defined]
        assert visit(caching["read_text"], 1) == "old"
    assert visit(caching["read_text"], 1) == "new"


def test_a_key_is_forgotten_again_when_the_replicas_have_caught_up(
    servers: PostgresReplicaSet, caching: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = caching["forget"]
    sent: list[str] = []
    monkeypatch.setitem(caching, "forget", SimpleNamespace(delay=sent.append))
    visit(caching["save_text"], 1, "new")
    visit(caching["forget_now_and_later"], "text:1")
    assert visit(caching["read_text"], 1) == "old"
    assert sent == ["text:1"]
    resume_all(servers)
    forget("text:1")
    assert visit(caching["read_text"], 1) == "new"
