"""What ``manage.py check`` says of a site's settings."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.db import connections
from django.test import override_settings

from pindb.middleware import PinDbMiddleware, PinUnsafeMethodsMiddleware
from pindb.stores import CacheStore

SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
PINDB = "pindb.middleware.PinDbMiddleware"
METHODS = "pindb.middleware.PinUnsafeMethodsMiddleware"
DUMMY = "django.core.cache.backends.dummy.DummyCache"


class OwnMiddleware(PinDbMiddleware):
    """A site's subclass counts as pindb's."""


def found(**changes: Any) -> dict[str, Any]:
    """The messages with these settings, by id."""
    with override_settings(**changes):
        messages = run_checks(tags=["pindb"])
    assert all(message.hint for message in messages)
    return {str(message.id): message for message in messages}


def test_the_settings_of_the_tests_are_in_order() -> None:
    assert found() == {}


@pytest.mark.parametrize("name", ["MASTER_DATABASES", "DATABASE_SETS"])
def test_missing_sets(name: str) -> None:
    messages = found(**{name: None})
    assert list(messages) == ["pindb.E001"]
    assert name in messages["pindb.E001"].msg
    assert "populate_replicas" in messages["pindb.E001"].hint


def test_sets_that_contradict_each_other() -> None:
    messages = found(DATABASE_SETS={"default": []})
    assert list(messages) == ["pindb.E002"]
    assert "'api'" in messages["pindb.E002"].msg


def test_databases_that_were_never_populated() -> None:
    databases = {a: d for a, d in settings.DATABASES.items() if a != "default-1"}
    with pytest.warns(UserWarning, match="DATABASES"):
        messages = found(DATABASES=databases)
    assert list(messages) == ["pindb.E003"]
    assert "'default-1'" in messages["pindb.E003"].msg


def test_a_replica_that_is_no_mirror() -> None:
    databases = {**settings.DATABASES, "default-1": {**settings.DATABASES["default-1"], "TEST": {}}}
    with pytest.warns(UserWarning, match="DATABASES"):
        messages = found(DATABASES=databases)
    assert list(messages) == ["pindb.W003"]
    assert "'default-1'" in messages["pindb.W003"].msg


def test_a_set_without_replicas() -> None:
    messages = found(DATABASE_SETS={"default": [{}, {}], "api": []})
    assert list(messages) == ["pindb.W004"]
    assert "'api'" in messages["pindb.W004"].msg


def test_a_router_without_middleware() -> None:
    messages = found(MIDDLEWARE=[SESSIONS])
    assert list(messages) == ["pindb.W001"]


def test_middleware_without_a_router() -> None:
    messages = found(DATABASE_ROUTERS=[])
    assert list(messages) == ["pindb.W002"]
    assert "GreedyPinDbRouter" in messages["pindb.W002"].hint


def test_middleware_that_comes_too_late() -> None:
    messages = found(MIDDLEWARE=["django.middleware.common.CommonMiddleware", SESSIONS, PINDB])
    assert list(messages) == ["pindb.W005"]
    assert SESSIONS in messages["pindb.W005"].hint


def test_middleware_may_be_a_subclass() -> None:
    assert found(MIDDLEWARE=["tests.test_checks.OwnMiddleware", SESSIONS]) == {}


def test_middleware_that_cannot_be_imported_is_left_to_django() -> None:
    assert found(MIDDLEWARE=["no.such.Middleware", PINDB, SESSIONS]) == {}


class OwnMethods(PinUnsafeMethodsMiddleware):
    """A site's choice of sets."""

    aliases = ("api",)


@pytest.mark.parametrize("name", [METHODS, "tests.test_checks.OwnMethods"])
def test_pins_by_method_outside_of_the_context_of_the_request(name: str) -> None:
    messages = found(MIDDLEWARE=[name, PINDB, SESSIONS])
    assert list(messages) == ["pindb.W014"]
    assert name in messages["pindb.W014"].msg
    assert PINDB in messages["pindb.W014"].hint
    assert sorted(found(MIDDLEWARE=[name, SESSIONS])) == ["pindb.W001", "pindb.W014"]
    assert found(MIDDLEWARE=[PINDB, name, SESSIONS]) == {}
    assert found(MIDDLEWARE=[name, PINDB, SESSIONS], PINDB_ENABLED=False) == {}


