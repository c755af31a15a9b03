"""System checks of a site's settings."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

import pytest
from django.conf import settings
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import run_checks
from django.db import connections
from django.test import modify_settings, override_settings
from hypothesis import example, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from rest_framework.authentication import BaseAuthentication, SessionAuthentication

import pindb
from pindb.cache.options import OPTIONS as CACHE_OPTIONS
from pindb.checks.values import BOOLEANS, INSTALLED_BY, NUMBERS
from pindb.conf import COOKIE_DEFAULTS, DEFAULTS
from pindb.middleware import PinDbMiddleware, PinUnsafeMethodsMiddleware
from pindb.stores import CacheStore
from tests.processes import ROOT, run_python

SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
PINDB = "pindb.middleware.PinDbMiddleware"
METHODS = "pindb.middleware.PinUnsafeMethodsMiddleware"
DUMMY = "django.core.cache.backends.dummy.DummyCache"
LOCAL = "django.core.cache.backends.locmem.LocMemCache"
SHARED = "django.core.cache.backends.db.DatabaseCache"
CACHE_STORE: dict[str, Any] = {
    "PINDB_PIN_STORE": "pindb.stores.CacheStore",
    "PINDB_UNPINNED_MODELS": ["sessions.Session"],
    "CACHES": {"default": {"BACKEND": SHARED, "LOCATION": "cache"}},
}


class OwnMiddleware(PinDbMiddleware):
    """A site's subclass counts as pindb's."""


def found(**changes: Any) -> dict[str, Any]:
    """The messages with these settings, by id."""
    # Django warns of other databases.
    warned = pytest.warns(UserWarning, match="DATABASES") if "DATABASES" in changes else nullcontext()
    with warned, override_settings(**changes):
        messages = run_checks(tags=["pindb"])
    assert all(message.hint for message in messages)
    return {str(message.id): message for message in messages}


def expect(code: str, *words: str, hint: str = "", **changes: Any) -> None:
    """These settings give this one message, which has the words, and a hint."""
    messages = found(**changes)
    assert list(messages) == [f"pindb.{code}"]
    (message,) = messages.values()
    for word in words:
        assert word in message.msg
    assert hint in message.hint


def test_the_settings_of_the_tests_are_in_order() -> None:
    assert found() == {}


@pytest.mark.parametrize("name", ["MASTER_DATABASES", "DATABASE_SETS"])
def test_missing_sets(name: str) -> None:
    expect("E001", name, hint="populate_replicas", **{name: None})


def test_sets_that_contradict_each_other() -> None:
    expect("E002", "'api'", DATABASE_SETS={"default": []})


def test_databases_that_were_never_populated() -> None:
    databases = {a: d for a, d in settings.DATABASES.items() if a != "default-1"}
    expect("E003", "'default-1'", DATABASES=databases)


def test_a_replica_that_is_no_mirror() -> None:
    databases = {**settings.DATABASES, "default-1": {**settings.DATABASES["default-1"], "TEST": {}}}
    expect("W003", "'default-1'", DATABASES=databases)


def test_a_set_without_replicas() -> None:
    expect("W004", "'api'", DATABASE_SETS={**settings.DATABASE_SETS, "api": []})


def test_a_router_without_middleware() -> None:
    expect("W001", MIDDLEWARE=[SESSIONS])


def test_middleware_without_a_router() -> None:
    expect("W002", hint="GreedyPinDbRouter", DATABASE_ROUTERS=[])


def test_middleware_that_comes_too_late() -> None:
    common = "django.middleware.common.CommonMiddleware"
    expect("W005", hint=SESSIONS, MIDDLEWARE=[common, SESSIONS, PINDB])


def test_middleware_that_is_there_twice() -> None:
    expect("W012", PINDB, "OwnMiddleware", MIDDLEWARE=[PINDB, SESSIONS, f"{__name__}.OwnMiddleware"])


class OwnRouter(pindb.StrictPinDbRouter):
    """A site's subclass counts as pindb's."""


@pytest.mark.parametrize("second", ["pindb.StrictPinDbRouter", f"{__name__}.OwnRouter", OwnRouter()])
def test_two_routers(second: Any) -> None:
    expect("W013", "'pindb.GreedyPinDbRouter'", DATABASE_ROUTERS=["pindb.GreedyPinDbRouter", second])


def test_middleware_may_be_a_subclass() -> None:
    assert found(MIDDLEWARE=["tests.checks.test_checks.OwnMiddleware", SESSIONS]) == {}


def test_middleware_that_cannot_be_imported_is_left_to_django() -> None:
    assert found(MIDDLEWARE=["no.such.Middleware", PINDB, SESSIONS]) == {}


class OwnMethods(PinUnsafeMethodsMiddleware):
    """A site's choice of sets."""

    aliases = ("api",)


