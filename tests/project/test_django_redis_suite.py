"""``python -m scripts.django_redis_suite``: tests of django-redis, run on its own client and on pindb's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.processes import ROOT, run_python

CONFTEST = """
import pytest

@pytest.fixture
def cache(cache_settings):
    import django
    django.setup()
    from django.core.cache import cache
    yield cache
    cache.clear()

def pytest_generate_tests(metafunc):
    if "cache" in metafunc.fixturenames:
        metafunc.parametrize("cache_settings", ["sqlite", "sqlite_usock"])
"""

SETTINGS = """
SECRET_KEY = "x"
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": ["URL?db=3", "URL?db=3"],
        "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
    },
    "doesnotexist": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:56379?db=1",
        "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
    },
}
"""

TESTS = """
import pytest
from django.core.cache import caches
from redis.exceptions import ConnectionError

@pytest.mark.parametrize("key", ["a", "b"])
def test_values(cache, key):
    assert cache.get(key) is None
    assert cache.set(key, 1)
    assert cache.incr(key) == 2

def test_nobody_is_there():
    with pytest.raises(ConnectionError):
        caches["doesnotexist"].get("a")

def test_number_of_servers(cache):
    assert len(cache.client._server) == 2

def test_what_both_fail(cache):
    assert cache.blast()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with tests like django-redis's."""
    tests = tmp_path / "source" / "tests"
    (tests / "settings").mkdir(parents=True)
    for package in (tests, tests / "settings"):
        (package / "__init__.py").touch()
    (tests / "conftest.py").write_text(CONFTEST)
    for name, url in (("sqlite", "redis://127.0.0.1:6379"), ("sqlite_usock", "unix:///tmp/redis.sock")):
        (tests / "settings" / f"{name}.py").write_text(SETTINGS.replace("URL", url))
    return tmp_path / "source"


def test_each_test_is_compared(source: Path) -> None:
    (source / "tests" / "test_backend.py").write_text(TESTS)
    results = source / "results.json"
    arguments = ["--source", source, "--needed", source, "--json", results]
    arguments += ["--modes", "ring", "--settings", "sqlite", "sqlite_usock"]
    done = run_python("-m", "scripts.django_redis_suite", *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    alike = {
        "test_backend.py::test_values[a]": "passed",
        "test_backend.py::test_values[b]": "passed",
        "test_backend.py::test_nobody_is_there": "passed",
        "test_backend.py::test_what_both_fail": "failed",
    }
    number = "test_backend.py::test_number_of_servers"
    runs = json.loads(results.read_text())["runs"]
    assert {f"{run['settings']} {run['mode']}": run["outcomes"] for run in runs} == {
        "sqlite own": {**alike, number: "passed"},
        "sqlite ring": {**alike, number: "failed"},
        "sqlite_usock own": {**alike, number: "passed"},
        "sqlite_usock ring": {**alike, number: "failed"},
    }
    assert "Unexpected differences: 2" in done.stdout
    assert f"sqlite, ring: {number}: passed -> failed" in done.stdout


def test_what_is_expected_has_a_reason() -> None:
    entries = json.loads((ROOT / "scripts" / "django_redis_suite" / "expected.json").read_text())
    assert all(entry["reason"] and entry["tests"] for entry in entries)
