"""The configuration of a cluster: hosts, addresses, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from pindb.redis import BadHostSetup, Cluster, ClusterConfigError, ConsistentHashingRouter
from pindb.redis.io.pools import get_connection
from pindb.testing.redis import TestSetup
from tests.redis.tools import Make, Proxy

NEW = pytest.mark.skipif(not hasattr(redis, "driver_info"), reason="this redis-py has no DriverInfo")


def options(cluster: Cluster, host_id: int = 0) -> dict[str, Any]:
    """What the connections to a host are made with."""
    found: dict[str, Any] = cluster.get_pool_for_host(host_id).connection_kwargs
    return found


# ---- hosts ---------------------------------------------------------------------------------------


def test_hosts_as_a_dict_by_id() -> None:
    hosts: dict[int, dict[str, Any]] = {0: {"port": 6379}, 1: {"host": "other", "port": 6380, "db": 2}}
    cluster = Cluster(hosts)
    assert list(cluster.hosts) == [0, 1]
    assert cluster.hosts[0].address == "localhost:6379/0"
    assert cluster.hosts[1].address == "other:6380/2"


def test_hosts_as_a_list_of_dicts() -> None:
    hosts = [{"host_id": 1, "port": 2}, {"host_id": 0, "port": 1}]
    cluster = Cluster(hosts)
    assert {host_id: host.port for host_id, host in cluster.hosts.items()} == {0: 1, 1: 2}
    assert hosts[0] == {"host_id": 1, "port": 2}


def test_hosts_from_an_iterator() -> None:
    assert list(Cluster({"host_id": i} for i in range(3)).hosts) == [0, 1, 2]


def test_defaults_are_for_hosts_that_say_nothing_else() -> None:
    hosts: dict[int, dict[str, Any]] = {0: {}, 1: {"host": "one", "db": 1}, 2: {"unix_socket_path": "/two"}}
    cluster = Cluster(hosts, host_defaults={"host": "default", "port": 7, "password": "p"})
    addresses = [host.address for host in cluster.hosts.values()]
    assert addresses == ["default:7/0", "one:7/1", "/two/0"]
    assert all(options(cluster, i)["password"] == "p" for i in range(3))


def test_hosts_are_added_and_removed(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster({0: servers.host(0)}, host_defaults={"db": 3})
    assert [cluster.get_router().get_host_for_key(f"key:{i}") for i in range(20)] == [0] * 20
    cluster.add_host(1, unix_socket_path=servers.host(1)["unix_socket_path"])
    assert cluster.hosts[1].db == 3
    assert {cluster.get_router().get_host_for_key(f"key:{i}") for i in range(20)} == {0, 1}
    assert cluster.get_local_client(1).ping()
    cluster.remove_host(1)
    assert list(cluster.hosts) == [0]
    assert {cluster.get_router().get_host_for_key(f"key:{i}") for i in range(20)} == {0}
    with pytest.raises(ClusterConfigError, match="There is no host 1; there are 0"):
        cluster.get_local_client(1)


def test_a_host_that_comes_again_is_another_one(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster({0: servers.host(0)})
    client = cluster.get_routing_client()
    client.set("a", 1)
    cluster.remove_host(0)
    cluster.add_host(0, **servers.host(1))
    assert client.get("a") is None
    with cluster.map() as mapping:
        value = mapping.get("a")
    assert value.value is None


def test_a_host_that_goes_rejects_what_waits_for_it(cluster: Cluster) -> None:
    client = cluster.get_routing_client().get_mapping_client()
    promises = [client.incr(f"key:{i}") for i in range(20)]
    cluster.remove_host(3)
    with pytest.raises(ClusterConfigError, match="There is no host 3"):
        client.join()
    assert not any(promise.is_pending for promise in promises)
    assert {promise.is_resolved for promise in promises} == {True, False}


def test_pools_are_made_once_and_closed_together(cluster: Cluster) -> None:
    assert cluster.get_pool_for_host(0) is cluster.get_pool_for_host(0)
    assert cluster.get_local_client(0) is cluster.get_local_client(0)
    assert cluster.get_pool_for_host(0) is not cluster.get_pool_for_host(1)
    assert cluster.get_local_client(0).connection_pool is cluster.get_pool_for_host(0)
    cluster.get_routing_client().ping()
    connection = cluster.get_pool_for_host(0)._available_connections[0]
    assert connection._sock is not None
    cluster.disconnect_pools()
    assert connection._sock is None
    assert cluster.get_routing_client().ping()


def test_the_class_and_the_options_of_pools(servers: TestSetup, make_cluster: Make) -> None:
    cluster = make_cluster(
        {0: servers.host(0)},
        pool_cls=redis.BlockingConnectionPool,
        pool_options={"max_connections": 3, "timeout": 1, "decode_responses": True},
    )
    pool = cluster.get_pool_for_host(0)
    assert isinstance(pool, redis.BlockingConnectionPool)
    assert pool.max_connections == 3
    client = cluster.get_routing_client()
    client.set("a", "ä")
    assert client.get("a") == "ä"
    with cluster.map() as mapping:
        value = mapping.get("a")
    assert value.value == "ä"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, [b"LIB-NAME", b"redis-py", b"LIB-VER", redis.__version__.encode()]),
        ({"lib_name": "shop", "lib_version": "1.2"}, [b"LIB-NAME", b"shop", b"LIB-VER", b"1.2"]),
        ({"lib_name": None, "lib_version": None}, []),
        pytest.param({"driver_info": True}, [b"LIB-NAME", b"shop(kiosk_v1.2)", b"LIB-VER", b"3"], marks=NEW),
        pytest.param({"driver_info": None}, [], marks=NEW),
    ],
)
def test_servers_are_told_which_library_connects(
    servers: TestSetup, make_cluster: Make, given: dict[str, Any], told: list[bytes]
) -> None:
    if given.get("driver_info"):
        driver = redis.driver_info.DriverInfo("shop", "3").add_upstream_driver("kiosk", "1.2")
        given = {"driver_info": driver}
    sent: list[bytes] = []

    def note(data: bytes) -> bytes:
        sent.append(data)
        return data

    with Proxy(servers.host(0)["unix_socket_path"], note) as proxy:
        cluster = make_cluster({0: {"host": "127.0.0.1", "port": proxy.port}}, pool_options=given)
        assert cluster.get_local_client(0).ping()
        cluster.disconnect_pools()
    words = b"".join(sent).split(b"\r\n")
    places = [at for at, word in enumerate(words) if word == b"SETINFO"]
    assert [words[at + step] for at in places for step in (2, 4)] == told


@NEW
def test_connections_of_a_pool_read_the_metadata_of_redis_py_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = cluster.get_pool_for_host(0)
    monkeypatch.setattr("redis.utils.get_lib_version", pytest.fail)
    connections = [get_connection(pool), get_connection(pool)]
    assert {connection.driver_info.lib_version for connection in connections} == {redis.__version__}


def test_local_clients_are_redis_py_s(cluster: Cluster) -> None:
    client = cluster.get_local_client_for_key("a")
    assert isinstance(client, redis.Redis)
    client.set("a", 1)
    assert cluster.get_routing_client().get("a") == b"1"
    assert cluster.get_local_client(cluster.get_router().get_host_for_key("a")) is client


def test_nothing_connects_before_the_first_command() -> None:
    cluster = Cluster({0: {"unix_socket_path": "/no/such/socket"}})
    cluster.get_router()
    cluster.get_pool_for_host(0)
    cluster.get_routing_client()
    with pytest.raises(redis.ConnectionError):
        cluster.get_routing_client().get("a")


# ---- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "address", "expected"),
    [
        ({"url": "redis://server"}, "server:6379/0", {}),
        ({"url": "redis://server:7/3"}, "server:7/3", {"host": "server", "port": 7, "db": 3}),
        ({"url": "redis://user:pass@server:7"}, "server:7/0", {"username": "user", "password": "pass"}),
        ({"url": "redis://:pa%20ss@server"}, "server:6379/0", {"username": None, "password": "pa ss"}),
        ({"url": "redis://server/1", "db": 5}, "server:6379/1", {"db": 1}),
        ({"url": "redis://server", "db": 5}, "server:6379/5", {"db": 5}),
        ({"url": "redis://server", "password": "p"}, "server:6379/0", {"password": "p"}),
        ({"url": "unix:///path/socket?db=2"}, "/path/socket/2", {"path": "/path/socket", "db": 2}),
        ({"url": "unix://u:p@/path/socket"}, "/path/socket/0", {"username": "u", "password": "p"}),
        ({"url": "unix:///path/a@b"}, "/path/a@b/0", {"path": "/path/a@b"}),
        ({"url": "redis://server/?password=a@b"}, "server:6379/0", {"password": "a@b"}),
        ({"url": "redis://server?socket_timeout=2.5"}, "server:6379/0", {"socket_timeout": 2.5}),
        ({"unix_socket_path": "/path/socket", "db": 1}, "/path/socket/1", {"path": "/path/socket"}),
        ({"username": "u", "password": "p"}, "localhost:6379/0", {"username": "u", "password": "p"}),
    ],
)
def test_addresses(config: dict[str, Any], address: str, expected: dict[str, Any]) -> None:
    cluster = Cluster({0: config})
    assert cluster.hosts[0].address == address
    assert options(cluster).items() >= expected.items()


def test_a_url_replaces_the_default_address() -> None:
    cluster = Cluster({0: {"url": "redis://server"}}, host_defaults={"host": "other", "port": 7, "db": 2})
    assert cluster.hosts[0].address == "server:6379/2"


def test_tls() -> None:
    by_options = Cluster({0: {"ssl": True, "ssl_options": {"ca_certs": "/ca", "ssl_cert_reqs": "none"}}})
    by_url = Cluster({0: {"url": "rediss://server?ssl_ca_certs=/ca"}})
    for cluster in (by_options, by_url):
        assert issubclass(cluster.get_pool_for_host(0).connection_class, redis.SSLConnection)
        assert options(cluster)["ssl_ca_certs"] == "/ca"
    assert options(by_options)["ssl_cert_reqs"] == "none"


def test_a_url_is_used(servers: TestSetup, make_cluster: Make) -> None:
    path = servers.host(0)["unix_socket_path"]
    cluster = make_cluster({0: {"url": f"unix://{path}?db=5"}})
    cluster.get_routing_client().set("a", 1)
    with servers.client(0, 5) as client:
        assert client.get("a") == b"1"


# ---- no passwords --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {"password": "geheim"},
        {"username": "me", "password": "geheim"},
        {"url": "redis://me:geheim@server:6379/1"},
        {"url": "rediss://:geheim@server?ssl_password=geheim"},
        {"url": "redis://geheim@server"},
        {"ssl": True, "ssl_options": {"password": "geheim"}},
    ],
)
def test_no_repr_shows_a_password(config: dict[str, Any]) -> None:
    cluster = Cluster({0: config})
    host = cluster.hosts[0]
    shown = [host, cluster, cluster.get_routing_client(), cluster.get_routing_client().get_mapping_client()]
    for text in [*map(repr, shown), *map(str, shown), host.address]:
        assert "geheim" not in text
    assert "host_id=0" in repr(host)
    assert host.address in repr(cluster)


@pytest.mark.parametrize(
    "url",
    [
        *("geheim", "http://me:geheim@server", "redis://me:geheim@server:port", 5),
        # Passwords with characters that have a meaning in URLs.
        *("redis://me:p@geheim/x@server", "redis://me:p@geheim#x@server", "redis://:12/geheim@server"),
        *("redis://:12?geheim=x@server", "unix://me:p/geheim@/path", "unix:///path#geheim"),
        # redis-py would take database 0, and drop a folder of the path.
        *("redis://server/geheim", "unix://geheim/path"),
    ],
)
def test_a_wrong_url_is_not_shown(url: Any) -> None:
    with pytest.raises(ClusterConfigError, match=r"Host 3 has an invalid URL .*redis://") as caught:
        Cluster({3: {"url": url}})
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url", ["redis://me:geheim@server:7/1", "me:geheim@server", "server?password=geheim"]
)
@pytest.mark.parametrize(
    "settings",
    [
        lambda url: {"host": url},
        lambda url: {"port": url},
        lambda url: {"db": url},
        lambda url: {"timeout": url},
        lambda url: {"unix_socket_path": f"redis://{url}"},
        lambda url: {"host_id": url},
        lambda url: {url: 1},
    ],
)
def test_a_url_in_the_wrong_place_is_an_error_that_does_not_show_it(settings: Any, url: str) -> None:
    with pytest.raises(ClusterConfigError, match=r"Host 3 has .*\*\*\*") as caught:
        Cluster({3: settings(url)})
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://me:geheim@server:7/1", "me:geheim@server"])
@pytest.mark.parametrize(
    "make",
    [
        lambda url: Cluster({url: {}}),
        lambda url: Cluster(url),
        lambda url: Cluster({0: url}),
        lambda url: Cluster({0: {}}, max_connection_retries=url),
        lambda url: Cluster({0: {}}, retry_timeout=url),
        lambda url: Cluster({0: {}}).fanout(url),
        lambda url: Cluster({0: {}}).fanout([url]),
        lambda url: Cluster(
            {i: {"name": url} for i in range(2)}, router_cls=ConsistentHashingRouter
        ).get_router(),
    ],
)
def test_no_error_shows_a_url(make: Any, url: Any) -> None:
    with pytest.raises(ClusterConfigError) as caught:
        make(url)
    assert "geheim" not in str(caught.value)


def test_numbers_may_be_digits_and_paths_paths() -> None:
    hosts: dict[int, Any] = {0: {"port": "7", "db": "2"}, 1: {"unix_socket_path": Path("/run/redis")}}
    cluster = Cluster(hosts)
    assert [host.address for host in cluster.hosts.values()] == ["localhost:7/2", "/run/redis/0"]


# ---- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ({0: {"prot": 1, "port": 1}}, r"Host 0 has unknown options: prot\. There are: db, host, .*port"),
        ({0: {"max_connections": 1}}, "Host 0 has unknown options: max_connections"),
        ({"0": {}}, "The host id '0' is a str.*write an integer"),
        ({None: {}}, "The host id None is a NoneType"),
        ({True: {}}, "The host id True is a bool"),
        ({1.0: {}}, r"The host id 1\.0 is a float"),
        ([{"host_id": "a"}], "The host id 'a' is a str"),
        ([{"port": 1}], "no 'host_id'"),
        ([1], "no 'host_id'"),
        ([{"host_id": 0}, {"host_id": 1}, {"host_id": 0}], "two hosts with the id 0"),
        ({0: 6379}, "Host 0 is a int, not a dict"),
        ({0: "redis://server"}, "Host 0 is a str, not a dict"),
        ("redis://server", "hosts is a str"),
        (None, "hosts is a NoneType"),
        (5, "hosts is a int"),
        ({0: {"ssl": True, "unix_socket_path": "/path"}}, "Host 0 has ssl and unix_socket_path"),
        ({0: {"url": "unix:///path", "ssl": True}}, "Host 0 has ssl and unix_socket_path"),
        ({0: {"url": "redis://server", "host": "other"}}, "Host 0 has a url and an address"),
        ({0: {"url": "redis://server", "port": 1}}, "Host 0 has a url and an address"),
        ({0: {"host_id": 1}}, "Host 0 .*host_id"),
        ({0: {"host": ""}}, "Host 0 has the host ''. Write a string"),
        ({0: {"host": 5}}, "Host 0 has the host 5. Write a string"),
        ({0: {"host": "redis://server"}}, "Host 0 has the host 'redis://server'.* takes a URL as the url"),
        ({0: {"unix_socket_path": "unix:///path"}}, "Host 0 has the unix_socket_path 'unix:///path'"),
        ({0: {"port": 0}}, "Host 0 has the port 0. Write a number from 1 to 65535"),
        ({0: {"port": "x"}}, "Host 0 has the port 'x'"),
        ({0: {"port": True}}, "Host 0 has the port True"),
        ({0: {"db": -1}}, "Host 0 has the db -1. Write a number from 0"),
        ({0: {"name": 5}}, "Host 0 has the name 5. Write a string"),
    ],
)
def test_wrong_hosts_are_named(hosts: Any, message: str) -> None:
    with pytest.raises(ClusterConfigError, match=message):
        Cluster(hosts)


def test_wrong_defaults_are_named() -> None:
    with pytest.raises(ClusterConfigError, match="unknown options: prot"):
        Cluster({0: {}}, host_defaults={"prot": 1})


def test_tls_by_default_over_a_unix_socket_is_named() -> None:
    with pytest.raises(ClusterConfigError, match="Host 1 has ssl and unix_socket_path"):
        Cluster({0: {}, 1: {"unix_socket_path": "/path"}}, host_defaults={"ssl": True})


def test_errors_of_configuration_are_value_errors() -> None:
    assert issubclass(ClusterConfigError, ValueError)
    assert issubclass(ClusterConfigError, redis.RedisError)
    assert issubclass(BadHostSetup, ClusterConfigError)


def test_an_id_that_is_taken_is_named(cluster: Cluster) -> None:
    with pytest.raises(ClusterConfigError, match="two hosts with the id 0"):
        cluster.add_host(0, port=1)
    with pytest.raises(ClusterConfigError, match="unknown options: prot"):
        cluster.add_host(9, prot=1)
    assert list(cluster.hosts) == [0, 1, 2, 3]


@pytest.mark.parametrize("host_id", [7, -1, "0", None])
def test_a_host_that_is_not_there_is_named(cluster: Cluster, host_id: Any) -> None:
    for method in (cluster.get_pool_for_host, cluster.get_local_client, cluster.remove_host):
        with pytest.raises(ClusterConfigError, match=r"There is no host .*; there are 0, 1, 2, 3"):
            method(host_id)


@pytest.mark.parametrize("ids", [[1], [0, 2], [1, 2, 3], [-1, 0]])
@pytest.mark.parametrize("router_cls", [None, ConsistentHashingRouter])
def test_gaps_between_ids_are_named(ids: list[int], router_cls: Any) -> None:
    cluster = Cluster({host_id: {"port": host_id + 5} for host_id in ids}, router_cls=router_cls)
    with pytest.raises(BadHostSetup, match=rf"The host ids are {ids[0]}.*from 0 to {len(ids) - 1} without"):
        cluster.get_router()
    with pytest.raises(BadHostSetup):
        cluster.map()
    # What needs no router works nevertheless.
    cluster.get_local_client(ids[0])


def test_no_hosts_at_all_are_named() -> None:
    with pytest.raises(BadHostSetup, match="no hosts"):
        Cluster({}).get_router()


def test_unknown_options_of_the_pools_are_named(servers: TestSetup) -> None:
    cluster = Cluster({0: servers.host(0)}, pool_options={"nonsense": 1})
    with pytest.raises(ClusterConfigError, match=r"pool_options.*nonsense"):
        cluster.get_routing_client().get("a")
    with pytest.raises(ClusterConfigError, match="nonsense"), cluster.map() as client:
        client.get("a")


def test_unknown_options_of_a_url_are_named() -> None:
    cluster = Cluster({0: {"url": "redis://server?nonsense=1"}})
    with pytest.raises(ClusterConfigError, match=r"host 0 \(server:6379/0\).*nonsense"):
        cluster.get_pool_for_host(0)


def test_unknown_options_of_the_router_are_named() -> None:
    cluster = Cluster({0: {}}, router_options={"weights": {0: 1}})
    with pytest.raises(ClusterConfigError, match=r"weights, which PartitionRouter .* takes: hash_tags"):
        cluster.get_router()


@pytest.mark.parametrize("name", ["host_defaults", "pool_options", "router_options"])
def test_options_that_are_no_dict(name: str) -> None:
    with pytest.raises(ClusterConfigError, match=f"{name} is a int. Write a dict."):
        Cluster({0: {}}, **{name: 5})  # type: ignore[arg-type]