@pytest.mark.parametrize("name", [METHODS, "tests.checks.test_checks.OwnMethods"])
def test_pins_by_method_outside_of_the_context_of_the_request(name: str) -> None:
    expect("W014", name, hint=PINDB, MIDDLEWARE=[name, PINDB, SESSIONS])
    assert sorted(found(MIDDLEWARE=[name, SESSIONS])) == ["pindb.W001", "pindb.W014"]
    assert found(MIDDLEWARE=[PINDB, name, SESSIONS]) == {}
    assert found(MIDDLEWARE=[name, PINDB, SESSIONS], PINDB_ENABLED=False) == {}


@pytest.mark.parametrize("seconds", [0, -1, "15", None, True, float("nan"), float("inf")])
def test_seconds_that_are_none(seconds: Any) -> None:
    expect("E004", PINDB_PINNING_SECONDS=seconds)


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
        expect("E011", name, **{name: value})


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
    expect("W007", "'other'", PINDB_CONSISTENCY="position")
    expect("W007", "'other'", PINDB_MAX_REPLICA_LAG=5)


@pytest.mark.parametrize(
    "changes",
    [
        {"PINDB_PIN_STORE": "no.such.Store"},
        {"PINDB_PIN_STORE": "pindb.stores.load_store"},
        {"PINDB_PIN_STORE": None},
        {"PINDB_PIN_STORE": "pindb.stores.HeaderStore", "PINDB_PIN_HEADER": "X Pins"},
        {"PINDB_PIN_STORE": "pindb.stores.HeaderStore", "PINDB_PIN_HEADER": None},
        {"PINDB_PIN_STORE": CacheStore, "PINDB_PIN_CACHE": "none", "PINDB_PIN_CACHE_KEY": str},
        {"PINDB_PIN_STORE": CacheStore, "PINDB_PIN_CACHE": [], "PINDB_PIN_CACHE_KEY": str},
        {"PINDB_PIN_STORE": CacheStore, "PINDB_PIN_CACHE_KEY": "no.such.key"},
        {"PINDB_PIN_STORE": CacheStore(), "PINDB_PIN_CACHE_KEY": 7},
        {"PINDB_PIN_STORE": f"{__name__}.FailingStore"},
        *(
            {"PINDB_PIN_HEADER": name}
            for name in ("", "-", "X_Pins", "Cookie", "authorization", "HOST", "Vary")
        ),
    ],
)
def test_stores_that_cannot_be_had(changes: dict[str, Any]) -> None:
    assert list(found(**{"CACHES": CACHE_STORE["CACHES"], **changes})) == ["pindb.E013"]


def test_sessions_that_are_read_before_the_pins_are_known() -> None:
    assert found(**CACHE_STORE) == {}
    store = {**CACHE_STORE, "PINDB_UNPINNED_MODELS": []}
    assert list(found(**store)) == ["pindb.W006"]
    assert list(found(**store, PINDB_PIN_CACHE_KEY="pindb.stores.token_key")) == ["pindb.W006"]
    assert found(**store, PINDB_PIN_CACHE_KEY=str) == {}
    assert found(**store, SESSION_ENGINE="django.contrib.sessions.backends.cache") == {}


