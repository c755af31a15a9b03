"""Packages: what is in them, and that a site runs with the wheel, and the tests from the sdist."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import django
import pytest

from pindb.testing.postgres import PostgresReplicaSet
from tests.processes import ROOT, run_command

needs_tools = pytest.mark.skipif(
    any(importlib.util.find_spec(tool) is None for tool in ("build", "twine")),
    reason="no build or no twine, which are tools of developers: python3 bootstrap.py dev",
)

pytestmark = needs_tools

#: What a checkout has beside the project.
BESIDE = shutil.ignore_patterns(".git", ".venv*", ".tox", ".*_cache", "*.egg-info", "__pycache__", "_build")


def run(*command: object, cwd: Path, **env: str) -> str:
    """What a program prints; it has to succeed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PINDB_", "DJANGO_"))}
    done = run_command(*command, cwd=cwd, env={**kept, **env})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist and a wheel that was made from the sdist."""
    folder = tmp_path_factory.mktemp("packages")
    shutil.copytree(ROOT, folder / "checkout", ignore=BESIDE)
    run(
        *(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist"),
        cwd=folder / "checkout",
    )
    return folder / "dist"


@pytest.fixture(scope="module")
def sdist(packages: Path) -> Path:
    """The unpacked sdist."""
    (file,) = packages.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        archive.extractall(packages, filter="data")
    return packages / file.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(packages: Path) -> Path:
    (file,) = packages.glob("*.whl")
    return file


def files(folder: Path) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in paths if "__pycache__" not in path.parts}


def test_package_indexes_take_the_packages(packages: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *packages.iterdir(), cwd=packages)


def test_the_sdist_has_every_file_of_the_checkout(sdist: Path) -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("git says which files belong to the checkout")
    tracked = set(run("git", "ls-files", cwd=ROOT).splitlines())
    assert {name for name in tracked if (ROOT / name).exists()} - files(sdist) == set()


def test_the_wheel_has_the_package_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = re.escape("-".join(wheel.name.split("-")[:2])) + r"\.dist-info/"
    assert {name for name in names if not re.match(info, name)} == {
        f"pindb/{name}" for name in files(ROOT / "pindb")
    }


def test_tests_run_from_the_sdist(sdist: Path) -> None:
    code = "import pindb, sys; sys.exit(not pindb.__file__.startswith(sys.argv[1]))"
    run(sys.executable, "-c", code, sdist, cwd=sdist)
    # Some that look for the project's files. The servers that conftest.py starts would take longer than all.
    tests = ["tests/test_docs.py", "tests/test_imports.py", "-k", "links or contents or circle or downwards"]
    pytest_there = [sys.executable, "-m", "pytest", "--noconftest", "-q"]
    assert " passed" in run(*pytest_there, *tests, cwd=sdist, DJANGO_SETTINGS_MODULE="tests.settings")


# ---- a site on the wheel -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, Django and a driver."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
    needs = [f"Django=={django.__version__}", "psycopg[binary]>=3.2"]
    done = run_command(*install, *needs)
    if done.returncode:
        pytest.skip(f"pip has no index to install Django from: {done.stderr.strip()[-300:]}")
    # Nothing more: Django is all that the wheel needs.
    run(*install, "--no-index", wheel, cwd=folder)
    return python


def settings_of_the_readme() -> Iterator[ast.stmt]:
    """The statements of the README's blocks of settings that need nothing but pindb."""
    for match in re.finditer(r"^( *)```python\n(.*?)^\1```$", (ROOT / "README.md").read_text(), re.M | re.S):
        block = ast.parse(re.sub(rf"^{match[1]}", "", match[2], flags=re.M)).body
        is_settings = all(isinstance(statement, (ast.Import, ast.Assign, ast.Expr)) for statement in block)
        if is_settings and not re.search("PINDB_ENABLED|PINDB_CELERY|redis", match[2]):
            yield from block


# Written between the settings: real servers in the place of the README's.
ADDRESSES = """
import json, os
MASTER, REPLICAS = json.loads(os.environ["SERVERS"])
MASTER_DATABASES["default"].update({**MASTER, "ENGINE": MASTER_DATABASES["default"]["ENGINE"]})
assert len(DATABASE_SETS["default"]) == len(REPLICAS)
for replica, address in zip(DATABASE_SETS["default"], REPLICAS):
    replica.update({name: address[name] for name in replica.keys() | {"PORT"}})
"""

SITE = """
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.test import Client
import pindb

call_command("check", fail_level="WARNING")
seen = {"pindb": pindb.__file__, "read": User.objects.all().db}
with connections[seen["read"]].cursor() as cursor:
    cursor.execute("SELECT pg_is_in_recovery()")
    seen["is a replica"] = cursor.fetchone()[0]
with pindb.pinning_context():
    User.objects.create_user("ada", password="lovelace")
    seen["read after a write"] = User.objects.all().db
client = Client(HTTP_HOST="localhost")
seen["status"] = client.post("/admin/login/?next=/", {"username": "ada", "password": "lovelace"}).status_code
seen["pinned"] = "pindb_pinned_set" in client.cookies
print(json.dumps(seen))
"""


def test_the_settings_of_the_readme_run_on_the_wheel(
    python: Path, servers: PostgresReplicaSet, tmp_path: Path
) -> None:
    run(python, "-m", "django", "startproject", "mysite", tmp_path, cwd=tmp_path)
    with (tmp_path / "mysite" / "settings.py").open("a") as settings:
        settings.write("\nBEFORE = INSTALLED_APPS, MIDDLEWARE\n")
        for statement in settings_of_the_readme():
            settings.write(f"{ast.unparse(statement)}\n")
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "DATABASE_SETS":
                settings.write(ADDRESSES)
        # What the README's comments leave out: "... your apps ...".
        settings.write("for now, before in zip((INSTALLED_APPS, MIDDLEWARE), BEFORE):\n")
        settings.write("    now += [name for name in before if name not in now]\n")
        settings.write("ALLOWED_HOSTS = ['localhost']\n")
    output = run(
        *(python, "-c", SITE),
        cwd=tmp_path,
        SERVERS=json.dumps([servers.master_database, servers.replica_databases]),
    )
    seen = json.loads(output.splitlines()[-1])
    assert Path(seen.pop("pindb")).is_relative_to(python.parent.parent)
    assert seen.pop("read") in ("default-0", "default-1")
    assert seen == {"is a replica": True, "read after a write": "default", "status": 200, "pinned": False}
