"""The Redis servers that the tests of `pindb.redis` run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any
from uuid import uuid4

import pytest

from pindb.redis import Cluster, RoutedCluster
from pindb.testing.redis import RedisClusterSetup, TestSetup
from tests.redis.tools import Create, FourNodes, Servers, created, restore


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of modules with `ENGINES` on each of these, but for those that are `plain_servers`."""
    engines = getattr(metafunc.module, "ENGINES", None)
    # All tests have `servers` by `clean_servers`.
    names = set(metafunc.fixturenames) - {"servers"} | signature(metafunc.function).parameters.keys()
    used = {"servers", "cluster", "make_cluster", "create"} & names
    if engines and used and metafunc.definition.get_closest_marker("plain_servers") is None:
        metafunc.fixturenames.append("engine")
        metafunc.parametrize("engine", engines, indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """What the servers of a test are: "plain" ones, or a "redis-cluster"."""
    return str(getattr(request, "param", "plain"))


@pytest.fixture(scope="session")
def plain_servers() -> Iterator[TestSetup]:
    """Four servers on Unix sockets, with eight databases each."""
    with TestSetup(servers=4, databases_each=8) as setup:
        yield setup


@pytest.fixture(scope="session")
def four_nodes() -> Iterator[FourNodes]:
    """A Redis Cluster of four masters."""
    with FourNodes() as setup:
        yield setup


@pytest.fixture
def servers(engine: str, request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Four servers; all run, and are empty, as a test begins."""
    setup = request.getfixturevalue("plain_servers" if engine == "plain" else "four_nodes")
    yield setup
    restore(setup)


@pytest.fixture(autouse=True)
def clean_servers(servers: Servers) -> None:
    """Undo what a test did to the servers."""


@pytest.fixture
def make_cluster(servers: Servers) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters whose connections are closed at the end; without hosts, of the four servers."""
    made: list[Cluster] = []

    def make(hosts: Any = None, **options: Any) -> Cluster:
        if hosts is None and isinstance(servers, FourNodes):
            made.append(servers.make_cluster(**options))
        else:
            hosts = (
                {server: servers.host(server) for server in range(servers.servers)}
                if hosts is None
                else hosts
            )
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
def create(servers: Servers) -> Iterator[Create]:
    """Makes clusters by settings, and closes their connections; without hosts, of the four servers."""
    hosts = {server: servers.host(server) for server in range(servers.servers)}
    with created(hosts, **({"engine": "redis-cluster"} if isinstance(servers, FourNodes) else {})) as make:
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