class OwnCache(LocMemCache):
    """A site's subclass of a cache is as much one process's as the original."""


@pytest.mark.parametrize("backend", [LOCAL, DUMMY, f"{__name__}.OwnCache"])
def test_a_cache_that_other_processes_do_not_see(backend: str) -> None:
    store = {**CACHE_STORE, "CACHES": {"default": {"BACKEND": SHARED}, "pins": {"BACKEND": backend}}}
    expect("W009", "'pins'", **store, PINDB_PIN_CACHE="pins")
    assert found(**store) == {}


TOKENS = "rest_framework.authentication.TokenAuthentication"


class OwnSessions(SessionAuthentication):  # type: ignore[misc]
    """A site's subclass still finds the user in the session."""


class OwnTokens(BaseAuthentication):  # type: ignore[misc]
    """Finds the user by a token."""


@pytest.mark.parametrize(
    ("classes", "named"),
    [
        ([TOKENS], "TokenAuthentication"),
        (["rest_framework.authentication.SessionAuthentication", OwnTokens], "OwnTokens"),
        ((f"{__name__}.OwnTokens",), "OwnTokens"),
        ([OwnSessions, "rest_framework.authentication.BasicAuthentication", "no.such.Class", 7], None),
        (None, None),
        (7, None),
    ],
)
def test_clients_with_tokens_whose_pins_would_go_by_session(classes: Any, named: str | None) -> None:
    rest = {"DEFAULT_AUTHENTICATION_CLASSES": classes}
    if named:
        expect("W008", named, hint="pindb.stores.token_key", **CACHE_STORE, REST_FRAMEWORK=rest)
    else:
        assert found(**CACHE_STORE, REST_FRAMEWORK=rest) == {}
    assert found(**CACHE_STORE, REST_FRAMEWORK=rest, PINDB_PIN_CACHE_KEY="pindb.stores.token_key") == {}
    assert found(REST_FRAMEWORK=rest) == {}


@pytest.mark.parametrize("name", ["", None, 7, "pindb pins", "pins;", "pins=1", "zo\u00eb", "path", "a\n"])
def test_a_cookie_that_cannot_be_named_so(name: Any) -> None:
    expect("E005", repr(name), PINDB_PINNING_COOKIE=name)


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("sessionid", "SESSION_COOKIE_NAME"),
        ("csrftoken", "CSRF_COOKIE_NAME"),
        ("django_language", "LANGUAGE_COOKIE_NAME"),
        ("messages", "django.contrib.messages"),
    ],
)
def test_a_cookie_named_like_another_one(name: str, owner: str) -> None:
    with modify_settings(INSTALLED_APPS={"append": "django.contrib.messages"}):
        expect("E017", owner, PINDB_PINNING_COOKIE=name)


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        ("SAMESITE", ["lex", True, 1, ["Lax"], "Lax "]),
        ("DOMAIN", [7, False, "https://example.com", "example.com:8000", "example.com;", "a b"]),
        ("PATH", [None, 7, "", "shop/", "/a;b", "/\n", "/ a"]),
    ],
)
def test_attributes_that_no_cookie_has(attribute: str, values: list[Any]) -> None:
    for value in values:
        for name in (f"PINDB_PINNING_COOKIE_{attribute}", f"SESSION_COOKIE_{attribute}"):
            expect("E018", name, **{name: value})
        assert found(**{name: value}, PINDB_PIN_STORE="pindb.stores.HeaderStore") == {}


@pytest.mark.parametrize("samesite", ["Lax", "strict", None, False, ""])
@pytest.mark.parametrize("domain", [None, "", ".example.com", "xn--zo-jia.example"])
def test_attributes_that_cookies_have(samesite: Any, domain: str | None) -> None:
    cookie = {"SAMESITE": samesite, "DOMAIN": domain, "PATH": "/shop/", "SECURE": True, "HTTPONLY": False}
    assert found(**{f"PINDB_PINNING_COOKIE_{name}": value for name, value in cookie.items()}) == {}


