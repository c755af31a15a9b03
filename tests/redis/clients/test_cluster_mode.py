"""Servers in cluster mode, which a cluster of pindb's was given by mistake: the errors say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis.exceptions import RedisError, ResponseError

from pindb.hashing import slot
from pindb.redis import Cluster, CommandError, create_cluster
from pindb.testing.processes import free_port, wait_for
from pindb.testing.redis import TestSetup

SAYS_SO = "This server runs in cluster mode"


def node() -> TestSetup:
    options = {
        "cluster-enabled": "yes",
        "cluster-port": str(free_port()),
        "cluster-require-full-coverage": "no",
    }
    return TestSetup(servers=1, databases_each=1, tcp=True, configuration=options)


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[TestSetup, TestSetup]]:
    """Two servers of a Redis Cluster, with half of the slots each but for the last one."""
    with node() as first, node() as second:
        with first.client(0) as one, second.client(0) as two:
            if first.version < (7,):
                pytest.skip("cluster-port is a directive of Redis 7.")
            one.execute_command("CLUSTER ADDSLOTSRANGE", 0, 8191)
            two.execute_command("CLUSTER ADDSLOTSRANGE", 8192, 16382)
            other = second.host(0)
            bus = two.config_get("cluster-port")["cluster-port"]
            one.execute_command("CLUSTER MEET", other["host"], other["port"], bus)

            def knows_both() -> bool:
                infos = [client.execute_command("CLUSTER INFO") for client in (one, two)]
                return all(
                    str(info["cluster_slots_assigned"]) == "16383" and info["cluster_state"] == "ok"
                    for info in infos
                )

            wait_for(knows_both, "the nodes to meet", 20)
        yield first, second


def key_in(first: int, last: int) -> str:
    return next(key for key in (f"k{i}" for i in range(200_000)) if first <= slot(key) <= last)


def test_errors_of_servers_in_cluster_mode_say_so(nodes: tuple[TestSetup, TestSetup]) -> None:
    cluster = Cluster({0: nodes[0].host(0)})
    client = cluster.get_routing_client()
    here, elsewhere, nowhere = key_in(0, 8191), key_in(8192, 16382), key_in(16383, 16383)
    assert client.set(here, 1) is True
    with pytest.raises(ResponseError, match=rf"GET '{elsewhere}' on host 0 .*: MOVED \d+ .*{SAYS_SO}"):
        client.get(elsewhere)
    with pytest.raises(ResponseError, match=f": MOVED .*{SAYS_SO}"), cluster.map() as batch:
        batch.set(elsewhere, 1)
    with pytest.raises(RedisError, match=f": CLUSTERDOWN .*{SAYS_SO}"):
        client.get(nowhere)
    with pytest.raises(ResponseError, match=f": CROSSSLOT .*{SAYS_SO}"), cluster.map() as batch:
        batch.mget(here, key_in(slot(here) + 1, 8191))
    created = create_cluster({"hosts": [nodes[0].host(0)]})
    with pytest.raises(CommandError, match=f"MOVED .*{SAYS_SO}"), created.map() as conn:
        conn.get(elsewhere)
    created.disconnect()
    cluster.disconnect_pools()
