"""Misconfigurations come out of every command as system checks, never as a traceback.

Django asks the router from its own checks, with ``--database`` or, since 6.1, always.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import Error, register
from django.core.checks.registry import registry
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections, router
from django.test import override_settings

import pindb
from tests.conftest import SERVERS
from tests.processes import ROOT, run_python
from tests.testapp.models import Author

SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
PINDB = "pindb.middleware.PinDbMiddleware"
CACHE_STORE = "pindb.stores.CacheStore"
SHARDED = {"BACKEND": "pindb.cache.ShardedRedisCache"}


def without(alias: str) -> dict[str, Any]:
    return {name: database for name, database in settings.DATABASES.items() if name != alias}


def unmirrored(alias: str) -> dict[str, Any]:
    return {**settings.DATABASES, alias: {**settings.DATABASES[alias], "TEST": {}}}


# What is wrong, as a function because some are made of the settings, which conftest.py makes.
ERRORS: dict[str, Callable[[], dict[str, Any]]] = {
    "pindb.E001": lambda: {"DATABASE_SETS": None},
    "pindb.E001 of masters": lambda: {"MASTER_DATABASES": None},
    "pindb.E002": lambda: {"DATABASE_SETS": {"default": []}},
    "pindb.E002 of shapes": lambda: {"MASTER_DATABASES": []},
    "pindb.E003": lambda: {"DATABASES": without("default-1")},
    "pindb.E003 of a master": lambda: {"DATABASES": without("api")},
    "pindb.E004": lambda: {"PINDB_PINNING_SECONDS": 0},
    "pindb.E005": lambda: {"PINDB_PINNING_COOKIE": ""},
    "pindb.E006": lambda: {"PINDB_DELEGATE_ROUTERS": ["no.such.Router"]},
    "pindb.E006 of itself": lambda: {"PINDB_DELEGATE_ROUTERS": ["pindb.GreedyPinDbRouter"]},
    "pindb.E007": lambda: {"PINDB_UNPINNED_MODELS": ["testapp.Nothing"]},
    "pindb.E008": lambda: {"PINDB_CLUSTERS": {"bad": {}}},
    "pindb.E009": lambda: {"CACHES": {"default": SHARDED}},
    "pindb.E010": lambda: {"PINDB_CONSISTENCY": "exact"},
    "pindb.E011": lambda: {"PINDB_REPLICA_DOWNTIME": None},
    "pindb.E012": lambda: {"PINDB_POSITIONS": {"postgresql": "no.such.Class"}},
    "pindb.E013": lambda: {"PINDB_PIN_STORE": "no.such.Store"},
    "pindb.E020": lambda: {"PINDB_PINNED_COMMANDS": "migrate"},
}
WARNINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "pindb.W001": lambda: {"MIDDLEWARE": []},
    "pindb.W002": lambda: {"DATABASE_ROUTERS": []},
    "pindb.W003": lambda: {"DATABASES": unmirrored("default-1")},
    "pindb.W004": lambda: {"DATABASE_SETS": {"default": [{}, {}], "api": []}},
    "pindb.W005": lambda: {"MIDDLEWARE": [SESSIONS, PINDB]},
    "pindb.W006": lambda: {"PINDB_PIN_STORE": CACHE_STORE},
    "pindb.W007": lambda: {
        "PINDB_CONSISTENCY": "position",
        "MASTER_DATABASES": {**settings.MASTER_DATABASES, "unmanaged": {}},
        "DATABASE_SETS": {**settings.DATABASE_SETS, "unmanaged": [{}]},
        "DATABASES": {**settings.DATABASES, "unmanaged-0": {"TEST": {"MIRROR": "unmanaged"}}},
    },
}


@contextmanager
def wrong(changes: dict[str, Any]) -> Iterator[None]:
    """A block with wrong settings; connections are opened anew in it."""
    databases = changes.get("DATABASES")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Django's, of DATABASES
        with override_settings(**changes), pytest.MonkeyPatch.context() as patch:
            if databases is not None:
                # What a process with these settings has.
                patch.setattr(connections, "_settings", None)
                patch.delitem(connections.__dict__, "settings", raising=False)
            for connection in connections.all(initialized_only=True):
                if connection.alias != "unmanaged":
                    connection.close()
            yield
    connections.__dict__.pop("settings", None)


def test_every_check_of_databases_is_among_them() -> None:
    text = "\n".join(path.read_text() for path in (Path(pindb.__file__).parent / "checks").glob("*.py"))
    known = {code.split()[0] for code in (*ERRORS, *WARNINGS)}
    assert {code for code in known if code not in text} == set()


@pytest.mark.parametrize("databases", [None, ["default"], ["default", "api", "default-0"]], ids=str)
@pytest.mark.parametrize("code", [*ERRORS, *WARNINGS])
def test_check_reports(code: str, databases: list[str] | None, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {**ERRORS, **WARNINGS}[code]()
    with wrong(changes):
        present = databases and [alias for alias in databases if alias in connections]
        with pytest.raises(SystemCheckError) as caught:
            call_command("check", databases=present, fail_level="WARNING")
    assert f"({code.split()[0]})" in str(caught.value)


@pytest.fixture(scope="module")
def empty() -> Iterator[None]:
    """The alias "default" leads to an empty database, for the tests of this module that follow."""
    SERVERS.execute("master", "CREATE DATABASE untouched")
    connection = connections["default"]
    name = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = "untouched"
    yield
    connection.close()
    connection.settings_dict["NAME"] = name
    SERVERS.execute("master", "DROP DATABASE untouched WITH (FORCE)")


def tables() -> set[str]:
    sql = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    return {name for (name,) in SERVERS.execute("master", sql, database="untouched")}


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("code", ERRORS)
def test_migrate_stops_at_its_checks(code: str) -> None:
    before = tables()
    with wrong(ERRORS[code]()), pytest.raises(SystemCheckError) as caught:
        call_command("migrate", skip_checks=False, verbosity=0)
    assert code.split()[0] in str(caught.value)
    assert tables() == before


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("code", ["pindb.E001", "pindb.E002", "pindb.E006", "pindb.E007"])
def test_without_checks_nothing_is_migrated_to_who_knows_where(code: str) -> None:
    with wrong(ERRORS[code]()):
        with pytest.raises(pindb.PinDbConfigError):
            call_command("migrate", skip_checks=True, verbosity=0)
        with pytest.raises(pindb.PinDbConfigError):
            router.allow_migrate_model("default", Author)
    # The table in which Django notes what it has migrated.
    assert tables() <= {"django_migrations"}


def test_a_check_that_asks_after_the_checks_have_ended_gets_the_error() -> None:
    answers: list[Any] = []

    @register("speaks")
    def ask(**kwargs: Any) -> list[Error]:
        answers.append(router.allow_migrate_model("default", Author))
        return []

    try:
        with override_settings(DATABASE_SETS=None):
            call_command("check", tags=["speaks"])
            with pytest.raises(pindb.PinDbConfigError):
                router.allow_migrate_model("default", Author)
    finally:
        registry.registered_checks.remove(ask)  # type: ignore[arg-type]
    assert answers == [False]


SITE = """
DEBUG = True
SECRET_KEY = "for tests"
INSTALLED_APPS = ["pindb", "django.contrib.auth", "django.contrib.contenttypes"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}}
DATABASE_ROUTERS = ["pindb.GreedyPinDbRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""


@pytest.mark.parametrize("line", ["check", "migrate", "runserver --noreload 0"])
def test_every_command_of_a_site_whose_sets_are_missing_says_so(line: str, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(SITE)
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    done = run_python(
        *("-m", "django", *line.split()), cwd=tmp_path, PYTHONPATH=path, DJANGO_SETTINGS_MODULE="settings"
    )
    assert done.returncode == 1
    assert "pindb.E001" in done.stderr
    assert "pindb.W001" in done.stderr
    assert "Traceback" not in done.stderr