HOST_COOKIE = {"PINDB_PINNING_COOKIE": "__Host-pins", "SESSION_COOKIE_SECURE": True}


@pytest.mark.parametrize(
    ("changes", "cure"),
    [
        ({"PINDB_PINNING_COOKIE_SAMESITE": "None"}, {"PINDB_PINNING_COOKIE_SECURE": True}),
        ({"SESSION_COOKIE_SAMESITE": "none"}, {"SESSION_COOKIE_SECURE": True}),
        ({"PINDB_PINNING_COOKIE": "__Secure-pins"}, {"SESSION_COOKIE_SECURE": True}),
        ({"PINDB_PINNING_COOKIE": "__Host-pins"}, {"SESSION_COOKIE_SECURE": True}),
        ({**HOST_COOKIE, "SESSION_COOKIE_PATH": "/a/"}, {"PINDB_PINNING_COOKIE_PATH": "/"}),
        ({**HOST_COOKIE, "SESSION_COOKIE_DOMAIN": "example.com"}, {"PINDB_PINNING_COOKIE_DOMAIN": None}),
    ],
)
def test_a_cookie_that_browsers_drop(changes: dict[str, Any], cure: dict[str, Any]) -> None:
    expect("W011", **changes)
    assert found(**{**changes, **cure}) == {}
    assert found(**changes, PINDB_PIN_STORE="pindb.stores.HeaderStore") == {}


@pytest.mark.parametrize("name", BOOLEANS)
@pytest.mark.parametrize("value", ["False", "", "0", 1, None, []])
def test_truth_values_that_are_none(name: str, value: Any) -> None:
    message = found(**{name: value})["pindb.E015"]
    assert name in message.msg
    assert ("counts as True" in message.msg) == (value in ("False", "0"))
    assert f'{name} = os.environ.get("{name}", ' in message.hint


def test_every_setting_of_pindb_that_is_a_truth_value_or_a_number_is_checked() -> None:
    for name, value in DEFAULTS.items():
        if isinstance(value, bool):
            assert name in BOOLEANS or name in INSTALLED_BY
        elif isinstance(value, (int, float)):
            assert name in NUMBERS


def test_attributes_of_the_session_cookie_are_left_to_django() -> None:
    assert found(SESSION_COOKIE_SECURE=1, SESSION_COOKIE_HTTPONLY=None) == {}


@pytest.mark.parametrize("value", ["False", "", None, 7, ["wait"], 0.2])
@pytest.mark.parametrize("name", ["PINDB_CELERY", "PINDB_TASKS"])
def test_hooks_of_tasks_that_are_neither_on_nor_off(name: str, value: Any) -> None:
    expect("E016", hint="'wait'", **{name: value})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PINDB_ENABLD", "PINDB_ENABLED"),
        ("PINDB_PINING_SECONDS", "PINDB_PINNING_SECONDS"),
        ("PINDB_PINNING_COOKIE_SAME_SITE", "PINDB_PINNING_COOKIE_SAMESITE"),
        ("PINDB_UNPINNED_MODEL", "PINDB_UNPINNED_MODELS"),
        ("PINDB_WHATEVER", None),
        ("PINDB_", None),
    ],
)
def test_settings_that_pindb_does_not_have(name: str, meant: str | None) -> None:
    messages = found(**{name: True})
    assert list(messages) == ["pindb.W020"]
    assert name in messages["pindb.W020"].msg
    assert messages["pindb.W020"].hint.startswith(f"Write {meant}." if meant else "Remove the setting")


@pytest.mark.parametrize(
    ("kind", "meant"),
    [("postgres", "Write 'postgresql'"), ("oracle", "'postgresql'"), ("mariadb", "'sqlite'")],
)
def test_positions_of_databases_that_the_site_has_not(kind: str, meant: str) -> None:
    own = {kind: "pindb.positions.PostgreSQLPositions"}
    expect("W015", repr(kind), hint=meant, PINDB_POSITIONS=own)
    assert found(PINDB_POSITIONS=own, PINDB_ENABLED=False) == {}
    assert found(PINDB_POSITIONS={"postgresql": own[kind]}) == {}