@pytest.mark.parametrize("seconds", [0, -1, "15", None, True, float("nan"), float("inf")])
def test_seconds_that_are_none(seconds: Any) -> None:
    assert list(found(PINDB_PINNING_SECONDS=seconds)) == ["pindb.E004"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("PINDB_POSITION_PIN_SECONDS", [0, None, "300", True]),
        ("PINDB_POSITION_CHECK_MS", [-1, None, "25", float("nan")]),
        ("PINDB_REPLICA_DOWNTIME", [-1, None, "30"]),
        ("PINDB_MAX_REPLICA_LAG", [0, -1, "1", False]),
    ],
)
def test_numbers_that_are_none(name: str, values: list[Any]) -> None:
    for value in values:
        messages = found(**{name: value})
        assert list(messages) == ["pindb.E011"]
        assert name in messages["pindb.E011"].msg


def test_numbers_at_their_ends() -> None:
    assert found(PINDB_POSITION_CHECK_MS=0, PINDB_REPLICA_DOWNTIME=0, PINDB_MAX_REPLICA_LAG=None) == {}


@pytest.mark.parametrize("value", ["Position", "", None, True])
def test_a_consistency_that_is_none(value: Any) -> None:
    assert list(found(PINDB_CONSISTENCY=value)) == ["pindb.E010"]


@pytest.mark.parametrize("value", ["x", {"postgresql": "no.such.Class"}, {"postgresql": dict}, None])
def test_positions_that_cannot_be_had(value: Any) -> None:
    assert list(found(PINDB_POSITIONS=value)) == ["pindb.E012"]


def test_a_kind_of_database_without_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "other")
    assert found() == {}
    for changes in ({"PINDB_CONSISTENCY": "position"}, {"PINDB_MAX_REPLICA_LAG": 5}):
        messages = found(**changes)
        assert list(messages) == ["pindb.W007"]
        assert "'other'" in messages["pindb.W007"].msg


@pytest.mark.parametrize(
    "changes",
    [
        {"PINDB_PIN_STORE": "no.such.Store"},
        {"PINDB_PIN_STORE": "pindb.stores.load_store"},
        {"PINDB_PIN_STORE": None},
        {"PINDB_PIN_STORE": "pindb.stores.HeaderStore", "PINDB_PIN_HEADER": "X Pins"},
        {"PINDB_PIN_STORE": "pindb.stores.HeaderStore", "PINDB_PIN_HEADER": None},
        {"PINDB_PIN_STORE": CacheStore, "PINDB_PIN_CACHE": "none", "PINDB_PIN_CACHE_KEY": str},
        {"PINDB_PIN_STORE": CacheStore, "PINDB_PIN_CACHE_KEY": "no.such.key"},
        {"PINDB_PIN_STORE": CacheStore(), "PINDB_PIN_CACHE_KEY": 7},
    ],
)
def test_stores_that_cannot_be_had(changes: dict[str, Any]) -> None:
    assert list(found(**changes)) == ["pindb.E013"]


def test_sessions_that_are_read_before_the_pins_are_known() -> None:
    store = {"PINDB_PIN_STORE": "pindb.stores.CacheStore"}
    assert list(found(**store)) == ["pindb.W006"]
    assert found(**store, PINDB_UNPINNED_MODELS=["sessions.Session"]) == {}
    assert found(**store, PINDB_PIN_CACHE_KEY=str) == {}
    assert found(**store, SESSION_ENGINE="django.contrib.sessions.backends.cache") == {}


@pytest.mark.parametrize("name", ["", None, 7])
def test_a_cookie_without_a_name(name: Any) -> None:
    assert list(found(PINDB_PINNING_COOKIE=name)) == ["pindb.E005"]


def test_delegates_that_cannot_be_imported() -> None:
    messages = found(PINDB_DELEGATE_ROUTERS=["no.such.Router"])
    assert list(messages) == ["pindb.E006"]
    assert "no.such.Router" in messages["pindb.E006"].msg


def test_unpinned_models_that_do_not_exist() -> None:
    assert list(found(PINDB_UNPINNED_MODELS=["testapp.Nothing"])) == ["pindb.E007"]


