"""The alias that each query goes to, through Django's own router."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.db import router
from django.db.migrations.state import ModelState, ProjectState
from django.test import override_settings

import pindb
from tests.testapp.models import Article, Author, Book, LogLine

REPLICAS = {"default-0", "default-1"}

strict = override_settings(DATABASE_ROUTERS=["pindb.StrictPinDbRouter"])


def refuses(words: str, **changes: Any) -> None:
    """With these settings, a read is an error with these words."""
    with override_settings(**changes), pytest.raises(pindb.PinDbConfigError, match=words):
        router.db_for_read(Author)


class ArticlesOnApi:
    """A delegate router as a site has it: articles live in the set "api"."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "api" if model is Article else None

    db_for_write = db_for_read

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        if app_label == "testapp":
            return (db == "api") == (model_name == "article")
        return None

    def allow_relation(self, obj1: Any, obj2: Any, **hints: Any) -> bool | None:
        return False if {type(obj1), type(obj2)} == {Article, Author} else None


class Answers:
    """A delegate router that answers the same to everything, and remembers what it was asked."""

    def __init__(self, alias: str | None) -> None:
        self.alias = alias
        self.asked: list[tuple[Any, dict[str, Any]]] = []

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        self.asked.append((model, hints))
        return self.alias

    db_for_write = db_for_read


# ---- greedy ------------------------------------------------------------------------------------


def test_greedy_reads_replicas_until_a_write_pins() -> None:
    assert router.db_for_read(Author) in REPLICAS
    assert router.db_for_write(Author) == "default"
    assert pindb.is_newly_pinned("default")
    assert router.db_for_read(Author) == "default"
    assert router.db_for_read(Book) == "default"


def test_a_greedy_write_renews_a_pin_that_was_carried_in() -> None:
    pindb.pin("default", count_as_new=False)
    router.db_for_write(Author)
    assert pindb.is_newly_pinned("default")


def test_queries_that_are_about_no_model_are_routed() -> None:
    no_model: Any = None
    assert router.db_for_read(no_model) in REPLICAS
    assert router.db_for_write(no_model) == "default"
    assert router.db_for_read(no_model) == "default"


# ---- strict ------------------------------------------------------------------------------------


@strict
def test_strict_refuses_a_write_that_was_not_declared_and_says_what_to_do() -> None:
    with pytest.raises(pindb.UnpinnedWriteException) as caught:
        router.db_for_write(Author)
    for words in (
        "testapp.Author",
        "'default'",
        "pindb.pin('default')",
        "with pindb.master('default')",
        "before the first read",
    ):
        assert words in str(caught.value)
    assert isinstance(caught.value, pindb.PinDbException)
    assert not pindb.is_pinned("default")


@strict
def test_strict_allows_declared_writes() -> None:
    with pindb.master("default"):
        assert router.db_for_write(Author) == "default"
    with pytest.raises(pindb.UnpinnedWriteException):
        router.db_for_write(Author)
    pindb.pin("default")
    assert router.db_for_write(Author) == "default"


@strict
def test_strict_keeps_a_declaration_that_is_not_to_count_as_new() -> None:
    pindb.pin("default", count_as_new=False)
    router.db_for_write(Author)
    assert not pindb.is_newly_pinned("default")


@strict
def test_strict_refuses_writes_to_what_a_block_reads_from_replicas() -> None:
    pindb.pin("default")
    with pindb.unpinned_replica("default"), pytest.raises(pindb.UnpinnedWriteException):
        router.db_for_write(Author)


@strict
def test_strict_lets_unmanaged_databases_alone() -> None:
    with override_settings(PINDB_DELEGATE_ROUTERS=[Answers("unmanaged")]):
        assert router.db_for_write(Author) == "unmanaged"


# ---- unpinned models ---------------------------------------------------------------------------


