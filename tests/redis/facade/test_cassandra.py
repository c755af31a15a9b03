"""Cassandra behind `create_cluster`: one session for all, whose driver finds its way itself."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pindb.redis import ClusterConfigError, HostConnectionError, create_cluster
from tests.processes import end_of, start_child
from tests.threads import in_threads

pytest.importorskip("cassandra.cluster")

from cassandra import InvalidRequest
from cassandra.cluster import Cluster, NoHostAvailable, Session

from pindb.redis.backends.cassandra import Cassandra, CassandraCluster
from tests.processes import output_of

HOSTS = ["10.0.0.1", "10.0.0.2"]
# Longer than a thread or a process takes to end on the slowest machine.
PATIENCE = 10.0


@pytest.fixture(autouse=True)
def clean_servers() -> None:
    """Leaves the Redis servers alone, which nothing here needs."""


class OfflineSession(Session):  # type: ignore[misc]
    """A session that has no server, and answers with what it was asked."""

    def __init__(self, cluster: Any, keyspace: Any) -> None:
        self.cluster = cluster
        self.keyspace = keyspace

    def shutdown(self) -> None:
        self.is_shutdown = True
        self.cluster.ended += 1

    def execute(self, query: Any, parameters: Any = None, **options: Any) -> Any:
        if query == "nobody":
            raise NoHostAvailable("Unable to complete the operation", {"10.0.0.1:9042": OSError("gone")})
        if query == "wrong":
            raise InvalidRequest("wrong")
        return [query, parameters, options]


class OfflineCluster(Cluster):  # type: ignore[misc]
    """The driver's, up to where it would ask a server: there is none where these tests run.

    Its threads, options and end are the real ones, which is what pindb has to do with.
    """

    made: list[OfflineCluster]
    ended = 0

    def connect(self, keyspace: Any = None, wait_for_all_pools: bool = False) -> OfflineSession:
        self.made.append(self)
        if keyspace == "missing":
            raise InvalidRequest("Keyspace 'missing' does not exist")
        session = OfflineSession(self, keyspace)
        self.sessions.add(session)
        return session


class Offline(Cassandra):
    """The backend with `OfflineCluster`."""

    cluster_class = OfflineCluster


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[OfflineCluster]:
    """The driver's clusters that connected, in order."""
    clusters: list[OfflineCluster] = []
    monkeypatch.setattr(OfflineCluster, "made", clusters, raising=False)
    return clusters


@pytest.fixture
def cluster(made: list[OfflineCluster]) -> Iterator[CassandraCluster]:
    """A cluster with `OfflineCluster` below it."""
    cluster = create_cluster({"backend": Offline, "hosts": HOSTS, "keyspace": "test", "port": 9999})
    assert isinstance(cluster, CassandraCluster)
    yield cluster
    cluster.disconnect()


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]


def await_end_of_threads(before: set[threading.Thread]) -> None:
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
    assert set(threading.enumerate()) <= before


# ---- calls ---------------------------------------------------------------------------------------


def test_a_cluster_has_the_methods_and_attributes_of_its_session(cluster: CassandraCluster) -> None:
    assert cluster.execute("SELECT 1") == ["SELECT 1", None, {}]
    assert cluster.execute("SELECT %s", [1], timeout=5) == ["SELECT %s", [1], {"timeout": 5}]
    assert cluster.keyspace == "test"
    assert cluster.default_fetch_size == Session.default_fetch_size
    assert cluster.cluster.port == 9999
    with pytest.raises(AttributeError, match="incr"):
        cluster.incr("key")


def test_it_is_a_cluster_of_one_host(cluster: CassandraCluster) -> None:
    assert (len(cluster), list(cluster), 0 in cluster, 1 in cluster) == (1, [0], True, False)
    assert cluster.get_conn() is cluster.get_conn("any", "thing") is cluster[0]
    assert cluster[0].execute("SELECT 1") == ["SELECT 1", None, {}]
    assert isinstance(cluster[0].connection, Session)
    assert cluster[0].keyspace == "test"
    assert cluster.router.get_dbs("execute", ["SELECT 1"], {}) == [0]
    with pytest.raises(ClusterConfigError, match="There is no host 1; there are 0"):
        cluster[1]


