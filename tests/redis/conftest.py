"""The Redis servers that the tests of `pindb.redis` run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from pindb.redis import Cluster, RoutedCluster
from pindb.testing.redis import RedisClusterSetup, TestSetup
from tests.redis.tools import Create, created, restore


@pytest.fixture(scope="session")
def servers() -> Iterator[TestSetup]:
    """Four servers on Unix sockets, with eight databases each; all run, and are empty, as a test begins."""
    with TestSetup(servers=4, databases_each=8) as setup:
        yield setup


@pytest.fixture(autouse=True)
def clean_servers(servers: TestSetup) -> Iterator[None]:
    """Undo what a test did to the servers."""
    yield
    restore(servers)


@pytest.fixture
def make_cluster(servers: TestSetup) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters whose connections are closed at the end; without hosts, of the four servers."""
    made: list[Cluster] = []

    def make(hosts: Any = None, **options: Any) -> Cluster:
        if hosts is None:
            hosts = {server: servers.host(server) for server in range(servers.servers)}
        made.append(Cluster(hosts, **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.disconnect_pools()


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    """A cluster of the four servers, one host each."""
    return make_cluster()


@pytest.fixture
def create(servers: TestSetup) -> Iterator[Create]:
    """Makes clusters by settings, and closes their connections; without hosts, of the four servers."""
    with created({server: servers.host(server) for server in range(servers.servers)}) as make:
        yield make


@pytest.fixture
def partitioned(create: Create) -> RoutedCluster:
    """All hosts, with the keys spread over them."""
    return create("partition")


@pytest.fixture(scope="session")
def nodes() -> Iterator[RedisClusterSetup]:
    """A Redis Cluster of three masters with a replica each, in which all is well as a test begins."""
    with RedisClusterSetup() as setup:
        yield setup


@pytest.fixture
def make_slots(nodes: RedisClusterSetup) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters of the Redis Cluster, whose connections are closed at the end."""
    made: list[Cluster] = []

    def make(**options: Any) -> Cluster:
        made.append(Cluster.from_redis_cluster(nodes.start_up_nodes, **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.disconnect_pools()


@pytest.fixture
def slots(make_slots: Callable[..., Cluster]) -> Cluster:
    """A cluster of the Redis Cluster."""
    return make_slots()


@pytest.fixture
def prefix() -> str:
    """The beginning of keys that no other test has."""
    return uuid4().hex[:8]
