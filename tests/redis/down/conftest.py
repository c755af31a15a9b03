"""Clusters by both of their interfaces, for what holds for each while servers are down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from pindb.redis import (
    BaseRouter,
    Cluster,
    ConsistentHashingRouter,
    PartitionRouter,
    RoundRobinRouter,
    RoutedCluster,
)
from pindb.testing.redis import TestSetup

ROUTERS: dict[str | None, type[BaseRouter]] = {
    "consistent": ConsistentHashingRouter,
    "round_robin": RoundRobinRouter,
    "partition": PartitionRouter,
}
#: Those that know another host.
RETRYING = ("consistent", "round_robin")

#: A command: given a client, it calls a method.
Command = Callable[[Any], Any]


def call(name: str, *args: Any) -> Command:
    """The call of a method."""
    return lambda client: getattr(client, name)(*args)


class Face:
    """A cluster, by `create_cluster` or as a `Cluster`.

    Arguments:
        cluster: the cluster.

    Attributes:
        cluster: as given.
        client: sends one command now.
    """

    def __init__(self, cluster: Cluster | RoutedCluster) -> None:
        self.cluster = cluster
        self.client: Any = cluster
        if isinstance(cluster, Cluster):
            self.client = cluster.get_routing_client(split_multi_key=True)

    @property
    def router(self) -> BaseRouter:
        return self.cluster.get_router() if isinstance(self.cluster, Cluster) else self.cluster.router

    @property
    def down(self) -> list[int]:
        """The hosts that the router passes over."""
        return list(self.router.down_connections)

    def run(self, commands: Sequence[Command], in_map: bool) -> list[Any]:
        """Send commands one by one, or in one map; for each its reply, or its error."""
        if not in_map:
            return [_reply(command, self.client) for command in commands]
        if isinstance(self.cluster, Cluster):
            batch = self.client.get_mapping_client()
            kept = [_reply(command, batch) for command in commands]
            replies = iter(batch.execute(raise_on_error=False))
            return [each if isinstance(each, redis.RedisError) else next(replies) for each in kept]
        with self.cluster.map(fail_silently=True) as conn:
            for command in commands:
                command(conn)
        return list(conn.get_results())

    def connect(self) -> None:
        """Make a connection to each host."""
        for host_id in self.cluster.hosts:
            cluster: Any = self.cluster
            is_plain = isinstance(cluster, Cluster)
            client = cluster.get_local_client(host_id) if is_plain else cluster.get_connection(host_id)
            client.ping()


def _reply(command: Command, client: Any) -> Any:
    try:
        return command(client)
    except redis.RedisError as error:
        return error


MakeFace = Callable[..., Face]


@pytest.fixture
def make_face(
    servers: TestSetup, create: Callable[..., RoutedCluster], make_cluster: Callable[..., Cluster]
) -> MakeFace:
    """Makes faces: of `create_cluster`, or of `Cluster`, with a router by its short name.

    Without hosts, of the four servers, with names since their sockets have other paths each time. A host that
    is down is tried again after 5 s.
    """

    def make(face: str, router: str | None, hosts: Any = None, retries: int = 20, **options: Any) -> Face:
        if hosts is None:
            hosts = {server: {**servers.host(server), "name": f"ring:{server}"} for server in range(4)}
        if router in RETRYING:
            options.setdefault("retry_timeout", 5)
        if face == "create_cluster":
            return Face(create(router, hosts, router_options=options, max_connection_retries=retries))
        pairs = hosts if isinstance(hosts, dict) else dict(enumerate(hosts))
        kind = ROUTERS[router]
        return Face(
            make_cluster(pairs, router_cls=kind, router_options=options, max_connection_retries=retries)
        )

    return make


both_faces = pytest.mark.parametrize("face", ["create_cluster", "Cluster"])
both_routers = pytest.mark.parametrize("router", RETRYING)
in_map_or_not = pytest.mark.parametrize("in_map", [False, True])