def test_calls_in_a_map_are_made_at_once(cluster: CassandraCluster) -> None:
    with cluster.map(workers=3, fail_silently=True) as mapping:
        result = mapping.execute("SELECT 1")
        assert type(result) is list
        assert result == ["SELECT 1", None, {}]
        with pytest.raises(InvalidRequest):
            mapping.execute("wrong")
    with pytest.raises(ZeroDivisionError), cluster.map():
        raise ZeroDivisionError


def test_what_is_the_session_s_cannot_be_set_where_it_would_be_lost(cluster: CassandraCluster) -> None:
    targets: list[Any] = [cluster, cluster[0]]
    for target in targets:
        with pytest.raises(AttributeError, match=r"row_factory cannot be set.*execution_profiles"):
            target.row_factory = dict


# ---- connections ---------------------------------------------------------------------------------


def test_the_driver_gets_hosts_options_and_keyspace_at_the_first_use(
    cluster: CassandraCluster, made: list[OfflineCluster]
) -> None:
    assert made == []
    assert repr(cluster) == "<CassandraCluster cassandra://10.0.0.1,10.0.0.2/test>"
    assert callable(cluster.prepare)
    assert made == []
    cluster.execute("SELECT 1")
    cluster.execute("SELECT 2")
    (driver,) = made
    assert (driver.contact_points, driver.port, driver.connect_timeout) == (HOSTS, 9999, 5)


def test_threads_share_one_session(cluster: CassandraCluster, made: list[OfflineCluster]) -> None:
    def work(number: int) -> Any:
        assert cluster.execute("SELECT %s", [number]) == ["SELECT %s", [number], {}]
        return cluster[0].connection

    assert len({id(session) for session in in_threads(8, work)}) == 1
    assert len(made) == 1


def test_disconnecting_ends_the_driver_and_the_next_use_starts_another(
    cluster: CassandraCluster, made: list[OfflineCluster]
) -> None:
    before = set(threading.enumerate())
    cluster.disconnect()
    session = cluster[0].connection
    cluster.disconnect()
    assert session.is_shutdown
    assert made[0].is_shutdown
    await_end_of_threads(before)
    assert cluster.execute("SELECT 1") == ["SELECT 1", None, {}]
    assert [driver.is_shutdown for driver in made] == [True, False]


def test_a_forked_process_has_a_session_of_its_own(
    cluster: CassandraCluster, made: list[OfflineCluster]
) -> None:
    cluster.execute("SELECT 1")

    def work() -> None:
        cluster.execute("SELECT 1")
        # The other process's session is not ended here, where it would be if it was let go.
        assert [(driver.is_shutdown, driver.ended) for driver in made] == [(False, 0), (False, 0)]

    assert end_of(start_child(work, int(PATIENCE))) == 0
    assert len(made) == 1


# ---- errors --------------------------------------------------------------------------------------


def test_hosts_that_refuse_connections_are_named_and_no_password_is(refusing_port: int) -> None:
    from cassandra.auth import PlainTextAuthProvider

    cluster = create_cluster(
        {
            "backend": "cassandra",
            "hosts": {0: "127.0.0.1"},
            "port": refusing_port,
            "auth_provider": PlainTextAuthProvider("user", "secret"),
        }
    )
    before = set(threading.enumerate())
    for name in ("execute", "keyspace"):
        with pytest.raises(HostConnectionError, match=r"^cassandra://127\.0\.0\.1/: .*refused") as caught:
            getattr(cluster, name)("SELECT 1")
        assert f"127.0.0.1:{refusing_port}" in str(caught.value)
        assert isinstance(caught.value.__cause__, NoHostAvailable)
        assert not caught.value.sent
        assert "secret" not in f"{caught.value} {cluster!r} {cluster[0]!r} {cluster[0]}"
    await_end_of_threads(before)


def test_names_that_nobody_knows() -> None:
    cluster = create_cluster({"backend": "cassandra", "hosts": ["nosuch.invalid"]})
    with pytest.raises(HostConnectionError, match=r"cassandra://nosuch\.invalid/: UnresolvableContactPoints"):
        cluster.execute("SELECT 1")


def test_hosts_that_are_gone_later_are_named(cluster: CassandraCluster) -> None:
    with pytest.raises(
        HostConnectionError, match=r"cassandra://10.0.0.1,10.0.0.2/test: .*9042.*gone"
    ) as caught:
        cluster.execute("nobody")
    assert caught.value.sent


