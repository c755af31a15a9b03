"""Replica sets that these tests may break, of each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pindb.testing.mariadb import MariaDBReplicaSet
from pindb.testing.postgres import PostgresReplicaSet
from pindb.testing.replicas import ReplicaSet
from tests.mariadb import needs_mariadb

KINDS = [
    pytest.param("postgres", id="PostgreSQL"),
    pytest.param("mariadb", id="MariaDB", marks=needs_mariadb),
]


def with_numbers(servers: ReplicaSet) -> Iterator[Any]:
    with servers:
        servers.execute("master", "CREATE TABLE numbers (n int)")
        servers.wait_until_caught_up()
        yield servers


@pytest.fixture(scope="package")
def postgres() -> Iterator[PostgresReplicaSet]:
    yield from with_numbers(PostgresReplicaSet(replicas=2, configuration={"max_connections": "77"}))


@pytest.fixture(scope="package")
def mariadb() -> Iterator[MariaDBReplicaSet]:
    yield from with_numbers(MariaDBReplicaSet(replicas=2, configuration={"max_connections": "77"}))


@pytest.fixture(params=KINDS)
def own(request: pytest.FixtureRequest) -> Any:
    """A master and two replicas with a table `numbers`."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[Any]:
    """A class of replica sets."""
    return {"postgres": PostgresReplicaSet, "mariadb": MariaDBReplicaSet}[request.param]
