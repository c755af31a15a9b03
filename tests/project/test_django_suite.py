"""``python -m scripts.django_suite``: a project's tests with pindb, compared with a run without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.processes import run_python

SETTINGS = """
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sites", "project"]
MIDDLEWARE = []
SECRET_KEY = "a key for tests"
USE_TZ = True
"""

TESTS = """
from django.contrib.sites.models import Site
from django.db import connections
from django.test import TestCase

class SiteTests(TestCase):
    def test_reads_what_was_prepared(self):
        self.assertEqual(Site.objects.count(), 1)

    def test_reads_what_it_wrote(self):
        Site.objects.create(domain="d", name="n")
        self.assertEqual(Site.objects.get(domain="d").name, "n")

    def test_knows_which_alias_it_reads(self):
        self.assertEqual(Site.objects.get()._state.db, "default")

    def test_writes_to_a_replica(self):
        with connections[str(Site.objects.get()._state.db)].cursor() as cursor:
            cursor.execute("DELETE FROM django_site")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Another project: one of its tests knows where it reads, one writes there."""
    package = tmp_path / "project"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "settings.py").write_text(SETTINGS)
    (package / "tests.py").write_text(TESTS)
    return tmp_path


def test_tests_that_end_otherwise_than_without_pindb_are_told(project: Path) -> None:
    file = project / "results.json"
    arguments = ["--settings", "project.settings", "--folder", project, "--labels", "project"]
    done = run_python("-m", "scripts.django_suite", *arguments, "--json", file, "--modes", "mirrors")
    assert done.returncode == 1, done.stdout + done.stderr
    results = json.loads(file.read_text())
    assert set(results["runs"]["plain"]["outcomes"].values()) == {"passed"}
    differing = {one["test"].rpartition(".")[2]: one["after"] for one in results["differences"]}
    assert differing == {"test_knows_which_alias_it_reads": "failed", "test_writes_to_a_replica": "error"}, (
        done.stdout
    )
    assert "cannot execute DELETE in a read-only transaction" in done.stdout
