"""``python -m scripts.client_suites``: tests that were written for rb or Nydus, run on pindb."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.processes import run_python

CONFTEST = """
import pytest
from rb.testing import make_test_cluster

@pytest.fixture
def cluster():
    with make_test_cluster(servers=2, databases_each=1) as cluster:
        yield cluster
"""

RB_TESTS = """
from rb.promise import Promise
from rb.router import UnroutableCommand

def test_values_are_text(cluster):
    with cluster.map() as client:
        client.set("a", 1)
        both = Promise.all([client.get("a"), client.get("b")])
    assert both.value == ["1", None]

def test_what_nothing_has(cluster):
    cluster.blast()
"""

NYDUS_TESTS = """
import mock
from nydus.db import create_cluster
from nydus.testutils import BaseTest, fixture

class MapTest(BaseTest):
    @fixture
    def cluster(self):
        return create_cluster({
            'backend': 'nydus.db.backends.redis.Redis',
            'router': 'nydus.db.routers.keyvalue.PartitionRouter',
            'hosts': {0: {'db': 0}, 1: {'db': 1}},
        })

    def test_counts(self):
        with self.cluster.map() as conn:
            results = [conn.incr(key) for key in ('a', 'b')]
        self.assertEquals([int(result) for result in results], map(int, '11'))
"""

NYDUS_OTHERS = """
import riak
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "scripts.client_suites", *arguments)


def test_tests_of_rb_run_on_pindb(tmp_path: Path) -> None:
    tests, results = tmp_path / "tests", tmp_path / "results.json"
    tests.mkdir()
    (tests / "conftest.py").write_text(CONFTEST)
    (tests / "test_map.py").write_text(RB_TESTS)
    # What the project has beside its tests is not imported.
    (tmp_path / "rb.py").write_text("raise ImportError('not here')")
    done = run("rb", "--source", tmp_path, "--json", results)
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes = json.loads(results.read_text())["outcomes"]
    assert outcomes == {
        "test_map.py::test_values_are_text": "passed",
        "test_map.py::test_what_nothing_has": "failed",
    }
    assert "Not expected: 1" in done.stdout
    assert "'Cluster' object has no attribute 'blast'" in done.stdout


def test_tests_of_nydus_run_on_pindb(tmp_path: Path) -> None:
    package, results = tmp_path / "tests" / "nydus", tmp_path / "results.json"
    riak = package / "db" / "backends" / "riak"
    for folder in (tmp_path / "tests", package, package / "db", package / "db" / "backends", riak):
        folder.mkdir()
        (folder / "__init__.py").touch()
    (package / "tests.py").write_text(NYDUS_TESTS)
    (riak / "tests.py").write_text(NYDUS_OTHERS)
    done = run("nydus", "--source", tmp_path, "--json", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(results.read_text())["outcomes"] == {
        "nydus/tests.py::MapTest::test_counts": "passed",
        # What expected.json has a reason for.
        "nydus/db/backends/riak/tests.py": "error",
    }


@pytest.mark.parametrize("source", ["empty", "nowhere"])
def test_a_suite_that_is_not_there_is_said(tmp_path: Path, source: str) -> None:
    (tmp_path / "empty").mkdir()
    done = run("rb", "--source", tmp_path / source)
    assert done.returncode == 2
    assert "could not be cloned; name another place with --source" in done.stderr
