"""Clusters by name, from the settings: made once, when they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from pindb.redis import (
    BadHostSetup,
    BaseRouter,
    ClusterConfigError,
    Connections,
    PartitionRouter,
    RoundRobinRouter,
    connections,
)
from pindb.testing.redis import TestSetup
from tests.processes import output_of
from tests.threads import in_threads


@pytest.fixture
def settings(servers: TestSetup) -> dict[str, dict[str, Any]]:
    return {
        "sessions": {"router": "partition", "hosts": [servers.host(0), servers.host(1)]},
        "counters": {"router": "round_robin", "hosts": [servers.host(2)]},
    }


@pytest.fixture
def of_django() -> Iterator[Connections]:
    """The connections of the site, without any that were made before."""
    connections.configure(None)
    yield connections
    connections.configure(None)


def connected(servers: TestSetup, server: int) -> int:
    with servers.client(server) as client:
        return len(client.client_list())


class Counted(BaseRouter):
    """Counts how often one was made."""

    made = 0

    def __init__(self, cluster: Any) -> None:
        super().__init__(cluster)
        Counted.made += 1


# ---- by name -------------------------------------------------------------------------------------


def test_a_cluster_has_a_name(settings: dict[str, Any]) -> None:
    named = Connections(settings)
    assert isinstance(named["sessions"].router, PartitionRouter)
    assert isinstance(named.counters.router, RoundRobinRouter)
    assert named["sessions"] is named["sessions"] is named.sessions
    assert named["counters"].incr("n") == 1
    assert named["counters"].get("n") == b"1"
    named.disconnect()


def test_connections_are_a_collection_of_names(settings: dict[str, Any]) -> None:
    named = Connections(settings)
    assert list(named) == ["sessions", "counters"]
    assert len(named) == 2
    assert "sessions" in named
    assert "others" not in named
    assert named.settings == settings
    assert repr(named) == "<Connections: 0 made>"
    assert named["counters"]
    assert repr(named) == "<Connections: 1 made>"


def test_a_cluster_is_made_when_it_is_needed(settings: dict[str, Any]) -> None:
    Counted.made = 0
    settings["sessions"]["router"] = Counted
    settings["wrong"] = {"hosts": []}
    named = Connections(settings)
    assert list(named) == ["sessions", "counters", "wrong"]
    assert named["counters"]
    assert Counted.made == 0
    assert named["sessions"]
    assert named["sessions"]
    assert Counted.made == 1


def test_threads_make_a_cluster_once(settings: dict[str, Any]) -> None:
    Counted.made = 0
    settings["sessions"]["router"] = Counted
    named = Connections(settings)
    found = in_threads(16, lambda _: named["sessions"])
    assert len(set(map(id, found))) == 1
    assert Counted.made == 1


@pytest.mark.parametrize("names", [{}, {"sessions": {"hosts": [{}]}}])
def test_names_that_are_not_there(names: dict[str, Any]) -> None:
    named = Connections(names)
    known = "'sessions'" if names else "none"
    with pytest.raises(ClusterConfigError, match=f"PINDB_CLUSTERS has no cluster 'others'. It has: {known}"):
        named["others"]
    with pytest.raises(AttributeError, match=f"PINDB_CLUSTERS has no cluster 'others'. It has: {known}"):
        named.others  # noqa: B018
    assert not hasattr(named, "others")
    with pytest.raises(AttributeError, match="no attribute '_others'"):
        named._others  # noqa: B018


def test_settings_that_are_wrong_are_said_with_the_name() -> None:
    named = Connections({"a": {"hosts": {}}, "b": {"router": "partition", "hosts": {1: {}}}, "c": None})  # type: ignore[dict-item]
    with pytest.raises(ClusterConfigError, match="Cluster 'a': The cluster has no hosts"):
        named["a"]
    with pytest.raises(BadHostSetup, match="Cluster 'b': The host ids are 1"):
        named["b"]
    with pytest.raises(ClusterConfigError, match=r"Cluster 'c': .* NoneType. Write a dict"):
        named["c"]


@pytest.mark.parametrize("settings", [[{"hosts": [{}]}], "sessions", 5])
def test_settings_are_a_dict_by_name(settings: Any) -> None:
    with pytest.raises(ClusterConfigError, match=r"PINDB_CLUSTERS is a .*\. Write a dict of clusters"):
        Connections(settings)["sessions"]


# ---- other settings ------------------------------------------------------------------------------


def test_other_settings_make_other_clusters(settings: dict[str, Any], servers: TestSetup) -> None:
    named = Connections()
    named.configure(settings)
    before = named["counters"]
    before.ping()
    others = connected(servers, 2)
    named.configure({"counters": {"hosts": [servers.host(3)]}})
    assert connected(servers, 2) == others - 1
    assert list(named) == ["counters"]
    assert named["counters"] is not before
    assert named["counters"].hosts[0].unix_socket_path == servers.host(3)["unix_socket_path"]
    with pytest.raises(ClusterConfigError, match="It has: 'counters'"):
        named["sessions"]


def test_disconnecting_closes_the_connections_of_all(settings: dict[str, Any], servers: TestSetup) -> None:
    before = [connected(servers, server) for server in range(3)]
    named = Connections(settings)
    for name in named:
        named[name].ping()
    assert [connected(servers, server) for server in range(3)] == [number + 1 for number in before]
    cluster = named["sessions"]
    named.disconnect()
    assert [connected(servers, server) for server in range(3)] == before
    assert named["sessions"] is cluster
    assert cluster.ping() == [True, True]
    named.disconnect()


# ---- Django --------------------------------------------------------------------------------------


def test_a_site_s_clusters_are_those_of_its_settings(
    of_django: Connections, settings: dict[str, Any]
) -> None:
    with override_settings(PINDB_CLUSTERS=settings):
        assert list(of_django) == ["sessions", "counters"]
        assert of_django["counters"].incr("n") == 1
        assert isinstance(of_django.sessions.router, PartitionRouter)


def test_a_site_without_clusters_has_none(of_django: Connections) -> None:
    assert list(of_django) == []
    with pytest.raises(ClusterConfigError, match=r"no cluster 'sessions'\. It has: none"):
        of_django["sessions"]


def test_settings_that_change_make_other_clusters(of_django: Connections, settings: dict[str, Any]) -> None:
    with override_settings(PINDB_CLUSTERS=settings):
        before = of_django["counters"]
        with override_settings(PINDB_PINNING_SECONDS=1):
            assert of_django["counters"] is before
        with override_settings(PINDB_CLUSTERS={"counters": settings["sessions"]}):
            assert isinstance(of_django["counters"].router, PartitionRouter)
        assert isinstance(of_django["counters"].router, RoundRobinRouter)
    assert list(of_django) == []


def test_settings_that_were_given_do_not_follow_those_of_the_site(settings: dict[str, Any]) -> None:
    named = Connections(settings)
    before = named["counters"]
    with override_settings(PINDB_CLUSTERS={"others": {"hosts": [{}]}}):
        assert named["counters"] is before
        named.configure(None)
        assert list(named) == ["others"]


# ---- without Django ------------------------------------------------------------------------------


def run(code: str) -> list[str]:
    return output_of("-c", code).strip().split("\n")


WITHOUT_SETTINGS = """
from pindb.redis import ClusterConfigError, connections
for look in (lambda: connections["default"], lambda: list(connections), lambda: connections.default):
    try:
        look()
    except (ClusterConfigError, AttributeError) as error:
        print(type(error).__name__, error)
connections.configure({"default": {"router": "partition", "hosts": [{}, {"db": 1}]}})
print(connections["default"])
"""


@pytest.mark.parametrize("installed", [True, False])
def test_without_settings_the_error_says_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    hidden = "" if installed else "import sys\nsys.modules['django'] = None\n"
    *errors, made = run(hidden + WITHOUT_SETTINGS)
    assert [error.split()[0] for error in errors] == [
        "ClusterConfigError",
        "ClusterConfigError",
        "AttributeError",
    ]
    for error in errors:
        assert "Call connections.configure({...})" in error
        assert "PINDB_CLUSTERS" in error
        assert ("configure Django" in error) is installed
    assert made == "<RoutedRedis of 2 hosts, PartitionRouter>"


def test_importing_it_reads_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    assert run("from pindb.redis import connections\nprint(connections)") == ["<Connections: 0 made>"]
