"""The guide to poolers, with a real PgBouncer between Django and the servers."""

from __future__ import annotations

import configparser
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from django.db import OperationalError, connections, transaction
from django.test import Client, override_settings

import pindb
from pindb.testing.postgres import PostgresReplicaSet
from pindb.testing.processes import ServerFolder, free_port, wait_for
from tests.conftest import Lines, close_all, close_everywhere, databases_restored, pause_all, start_all
from tests.processes import ROOT
from tests.test_docs import blocks
from tests.testapp.models import Author

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
ALIASES = ("default", "default-0", "default-1")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason='needs "pgbouncer", of your system\'s package')


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def pooled(servers: PostgresReplicaSet, request: pytest.FixtureRequest) -> Iterator[PostgresReplicaSet]:
    """The servers behind a PgBouncer, with the guide's settings and the pool mode that a test names."""
    assert PROGRAM is not None
    page = ROOT / "docs" / "how-to" / "poolers.md"
    (text,) = [code for _line, language, code in blocks(page) if language == "ini"]
    config = configparser.ConfigParser(interpolation=None)
    config.read_string(text)
    master, port = servers.master_database, free_port()
    with closing(ServerFolder("pindb-pgbouncer-")) as folder:
        members = dict(zip(config["databases"], servers.members, strict=True))
        for name, member in members.items():
            config["databases"][name] = f"host=127.0.0.1 port={servers.port(member)} dbname={master['NAME']}"
        users = folder.path / "users.txt"
        users.write_text(f'"{master["USER"]}" "{master["PASSWORD"]}"\n')
        config["pgbouncer"].update(
            auth_type="plain",
            auth_file=str(users),
            listen_port=str(port),
            unix_socket_dir="",
            pool_mode=getattr(request, "param", config["pgbouncer"]["pool_mode"]),
        )
        settings = folder.path / "pgbouncer.ini"
        with settings.open("w") as file:
            config.write(file)
        folder.start("pgbouncer", [PROGRAM, settings])
        wait_for(lambda: accepts(port), "PgBouncer to listen", 20)
        close_everywhere()
        with databases_restored(ALIASES):
            for alias, name in zip(ALIASES, members, strict=True):
                connections[alias].settings_dict.update(
                    PORT=port, NAME=name, DISABLE_SERVER_SIDE_CURSORS=True, OPTIONS={"connect_timeout": 2}
                )
            with override_settings(PINDB_CONSISTENCY="position", PINDB_POSITION_CHECK_MS=0):
                yield servers
            close_everywhere()
    start_all(servers)


@pytest.mark.parametrize("pooled", ["transaction", "session"], indirect=True)
def test_positions_work_through_pgbouncer(pooled: PostgresReplicaSet) -> None:
    pause_all(pooled)
    writer = Client()
    assert writer.get("/write/").json()["used"] == ["default"]
    assert writer.get("/read/").json()["names"] == ["written"]
    assert Client().get("/read/").json()["names"] == []
    pooled.resume(0)
    pooled.wait_until_caught_up(0)
    assert writer.get("/read/").json() == {
        "names": ["written"],
        "used": ["default-0"],
        "pinned": ["default"],
        "new": [],
    }


@pytest.mark.parametrize("pooled", ["statement"], indirect=True)
def test_django_does_not_work_in_statement_mode(pooled: PostgresReplicaSet) -> None:
    refused = pytest.raises(
        OperationalError, match="transaction blocks not allowed in statement pooling mode"
    )
    with refused, transaction.atomic():
        Author.objects.create(name="written")
    connections["default"].close()


@pytest.mark.usefixtures("short_recovery")
def test_a_dead_replica_costs_one_read_the_timeout_of_pgbouncer(
    pooled: PostgresReplicaSet, lines: Lines
) -> None:
    Author.objects.using("default").create(name="written")
    pooled.wait_until_caught_up()
    pooled.kill(0)
    started = time.monotonic()
    for _ in range(4):
        with pindb.pinning_context():
            assert [author.name for author in Author.objects.all()] == ["written"]
    close_all()
    # query_wait_timeout is 3, and PgBouncer looks at it about three times a second.
    assert time.monotonic() - started < 10
    assert len(lines()) == 1