def test_positions_of_mariadb_are_those_of_a_mysql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "mysql")
    assert found(PINDB_POSITIONS={"mariadb": "pindb.positions.MariaDBPositions"}) == {}


# ---- replicas ----------------------------------------------------------------------------------


def replicated(*replicas: Any, master: dict[str, Any] | None = None) -> dict[str, Any]:
    """Settings of one set, in DATABASES too."""
    own = {"ENGINE": "django.db.backends.postgresql", "HOST": "a", "PORT": 5432, **(master or {})}
    masters = {"default": own}
    sets = {"default": list(replicas)}
    databases = pindb.populate_replicas(masters, sets)
    return {"MASTER_DATABASES": masters, "DATABASE_SETS": sets, "DATABASES": databases}


@pytest.mark.parametrize(
    "replica",
    [
        {"HOST": "b"},
        {"PORT": 5433, "WEIGHT": 2, "ALIAS": "eu1"},
        {"NAME": "other"},
        {"OPTIONS": {"service": "replica"}},
        {"HOST": "b", "CONN_MAX_AGE": 60, "TEST": {}, "USER": "reader", "TIME_ZONE": None},
    ],
)
def test_replicas_that_are_in_order(replica: dict[str, Any]) -> None:
    assert found(**replicated(replica)) == {}


@pytest.mark.parametrize(
    "replica",
    [
        {},
        {"WEIGHT": 2},
        {"ALIAS": "eu1"},
        {"HOST": "a", "PORT": "5432"},
        {"CONN_MAX_AGE": 60},
        {"OPTIONS": {}},
    ],
)
def test_a_replica_that_is_its_master(replica: dict[str, Any]) -> None:
    alias = f"'{replica.get('ALIAS', 'default-1')}'"
    expect("W016", alias, hint="DATABASE_SETS['default'][1]", **replicated({"HOST": "b"}, replica))


def test_two_replicas_that_are_one_server() -> None:
    changes = replicated({"HOST": "b"}, {"HOST": "c"}, {"HOST": "b", "CONN_MAX_AGE": 9})
    expect("W017", "'default-0' and 'default-2'", **changes)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("HOSST", "HOST"),
        ("host", "HOST"),
        ("PROT", "PORT"),
        ("Weigth", "WEIGHT"),
        ("CONN_MAX_AG", "CONN_MAX_AGE"),
    ],
)
def test_a_key_of_a_replica_with_a_typing_error(key: str, meant: str) -> None:
    messages = found(**replicated({"HOST": "b", key: 1}))
    assert list(messages) == ["pindb.E019"]
    assert f"DATABASE_SETS['default'][0] has the unknown key {key!r}" in messages["pindb.E019"].msg
    assert messages["pindb.E019"].hint == f"Write '{meant}'."


@pytest.mark.parametrize("key", ["SCHEMA", "POOL_OPTIONS", 7])
def test_a_key_of_a_replica_that_nobody_knows(key: Any) -> None:
    expect("W018", repr(key), **replicated({"HOST": "b", key: 1}))


@pytest.mark.parametrize("key", ["SCHEMA", "HOSTS"])
def test_keys_of_other_backends_are_known_where_the_master_has_them(key: str) -> None:
    assert found(**replicated({"HOST": "b", key: 1}, master={key: 2})) == {}


@pytest.mark.parametrize(
    ("alias", "change", "word"),
    [
        ("default-0", {"HOST": "warehouse"}, "DATABASE_SETS['default']"),
        ("default-0", {"PORT": 1}, "DATABASE_SETS['default']"),
        ("default", {"HOST": "localhost"}, "MASTER_DATABASES"),
    ],
)
def test_an_entry_of_databases_that_leads_elsewhere(alias: str, change: dict[str, Any], word: str) -> None:
    changes = replicated({"HOST": "b"})
    changes["DATABASES"][alias].update(change)
    expect("W019", f"DATABASES['{alias}']", word, **changes)