@override_settings(PINDB_UNPINNED_MODELS=["sessions.Session", "testapp.logline"])
@pytest.mark.parametrize("name", ["pindb.GreedyPinDbRouter", "pindb.StrictPinDbRouter"])
def test_unpinned_models_live_on_the_master_and_pin_nothing(name: str) -> None:
    with override_settings(DATABASE_ROUTERS=[name]):
        for model in (Session, LogLine):
            assert router.db_for_write(model) == "default"
            assert router.db_for_read(model) == "default"
        assert pindb.get_pinned() == set()
        assert router.db_for_read(Author) in REPLICAS


@override_settings(PINDB_UNPINNED_MODELS=["testapp.LogLine"])
def test_proxies_and_historical_versions_of_unpinned_models_are_unpinned_too() -> None:
    state = ProjectState.from_apps(apps)
    state.add_model(ModelState("testapp", "Proxy", [], {"proxy": True}, ("testapp.logline",)))
    for model in (state.apps.get_model("testapp.LogLine"), state.apps.get_model("testapp.Proxy")):
        assert model is not LogLine
        assert router.db_for_write(model) == "default"
        assert router.db_for_read(model) == "default"
    assert pindb.get_pinned() == set()
    assert router.db_for_write(state.apps.get_model("testapp.Author")) == "default"
    assert pindb.get_pinned() == {"default"}


@pytest.mark.parametrize("wrong", [["testapp.Nothing"], ["Author"], [7], "testapp.Author"])
def test_an_unpinned_model_that_does_not_exist_is_refused(wrong: Any) -> None:
    refuses("PINDB_UNPINNED_MODELS", PINDB_UNPINNED_MODELS=wrong)


# ---- delegates ---------------------------------------------------------------------------------


@override_settings(PINDB_DELEGATE_ROUTERS=["tests.routing.test_routers.ArticlesOnApi"])
def test_a_delegate_picks_the_set_and_pindb_the_server() -> None:
    assert router.db_for_read(Article) == "api-0"
    assert router.db_for_read(Author) in REPLICAS
    assert router.db_for_write(Article) == "api"
    assert pindb.get_pinned() == {"api"}
    assert router.db_for_read(Article) == "api"
    assert router.db_for_read(Author) in REPLICAS


def test_delegates_may_be_paths_classes_and_objects_and_the_first_answer_wins() -> None:
    first, last = Answers(None), Answers("api")
    delegates = [object(), first, "tests.routing.test_routers.ArticlesOnApi", ArticlesOnApi, last]
    with override_settings(PINDB_DELEGATE_ROUTERS=delegates):
        assert router.db_for_write(Author, hint=1) == "api"
        assert router.db_for_read(Article) == "api"
    assert first.asked == [(Author, {"hint": 1}), (Article, {})]
    assert last.asked == [(Author, {"hint": 1})]


@pytest.mark.parametrize("ask", [router.db_for_read, router.db_for_write])
def test_a_delegate_that_answers_a_replica_is_refused(ask: Any) -> None:
    with (
        override_settings(PINDB_DELEGATE_ROUTERS=[Answers("api-0")]),
        pytest.raises(pindb.PinDbConfigError) as caught,
    ):
        ask(Author)
    for words in ("'api-0'", "PINDB_DELEGATE_ROUTERS", "return 'api'"):
        assert words in str(caught.value)


def test_unmanaged_aliases_pass_through_untouched() -> None:
    with override_settings(PINDB_DELEGATE_ROUTERS=[Answers("unmanaged")]):
        assert router.db_for_read(Author) == "unmanaged"
        assert router.db_for_write(Author) == "unmanaged"
    assert pindb.get_pinned() == set()


@override_settings(PINDB_ENABLED=False, PINDB_DELEGATE_ROUTERS=[ArticlesOnApi()])
def test_disabled_delegates_still_pick_the_set() -> None:
    assert router.db_for_read(Article) == "api"
    assert router.db_for_write(Article) == "api"
    assert router.db_for_read(Author) == "default"
    assert pindb.get_pinned() == set()


@pytest.mark.parametrize("none", [None, (), [], [Answers(None)]])
def test_without_an_answer_of_a_delegate_it_is_default(none: Any) -> None:
    with override_settings(PINDB_DELEGATE_ROUTERS=none):
        assert router.db_for_read(Author) in REPLICAS
        assert router.db_for_write(Author) == "default"


