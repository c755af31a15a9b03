"""populate_replicas: the entries of DATABASES, and settings that are refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from pindb import PinDbConfigError, PinDbException, populate_replicas
from pindb.sets.definitions import get_sets

MASTER = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "site",
    "HOST": "10.0.1.0",
    "ATOMIC_REQUESTS": True,
    "OPTIONS": {"sslmode": "require", "pool": {"min_size": 2, "max_size": 4}},
    "TEST": {"NAME": "test_site"},
}


def test_a_master_keeps_its_alias_and_its_settings() -> None:
    databases = populate_replicas({"default": MASTER}, {"default": []})
    assert databases == {"default": MASTER}


def test_replicas_are_numbered_from_zero_and_have_the_settings_of_their_master() -> None:
    databases = populate_replicas(
        {"default": MASTER, "api": {"NAME": "api"}},
        {"default": [{"HOST": "10.0.1.1"}, {"HOST": "10.0.1.2", "PORT": 5433}], "api": [{}]},
    )
    assert list(databases) == ["default", "default-0", "default-1", "api", "api-0"]
    # What the site iterates over are names of its own, which are not routed again.
    assert {type(alias) for alias in databases} == {str}
    assert databases["default-0"]["HOST"] == "10.0.1.1"
    assert databases["default-0"]["NAME"] == "site"
    assert databases["default-1"]["PORT"] == 5433


def test_a_replica_may_have_an_alias_that_does_not_depend_on_its_place_in_the_list() -> None:
    replicas: list[dict[str, Any]] = [
        {"HOST": "a", "ALIAS": "eu1"},
        {"HOST": "b"},
        {"HOST": "c", "ALIAS": "eu3", "WEIGHT": 2},
    ]
    databases = populate_replicas({"default": MASTER}, {"default": replicas})
    assert list(databases) == ["default", "eu1", "default-1", "eu3"]
    assert [databases[alias]["HOST"] for alias in ("eu1", "default-1", "eu3")] == ["a", "b", "c"]
    assert all("ALIAS" not in database for database in databases.values())
    assert databases["eu1"]["TEST"]["MIRROR"] == "default"
    without = populate_replicas({"default": MASTER}, {"default": replicas[1:]})
    assert {alias: database["HOST"] for alias, database in without.items() if alias != "default"} == {
        "default-0": "b",
        "eu3": "c",
    }


def test_an_alias_may_be_a_number_of_the_list_that_nobody_else_gets() -> None:
    sets = {"default": [{"ALIAS": "default-1"}, {"ALIAS": "default-0"}, {"ALIAS": "default-2"}]}
    assert list(populate_replicas({"default": {}}, sets)) == [
        "default",
        "default-1",
        "default-0",
        "default-2",
    ]


def test_a_replica_is_read_by_the_alias_that_it_was_given() -> None:
    replicas = [{"HOST": "a", "ALIAS": "eu1", "WEIGHT": 3}]
    with override_settings(MASTER_DATABASES={"default": MASTER}, DATABASE_SETS={"default": replicas}):
        sets = get_sets()
        assert sets.replicas == {"default": ("eu1",)}
        assert sets.masters == {"default": "default", "eu1": "default"}
        assert sets.weights == {"default": {"eu1": 3}}


def test_options_and_test_are_merged_key_by_key() -> None:
    overrides = {"OPTIONS": {"pool": {"max_size": 8}, "application_name": "r"}, "TEST": {"CHARSET": "UTF8"}}
    replica = populate_replicas({"default": MASTER}, {"default": [overrides]})["default-0"]
    assert replica["OPTIONS"] == {
        "sslmode": "require",
        "pool": {"min_size": 2, "max_size": 8, "timeout": 5},
        "application_name": "r",
    }
    assert replica["TEST"] == {"NAME": "test_site", "CHARSET": "UTF8", "MIRROR": "default"}


def test_a_replica_is_a_mirror_in_tests_and_opens_no_transaction_for_a_request() -> None:
    databases = populate_replicas({"default": MASTER, "api": {}}, {"default": [{}], "api": [{}]})
    assert databases["default"]["ATOMIC_REQUESTS"] is True
    assert databases["default-0"]["ATOMIC_REQUESTS"] is False
    assert databases["api-0"]["TEST"] == {"MIRROR": "api"}


def test_an_override_may_be_none_or_replace_a_value_that_is_no_dict() -> None:
    master = {"OPTIONS": None, "TEST": None}
    replica = populate_replicas({"default": master}, {"default": [{"OPTIONS": {"a": 1}}]})["default-0"]
    assert replica["OPTIONS"] == {"a": 1}
    assert replica["TEST"] == {"MIRROR": "default"}


settings_dicts = st.dictionaries(
    st.sampled_from(["HOST", "OPTIONS", "TEST", "PORT"]),
    st.one_of(st.none(), st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=3)),
)


@given(settings_dicts, st.lists(settings_dicts, max_size=3))
def test_arguments_are_not_changed_and_share_no_dict_with_the_result(
    master: dict[str, Any], replicas: list[dict[str, Any]]
) -> None:
    masters, sets = {"default": master}, {"default": replicas}
    before = copy.deepcopy((masters, sets))
    databases = populate_replicas(masters, sets)
    for database in databases.values():
        for value in [database, *database.values()]:
            if isinstance(value, dict):
                value["changed by somebody"] = True
    assert (masters, sets) == before


@pytest.mark.parametrize(
    ("masters", "sets", "words"),
    [
        ({"main": {}}, {"main": []}, ["MASTER_DATABASES", "'default'", "'main'", "unmanaged_default=True"]),
        ({}, {}, ["MASTER_DATABASES", "'default'"]),
        ({"default": {}}, {}, ["DATABASE_SETS['default']", "MASTER_DATABASES", "[]"]),
        ({"default": {}}, {"default": [], "api": []}, ["DATABASE_SETS", "'api'", "MASTER_DATABASES['api']"]),
        ({"default": {}}, {"default": {"HOST": "a"}}, ["DATABASE_SETS['default']", "dict", "not a list"]),
        ({"default": {}}, {"default": "host"}, ["DATABASE_SETS['default']", "str", "not a list"]),
        ({"default": {}}, {"default": None}, ["DATABASE_SETS['default']", "NoneType"]),
        ({"default": {}}, {"default": [{}, "host"]}, ["DATABASE_SETS['default'][1]", "str", "{'HOST': ...}"]),
        ({"default": "postgres://"}, {"default": []}, ["MASTER_DATABASES['default']", "str"]),
        (
            {"default": {}, "default-1": {}},
            {"default": [{}, {}], "default-1": []},
            ["'default-1'", "DATABASE_SETS['default']", "Rename"],
        ),
        ({"default": {"TEST": "x"}}, {"default": []}, ["MASTER_DATABASES['default']['TEST']", "'x'"]),
        ({"default": {}}, {"default": [{"OPTIONS": []}]}, ["DATABASE_SETS['default'][0]['OPTIONS']", "[]"]),
        ([], {"default": []}, ["MASTER_DATABASES", "[]", "dict"]),
        ({"default": {}}, None, ["DATABASE_SETS", "None", "dict"]),
        ({7: {}}, {7: []}, ["MASTER_DATABASES", "7", "'default'"]),
        *(
            (
                {"default": {}},
                {"default": [{}, {"ALIAS": alias}]},
                ["DATABASE_SETS['default'][1]['ALIAS']", word],
            )
            for alias, word in (("", "''"), (" ", "' '"), (7, "7"), (None, "None"), ("default", "a master"))
        ),
        ({"default": {"ALIAS": "a"}}, {"default": []}, ["MASTER_DATABASES['default'] has 'ALIAS'", "remove"]),
        (
            {"default": {}, "api": {}},
            {"default": [{"ALIAS": "api"}], "api": []},
            ["DATABASE_SETS['default'][0]['ALIAS']", "'api', the alias of a master", "'default-eu1'"],
        ),
        (
            {"default": {}, "api": {}},
            {"default": [{"ALIAS": "eu1"}], "api": [{}, {"ALIAS": "eu1"}]},
            ["DATABASE_SETS['default'][0] and DATABASE_SETS['api'][1]", "'eu1'", "of its own"],
        ),
        (
            {"default": {}, "api": {}},
            {"default": [{"ALIAS": "api-0"}], "api": [{}]},
            ["DATABASE_SETS['default'][0] and DATABASE_SETS['api'][0]", "'api-0'"],
        ),
        (
            {"default": {}},
            {"default": [{"ALIAS": "default-1"}, {}]},
            [
                "DATABASE_SETS['default'][0] and DATABASE_SETS['default'][1]",
                "'default-1'",
                "index in the list",
            ],
        ),
    ],
)
def test_what_contradicts_itself_is_refused_with_alias_setting_and_remedy(
    masters: Any, sets: Any, words: list[str]
) -> None:
    with pytest.raises(PinDbConfigError) as caught:
        populate_replicas(masters, sets)
    for word in words:
        assert word in str(caught.value)


def test_the_default_may_be_unmanaged() -> None:
    assert set(populate_replicas({"main": {}}, {"main": [{}]}, unmanaged_default=True)) == {"main", "main-0"}


def test_no_replica_takes_the_place_of_an_unmanaged_default() -> None:
    with pytest.raises(PinDbConfigError, match=r"'default', the alias of the database that Django"):
        populate_replicas({"main": {}}, {"main": [{"ALIAS": "default"}]}, unmanaged_default=True)


def test_a_config_error_is_what_callers_may_expect_it_to_be() -> None:
    assert issubclass(PinDbConfigError, PinDbException)
    assert issubclass(PinDbConfigError, ValueError)
    assert issubclass(PinDbConfigError, ImproperlyConfigured)


@pytest.mark.parametrize("name", ["MASTER_DATABASES", "DATABASE_SETS"])
def test_a_missing_setting_is_named_when_sets_are_needed(name: str) -> None:
    with (
        override_settings(**{name: None}),
        pytest.raises(PinDbConfigError, match=f"setting {name} is missing"),
    ):
        get_sets()