def test_what_tests_and_wrappers_change_in_databases_is_theirs() -> None:
    changes = replicated({"HOST": "b"})
    for database in changes["DATABASES"].values():
        database |= {"NAME": "test_site", "ENGINE": "django.db.backends.sqlite3", "PORT": "5432"}
    assert found(**changes) == {}


# ---- any value at all --------------------------------------------------------------------------


class FailingStore(CacheStore):
    """A store of a site that cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no server")


def failing_router() -> None:
    raise RuntimeError("no server")


plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.sampled_from([object(), object, CacheStore, FailingStore, len, ...]),
    st.sampled_from(
        [
            *("default", "default-0", "HOST", "ALIAS", "Cookie", ".x", "..x", "x.", "a..b", "a.\0"),
            f"{__name__}.failing_router",
        ]
    ),
)
junk = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(
            st.one_of(st.text(max_size=4), st.integers(), st.sampled_from(["default", "HOST"])), inner
        ),
        st.fixed_dictionaries({"default": inner}),
        st.lists(inner, max_size=2).map(iter),
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("name", [*DEFAULTS, *COOKIE_DEFAULTS])
@example_settings(max_examples=12)
@given(value=junk)
@example(value={"default": FailingStore})
@example(value={"default": [{"ALIAS": []}]})
@example(value={"default": [{"HOST": [], 7: 7}]})
@example(value=[FailingStore])
@example(value=FailingStore)
@example(value=["..x"])
@example(value="..x")
def test_no_value_of_a_setting_ends_the_checks(name: str, value: Any) -> None:
    stores = {"PINDB_PIN_STORE": "pindb.stores.CacheStore"} if "CACHE" in name else {}
    found(**{**stores, name: value})


entries = st.dictionaries(
    st.one_of(st.sampled_from(["HOST", "PORT", "OPTIONS", "TEST", "ALIAS", "WEIGHT", "HSOT"]), plain),
    junk,
    max_size=4,
)


@example_settings(max_examples=60)
@given(master=entries, replicas=st.lists(entries, min_size=1, max_size=3), enabled=st.booleans())
def test_no_entry_of_a_set_ends_the_checks(master: Any, replicas: Any, enabled: bool) -> None:
    sets = {"MASTER_DATABASES": {"default": master}, "DATABASE_SETS": {"default": replicas}}
    found(**sets, PINDB_ENABLED=enabled)


OF_A_CACHE = [
    *("LOCATION", "TIMEOUT", "KEY_PREFIX", "VERSION", "KEY_FUNCTION", "REVERSE_KEY_FUNCTION", "OPTIONS"),
    *("timeout", "max_entries", "cull_frequency", "NONSENSE"),
]
URLS = ["redis://me:geheim@a", "redis://b?socket_timeout=2"]


def checked_as_it_is(**changes: Any) -> list[Any]:
    """All messages with settings that Django's own handlers of changed settings would not take."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setattr(settings, name, value)
        messages = run_checks(tags=["pindb"])
    assert "geheim" not in str(messages)
    return messages


@pytest.mark.parametrize("name", OF_A_CACHE)
@pytest.mark.parametrize("backend", ["pindb.cache.ShardedRedisCache", "django_redis.cache.RedisCache"])
@example_settings(max_examples=12)
@given(value=junk)
@example(value="me@a")
@example(value=[["redis://a"]])
@example(value={"ROUTER_OPTIONS": {"weights": "a"}})
@example(value=float("inf"))
def test_no_value_of_a_setting_of_a_cache_ends_the_checks(backend: str, name: str, value: Any) -> None:
    options = {"CLIENT_CLASS": "pindb.cache.ShardedClient"} if backend.startswith("django_redis") else {}
    cache = {"BACKEND": backend, "LOCATION": URLS, "OPTIONS": options, name: value}
    checked_as_it_is(CACHES={"default": {"BACKEND": DUMMY}, "shards": cache})