@pytest.mark.parametrize("wrong", ["tests.routing.test_routers.ArticlesOnApi", 7])
def test_delegates_that_are_no_list_are_refused(wrong: Any) -> None:
    refuses("Write a list", PINDB_DELEGATE_ROUTERS=wrong)


@pytest.mark.parametrize("wrong", ["no.such.Router", "tests.routing.test_routers.NoSuchRouter", "nonsense"])
def test_a_delegate_that_cannot_be_imported_is_named(wrong: str) -> None:
    refuses(wrong, PINDB_DELEGATE_ROUTERS=[wrong])


def test_a_pindb_router_cannot_be_its_own_delegate() -> None:
    refuses("call itself", PINDB_DELEGATE_ROUTERS=["pindb.GreedyPinDbRouter"])


# ---- instances that know their database --------------------------------------------------------


@pytest.mark.parametrize(
    ("home", "reads", "writes"),
    [
        ("default-1", REPLICAS, "default"),
        ("default", REPLICAS, "default"),
        ("api-0", {"api-0"}, "api"),
        ("unmanaged", {"unmanaged"}, "unmanaged"),
        (None, REPLICAS, "default"),
    ],
)
def test_what_belongs_to_an_instance_stays_in_its_set(home: str, reads: set[str], writes: str) -> None:
    author = Author()
    author._state.db = home
    assert router.db_for_read(Book, instance=author) in reads
    assert router.db_for_write(Author, instance=author) == writes


# ---- relations and migrations ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "allowed"),
    [
        ("default", "default-1", True),
        ("default-0", "default-1", True),
        ("default", "default", True),
        ("api", "api-0", True),
        ("default", "api", False),
        ("default-0", "unmanaged", False),
        ("unmanaged", "unmanaged", True),
        (None, None, True),
    ],
)
def test_relations_are_allowed_within_a_set(one: str, other: str, allowed: bool) -> None:
    assert are_related(one, other) is allowed


def are_related(one: str | None, other: str | None) -> bool:
    author, article = Author(), Article()
    author._state.db, article._state.db = one, other
    allowed: bool = router.allow_relation(author, article)
    return allowed


@override_settings(PINDB_DELEGATE_ROUTERS=[ArticlesOnApi()])
def test_delegates_decide_on_relations_across_sets() -> None:
    assert are_related("default", "api") is False


def test_replicas_are_never_migrated() -> None:
    for alias in ("default-0", "default-1", "api-0"):
        assert router.allow_migrate(alias, "testapp") is False
        assert router.allow_migrate_model(alias, Author) is False
    for alias in ("default", "api", "unmanaged"):
        assert router.allow_migrate(alias, "testapp") is True


@override_settings(PINDB_DELEGATE_ROUTERS=[ArticlesOnApi()])
def test_delegates_decide_on_migrations_of_masters() -> None:
    assert router.allow_migrate_model("api", Article) is True
    assert router.allow_migrate_model("default", Article) is False
    assert router.allow_migrate_model("default", Author) is True
    assert router.allow_migrate_model("api-0", Article) is False
    assert router.allow_migrate("default", "auth") is True


# ---- settings ----------------------------------------------------------------------------------


def test_without_sets_the_router_says_what_is_missing() -> None:
    refuses("MASTER_DATABASES is missing", MASTER_DATABASES=None)


def test_disabled_the_router_needs_no_sets() -> None:
    with override_settings(PINDB_ENABLED=False, MASTER_DATABASES=None, DATABASE_SETS=None):
        assert router.db_for_read(Author) == "default"
        assert router.db_for_write(Author) == "default"
        assert router.allow_migrate("default", "testapp") is True


def test_settings_take_effect_at_once_in_a_running_context() -> None:
    assert router.db_for_read(Author) in REPLICAS
    with override_settings(PINDB_ENABLED=False):
        assert router.db_for_read(Author) == "default"
        with override_settings(
            PINDB_ENABLED=True, MASTER_DATABASES={"default": {}}, DATABASE_SETS={"default": []}
        ):
            assert router.db_for_read(Author) == "default"
    assert router.db_for_read(Author) in REPLICAS