@pytest.mark.parametrize(
    "changes",
    [
        {"PINDB_GREEDY_MODELS": ["testapp.Nothing"]},
        {"PINDB_GREEDY_MODELS": "admin"},
        {"PINDB_STRICT": "Log"},
        {"PINDB_STRICT": True},
        {"PINDB_STRICT": None},
    ],
)
def test_a_strictness_that_is_none(changes: dict[str, Any]) -> None:
    messages = found(**changes)
    assert list(messages) == ["pindb.E014"]
    assert next(iter(changes)) in messages["pindb.E014"].msg


def test_greedy_models_may_be_models_and_apps() -> None:
    assert found(PINDB_GREEDY_MODELS=["testapp", "auth.User"], PINDB_STRICT="log") == {}


@pytest.mark.parametrize(
    ("clusters", "words"),
    [
        (
            {"good": {"hosts": [{}]}, "bad": {"hosts": [{}], "router": "ring"}},
            ["'bad'", "'ring'", "'partition'"],
        ),
        ({"bad": {}}, ["'bad'", "no hosts"]),
        ({"bad": None}, ["'bad'", "NoneType"]),
        ([{}], ["PINDB_CLUSTERS", "list"]),
        (None, ["PINDB_CLUSTERS", "NoneType"]),
    ],
)
def test_clusters_that_cannot_be_made(clusters: Any, words: list[str]) -> None:
    messages = found(PINDB_CLUSTERS=clusters)
    assert list(messages) == ["pindb.E008"]
    assert all(word in messages["pindb.E008"].msg for word in words)


def test_clusters_are_not_connected_to() -> None:
    assert found(PINDB_CLUSTERS={"default": {"hosts": [{"host": "192.0.2.1"}], "router": "partition"}}) == {}


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ({"LOCATION": ["redis://a"], "OPTIONS": {"ROUTR": "ring"}}, ["ROUTR", "ROUTER_OPTIONS"]),
        ({"LOCATION": ["redis://a"], "OPTIONS": {"ROUTER": "ring"}}, ["'ring'", "'consistent'"]),
        ({"LOCATION": ["redis://a"], "OPTIONS": {"ON_DOWN": "wait"}}, ["'wait'", "'rehash'"]),
        ({"LOCATION": "sessions"}, ["'sessions'", "PINDB_CLUSTERS"]),
        ({}, ["LOCATION"]),
    ],
)
@pytest.mark.parametrize("by_backend", [True, False])
def test_caches_that_cannot_be_made(cache: dict[str, Any], words: list[str], by_backend: bool) -> None:
    if by_backend:
        cache = {"BACKEND": "pindb.cache.ShardedRedisCache", **cache}
    else:
        options = {"CLIENT_CLASS": "pindb.cache.ShardedClient", **cache.get("OPTIONS", {})}
        cache = {"BACKEND": "django_redis.cache.RedisCache", **cache, "OPTIONS": options}
    messages = found(CACHES={"default": {"BACKEND": DUMMY}, "shards": cache})
    assert list(messages) == ["pindb.E009"]
    assert all(word in messages["pindb.E009"].msg for word in ["CACHES['shards']", *words])


def test_caches_are_not_connected_to() -> None:
    cache = {
        "BACKEND": "pindb.cache.ShardedRedisCache",
        "LOCATION": ["redis://192.0.2.1", "redis://192.0.2.2"],
    }
    assert found(CACHES={"default": cache}) == {}


def test_a_site_that_does_not_use_pindb_yet_has_nothing_to_mend() -> None:
    assert found(MASTER_DATABASES=None, DATABASE_SETS=None, DATABASE_ROUTERS=[], MIDDLEWARE=[SESSIONS]) == {}


def test_disabled_a_site_may_have_other_databases() -> None:
    with pytest.warns(UserWarning, match="DATABASES"):
        assert found(PINDB_ENABLED=False, DATABASES={"default": {}}) == {}


def test_disabled_a_site_needs_no_sets_and_no_middleware() -> None:
    assert found(PINDB_ENABLED=False, MASTER_DATABASES=None, MIDDLEWARE=[]) == {}