@pytest.mark.parametrize("name", [*sorted(CACHE_OPTIONS), "NONSENSE"])
@example_settings(max_examples=20)
@given(value=junk)
@example(value={"weights": "a"})
@example(value={"nonsense": 1})
@example(value={"socket_timeout": "a", "max_connections": -1})
@example(value={"connection_class": object})
@example(value={"retry": "a", "protocol": 7})
@example(value="..x")
@example(value="a.\0")
@example(value=FailingStore)
@example(value=f"{__name__}.FailingStore")
@example(value=f"{__name__}.failing_router")
def test_no_value_of_an_option_of_a_cache_ends_the_checks(name: str, value: Any) -> None:
    cache = {"BACKEND": "pindb.cache.ShardedRedisCache", "LOCATION": URLS, "OPTIONS": {name: value}}
    checked_as_it_is(CACHES={"default": {"BACKEND": DUMMY}, "shards": cache})


@example_settings(max_examples=60)
@given(value=junk)
@example(value={"default": {"BACKEND": "pindb.cache.ShardedRedisCache", "OPTIONS": "x"}})
@example(value={"default": {"BACKEND": "pindb.cache.Nothing"}})
@example(value={"default": {"OPTIONS": {"CLIENT_CLASS": "pindb.cache.ShardedClient"}}})
@example(value={"default": None})
def test_no_value_of_the_caches_ends_the_checks(value: Any) -> None:
    checked_as_it_is(CACHES=value)


# ---- sites that are in order -------------------------------------------------------------------


def settings_in(page: str, **names: Any) -> dict[str, Any]:
    """The settings that the Python blocks of a page assign, one after the other; `names` are there before."""
    for block in re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S):
        if "def " not in block and "pindb.redis" not in block:
            exec(block, names)
    return {name: value for name, value in names.items() if name.isupper() and name != "INSTALLED_APPS"}


def test_the_settings_of_the_readme_are_in_order() -> None:
    given = settings_in("README.md", INSTALLED_APPS=[], MIDDLEWARE=[])
    assert given.keys() == {
        *("DATABASES", "DATABASE_ROUTERS", "DATABASE_SETS", "MASTER_DATABASES"),
        *("MIDDLEWARE", "PINDB_CONSISTENCY", "PINDB_UNPINNED_MODELS"),
    }
    assert found(**given) == {}


def test_the_settings_of_the_installation_are_in_order() -> None:
    given = settings_in("docs/how-to/installation.md")
    assert given["MASTER_DATABASES"]
    assert given.keys() >= {
        *("DATABASES", "MIDDLEWARE"),
        *("PINDB_CONSISTENCY", "PINDB_ENABLED", "PINDB_UNPINNED_MODELS", "PINDB_CELERY"),
    }
    for enabled in (False, True):
        assert found(**{**given, "PINDB_ENABLED": enabled}) == {}


def test_the_settings_of_the_demo_are_in_order() -> None:
    databases = '{"masters": {"default": {"ENGINE": "django.db.backends.postgresql", "HOST": "a"}}, '
    databases += '"sets": {"default": [{"HOST": "b"}, {"HOST": "c"}]}}'
    done = run_python(
        *("-m", "django", "check", "--tag", "pindb"),
        DJANGO_SETTINGS_MODULE="testproject.settings",
        PINDB_DEMO_DATABASES=databases,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues" in done.stdout


def test_delegates_that_cannot_be_imported() -> None:
    expect("E006", "no.such.Router", PINDB_DELEGATE_ROUTERS=["no.such.Router"])


def test_unpinned_models_that_do_not_exist() -> None:
    expect("E007", PINDB_UNPINNED_MODELS=["testapp.Nothing"])


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
    expect("E014", *changes, **changes)


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
        ({"bad": {"hosts": [{}], "pool_options": {"nonsense": 1}}}, ["'bad'", "nonsense"]),
        ({"bad": {"hosts": ["redis://a?nonsense=1"]}}, ["'bad'", "nonsense"]),
        (
            {"bad": {"hosts": [{}], "router": "consistent", "router_options": {"weights": "a"}}},
            ["'bad'", "weights", "str"],
        ),
        ([{}], ["PINDB_CLUSTERS", "list"]),
        (None, ["PINDB_CLUSTERS", "NoneType"]),
    ],
)
def test_clusters_that_cannot_be_made(clusters: Any, words: list[str]) -> None:
    expect("E008", *words, PINDB_CLUSTERS=clusters)