def test_the_driver_s_other_errors_are_its_own(cluster: CassandraCluster) -> None:
    with pytest.raises(InvalidRequest, match="wrong"):
        cluster.execute("wrong")


def test_a_driver_without_a_session_is_ended(made: list[OfflineCluster]) -> None:
    cluster = create_cluster({"backend": Offline, "hosts": HOSTS, "keyspace": "missing"})
    with pytest.raises(InvalidRequest, match="missing"):
        cluster.execute("SELECT 1")
    assert [driver.is_shutdown for driver in made] == [True]


# ---- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hosts", [HOSTS, dict(enumerate(HOSTS)), [{"host": name} for name in HOSTS], {5: HOSTS[0], 6: HOSTS[1]}]
)
def test_hosts_are_addresses(made: list[OfflineCluster], hosts: Any) -> None:
    cluster = create_cluster({"engine": Offline, "hosts": hosts})
    cluster.execute("SELECT 1")
    assert made[0].contact_points == HOSTS
    cluster.disconnect()


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        ({"hosts": []}, ["has no hosts"]),
        ({"hosts": "10.0.0.1"}, ["hosts is a str"]),
        ({"hosts": [""]}, ["Host 0 has the address ''", "an IP address: '10.0.0.1'"]),
        ({"hosts": [{"host": 5}]}, ["Host 0 has the address 5"]),
        ({"hosts": [{}]}, ["Host 0 has the address None"]),
        ({"hosts": [{"host": "a", "prot": 1}]}, ["Host 0 has unknown options: prot", "There are: host"]),
        ({"prot": 9042}, ["unknown options: prot", "keyspace", "port", "auth_provider", "ssl_context"]),
        ({"contact_points": HOSTS}, ["unknown options: contact_points", "hosts"]),
        ({"password": "secret"}, ["unknown options: password"]),
        ({"keyspace": ""}, ["keyspace is ''"]),
        ({"keyspace": 5}, ["keyspace is 5"]),
        ({"router": "partition"}, ["has a router", "chooses hosts itself"]),
        ({"defaults": {"port": 1}}, ["has a defaults", "chooses hosts itself"]),
        ({"max_connection_retries": 1}, ["has a max_connection_retries"]),
    ],
)
def test_what_is_wrong_with_the_settings_is_said_at_once(settings: Any, messages: list[str]) -> None:
    with pytest.raises(ClusterConfigError) as caught:
        create_cluster({"backend": "cassandra", "hosts": HOSTS, **settings})
    assert [message for message in messages if message not in str(caught.value)] == []
    assert "secret" not in str(caught.value)


def test_a_driver_of_the_site_s_own_may_take_any_option(made: list[OfflineCluster]) -> None:
    class Own(OfflineCluster):
        def __init__(self, hosts: Any, **options: Any) -> None:
            self.own = options.pop("own")
            super().__init__(hosts, **options)

    class Backend(Cassandra):
        cluster_class = Own

    cluster = create_cluster({"backend": Backend, "hosts": HOSTS, "own": 5})
    assert cluster.cluster.own == 5
    cluster.disconnect()


def test_without_the_driver_it_is_said_what_to_install() -> None:
    code = """
import sys
sys.modules["cassandra"] = None
from pindb.redis import create_cluster
try:
    create_cluster({"backend": "cassandra", "hosts": ["10.0.0.1"]})
except ImportError as error:
    print(error)
"""
    assert 'pip install "django-pindb[cassandra]"' in output_of("-c", code)


# ---- a server ------------------------------------------------------------------------------------


@pytest.mark.skipif("CASSANDRA_HOST" not in os.environ, reason="needs a Cassandra server in $CASSANDRA_HOST")
def test_statements_run_on_a_server() -> None:
    cluster = create_cluster({"backend": "cassandra", "hosts": [os.environ["CASSANDRA_HOST"]]})
    assert cluster.execute("SELECT key FROM system.local").one().key == "local"
    with cluster.map() as mapping:
        assert mapping.execute("SELECT key FROM system.local WHERE key = %s", ["local"]).one().key == "local"
    statement = cluster.prepare("SELECT key FROM system.local WHERE key = ?")
    assert cluster.execute(statement, ["local"]).one().key == "local"
    cluster.disconnect()
    assert cluster.execute("SELECT key FROM system.local").one().key == "local"
    cluster.disconnect()
