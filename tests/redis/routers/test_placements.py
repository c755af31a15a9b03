"""Keys stay where Nydus had put them, also while a host is down and when it is back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pindb.redis import (
    Cluster,
    ClusterConfigError,
    ConsistentHashingRouter,
    RetryableRouter,
    RoutedCluster,
    create_cluster,
)

NYDUS = json.loads((Path(__file__).parents[2] / "vectors" / "nydus.json").read_text(encoding="utf-8"))
KEYS: list[str] = NYDUS["keys"]

clusters = pytest.mark.parametrize(
    "measured", NYDUS["clusters"], ids=lambda measured: f"{len(measured['identifiers'])} hosts"
)


def hosts(measured: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The hosts that are called what Nydus called them."""
    found = {}
    for number, identifier in enumerate(measured["identifiers"]):
        host, port_and_db = identifier.removeprefix("redis://").split(":")
        port, db = port_and_db.split("/")
        found[number] = {"host": host, "port": int(port), "db": int(db)}
    return found


def places(cluster: RoutedCluster) -> list[int]:
    """Where the keys are, asked for each and for all."""
    router = cluster.router
    one_by_one = [router.get_host_for_key(key) for key in KEYS]
    assert router.get_hosts_for_keys(KEYS) == one_by_one
    assert [router.get_dbs("get", [key], {}) for key in KEYS] == [[host_id] for host_id in one_by_one]
    groups = router.group_keys(KEYS)
    assert {place: host_id for host_id, found in groups.items() for place in found} == dict(
        enumerate(one_by_one)
    )
    return one_by_one


def ring_of(measured: dict[str, Any]) -> tuple[RoutedCluster, RetryableRouter]:
    cluster = create_cluster({"router": "consistent", "hosts": hosts(measured)})
    router = cluster.router
    assert isinstance(router, RetryableRouter)
    return cluster, router


# ---- where Nydus had them ------------------------------------------------------------------------


@clusters
def test_partitioned_keys_are_where_nydus_had_them(measured: dict[str, Any]) -> None:
    cluster = create_cluster({"router": "partition", "hosts": hosts(measured)})
    assert places(cluster) == measured["partition"]


@clusters
def test_keys_on_the_ring_are_where_nydus_had_them(measured: dict[str, Any]) -> None:
    cluster, _ = ring_of(measured)
    assert places(cluster) == measured["consistent"]


@pytest.mark.parametrize(
    "measured",
    [measured for measured in NYDUS["clusters"] if "consistent_with_1_down" in measured],
    ids=lambda measured: f"{len(measured['identifiers'])} hosts",
)
def test_keys_of_a_dead_host_are_where_nydus_had_them(measured: dict[str, Any]) -> None:
    cluster, router = ring_of(measured)
    router.mark_connection_down(1)
    away = places(cluster)
    assert away == measured["consistent_with_1_down"]
    moved = {old for old, new in zip(measured["consistent"], away, strict=True) if old != new}
    assert moved == {1}
    router.mark_connection_up(1)
    assert places(cluster) == measured["consistent"]


@clusters
def test_keys_come_home_one_host_after_the_other(measured: dict[str, Any]) -> None:
    cluster, router = ring_of(measured)
    home = places(cluster)
    for host_id in list(cluster)[1:]:
        router.mark_connection_down(host_id)
    assert places(cluster) == [0] * len(KEYS)
    router.mark_connection_up(1)
    assert set(places(cluster)) == {0, 1}
    router.flush_down_connections()
    assert places(cluster) == home


# ---- names on the ring ---------------------------------------------------------------------------

LARGEST = max(NYDUS["clusters"], key=lambda measured: len(measured["identifiers"]))


@pytest.mark.parametrize("option", ["identifier", "name"])
def test_names_alone_place_keys(option: str) -> None:
    named = [{"port": i + 1, option: name} for i, name in enumerate(LARGEST["identifiers"])]
    assert places(create_cluster({"router": "consistent", "hosts": named})) == LARGEST["consistent"]


def test_a_cluster_class_places_keys_by_the_same_names() -> None:
    named = {i: {"port": i + 1, "name": name} for i, name in enumerate(LARGEST["identifiers"])}
    router = Cluster(named, router_cls=ConsistentHashingRouter).get_router()
    assert router.get_hosts_for_keys(KEYS) == LARGEST["consistent"]


def test_every_way_to_write_an_address_gives_the_same_name() -> None:
    urls = [f"redis://:p@10.0.0.{i}:6379" for i in range(len(LARGEST["identifiers"]))]
    assert places(create_cluster({"router": "consistent", "hosts": urls})) == LARGEST["consistent"]
    parts = [{"host": f"10.0.0.{i}"} for i in range(len(LARGEST["identifiers"]))]
    defaults = {"port": 6379, "password": "p", "timeout": 3}
    cluster = create_cluster({"router": "consistent", "hosts": parts, "defaults": defaults})
    assert places(cluster) == LARGEST["consistent"]


def test_a_unix_socket_is_called_by_its_path() -> None:
    sockets = [{"unix_socket_path": "/a.sock"}, {"unix_socket_path": "/b.sock"}]
    named = [{"port": i + 1, "identifier": f"redis:///{name}.sock/0"} for i, name in enumerate("ab")]
    of_sockets = create_cluster({"router": "consistent", "hosts": sockets})
    assert [host.name for host in of_sockets.hosts.values()] == ["redis:///a.sock/0", "redis:///b.sock/0"]
    assert places(of_sockets) == places(create_cluster({"router": "consistent", "hosts": named}))
    same_path = [{"unix_socket_path": "/a.sock", "db": db} for db in (0, 1)]
    assert set(places(create_cluster({"router": "consistent", "hosts": same_path}))) == {0, 1}


def test_hosts_of_the_same_name_are_refused() -> None:
    with pytest.raises(ClusterConfigError, match="Hosts 0 and 1 have the same name on the ring, 'a'"):
        create_cluster(
            {
                "router": "consistent",
                "hosts": [{"port": 1, "identifier": "a"}, {"port": 2, "identifier": "a"}],
            }
        )