def test_clusters_are_not_connected_to() -> None:
    assert found(PINDB_CLUSTERS={"default": {"hosts": [{"host": "192.0.2.1"}], "router": "partition"}}) == {}


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ({"LOCATION": ["redis://a"], "OPTIONS": {"ROUTR": "ring"}}, ["ROUTR", "ROUTER_OPTIONS"]),
        ({"LOCATION": ["redis://a"], "OPTIONS": {"ROUTER": "ring"}}, ["'ring'", "'consistent'"]),
        ({"LOCATION": ["redis://a"], "OPTIONS": {"ON_DOWN": "wait"}}, ["'wait'", "'rehash'"]),
        ({"LOCATION": "sessions"}, ["'sessions'", "PINDB_CLUSTERS"]),
        ({"LOCATION": ["redis://a"], "OPTIONS": {"ROUTER_OPTIONS": {"weights": "a"}}}, ["weights", "str"]),
        ({"LOCATION": ["redis://a"], "OPTIONS": {"CONNECTION_POOL_KWARGS": {"nonsense": 1}}}, ["nonsense"]),
        ({"LOCATION": ["redis://a?nonsense=1"]}, ["nonsense"]),
        ({"LOCATION": ["redis://a"], "OPTIONS": {"SERIALIZER": "no.such"}}, ["SERIALIZER", "'no.such'"]),
        ({"LOCATION": ["redis://a"], "OPTIONS": {"PICKLE_VERSION": "x"}}, ["PICKLE_VERSION"]),
        ({"LOCATION": ["redis://a"], "KEY_FUNCTION": "no.such"}, ["no"]),
        ({"LOCATION": ["redis://a"], "TIMEOUT": float("inf")}, ["OverflowError"]),
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
    expect("E009", "CACHES['shards']", *words, CACHES={"default": {"BACKEND": DUMMY}, "shards": cache})


@pytest.mark.parametrize("clusters", [{}, {"caches": {"hosts": [{}]}}, [], None])
@pytest.mark.parametrize(
    "location", ["me:geheim@a:6379", ["me:geheim@a"], "redis//:geheim@a", ["x", ":geheim@a"]]
)
def test_a_location_without_a_scheme_is_not_shown(location: Any, clusters: Any) -> None:
    cache = {"BACKEND": "pindb.cache.ShardedRedisCache", "LOCATION": location}
    messages = found(CACHES={"default": {"BACKEND": DUMMY}, "shards": cache}, PINDB_CLUSTERS=clusters)
    assert "LOCATION" in messages["pindb.E009"].msg or "PINDB_CLUSTERS" in messages["pindb.E009"].msg
    assert "geheim" not in str(messages)


def test_caches_are_not_connected_to() -> None:
    cache = {
        "BACKEND": "pindb.cache.ShardedRedisCache",
        "LOCATION": ["redis://192.0.2.1", "redis://192.0.2.2"],
    }
    assert found(CACHES={"default": cache}) == {}


def test_a_site_that_does_not_use_pindb_yet_has_nothing_to_mend() -> None:
    assert found(MASTER_DATABASES=None, DATABASE_SETS=None, DATABASE_ROUTERS=[], MIDDLEWARE=[SESSIONS]) == {}


def test_disabled_a_site_may_have_other_databases() -> None:
    assert found(PINDB_ENABLED=False, DATABASES={"default": {}}) == {}


def test_disabled_a_site_needs_no_sets_and_no_middleware() -> None:
    assert found(PINDB_ENABLED=False, MASTER_DATABASES=None, MIDDLEWARE=[]) == {}
