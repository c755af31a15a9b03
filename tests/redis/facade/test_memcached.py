"""memcached behind `create_cluster`, on real servers."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pindb.hashing import Ketama, partition
from pindb.redis import (
    Call,
    ClusterConfigError,
    CommandError,
    HostConnectionError,
    HostListExhausted,
    HostTimeoutError,
    MaxRetriesExceededError,
    RoutedCluster,
    UnroutableCommand,
    create_cluster,
)
from pindb.testing.processes import ServerFolder, Servers, wait_for
from tests.processes import end_of, start_child
from tests.redis.tools import Clock, Create, Proxy, created, down, keys_of
from tests.threads import in_threads

pytest.importorskip("pymemcache")

from pymemcache.exceptions import MemcacheClientError, MemcacheIllegalInputError, MemcacheServerError

from pindb.redis.backends.memcached import Memcached
from tests.processes import output_of

NUMBER = 3
# Longer than anything takes on the slowest machine.
PATIENCE = 10.0
# How long a server that hangs is waited for.
BRIEF = 0.05


class MemcachedServers(Servers):
    """memcached servers on Unix sockets, numbered from 0."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._open(ServerFolder("pindb-memcached-"))

    def __enter__(self) -> MemcachedServers:
        return self

    def _start_all(self) -> None:
        for server in range(NUMBER):
            self._launch(server)
        for server in range(NUMBER):
            self._wait(server)

    def path(self, server: int) -> str:
        return str(self._running_folder().path / f"{server}.sock")

    def ask(self, server: int, command: bytes, end: bytes = b"\r\n") -> bytes:
        """The answer to a command."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(self.path(server))
            connection.sendall(command + b"\r\n")
            answer = b""
            while not answer.endswith(end):
                more = connection.recv(1 << 16)
                assert more, answer
                answer += more
            return answer

    def stat(self, server: int, name: str) -> int:
        """A figure of a server's."""
        lines = self.ask(server, b"stats", b"END\r\n").decode().split("\r\n")
        return int(next(line.split()[2] for line in lines if line.split()[1:2] == [name]))

    def kill(self, server: int) -> None:
        self._running_folder().stop(str(server), signal.SIGKILL)

    def start(self, server: int) -> None:
        self._launch(server)
        self._wait(server)

    def pause(self, server: int) -> None:
        self._running_folder().signal(str(server), signal.SIGSTOP)

    def reset(self) -> None:
        """Let all servers run, without a key or a count."""
        folder = self._running_folder()
        for server in range(NUMBER):
            folder.signal(str(server), signal.SIGCONT)
            if not folder.is_running(str(server)):
                self.start(server)
            self.ask(server, b"flush_all")
            self.ask(server, b"stats reset")

    def _launch(self, server: int) -> None:
        command = [self._program, "-s", self.path(server), "-a", "0700", "-t", "1", "-m", "8"]
        self._running_folder().start(str(server), command)

    def _wait(self, server: int) -> None:
        def answers() -> bool:
            with contextlib.suppress(OSError):
                return self.ask(server, b"version").startswith(b"VERSION")
            return False

        wait_for(answers, f"memcached {server} to answer", 20)


@pytest.fixture(scope="module")
def memcacheds() -> Iterator[MemcachedServers]:
    """Servers that all run, and are empty, as a test begins."""
    program = shutil.which("memcached")
    if program is None:
        pytest.skip('needs the program "memcached", of your system\'s package of that name')
    with MemcachedServers(program) as servers:
        yield servers


@pytest.fixture(autouse=True)
def clean_servers() -> None:
    """Leaves the Redis servers alone, which nothing here needs."""


@pytest.fixture
def create(memcacheds: MemcachedServers) -> Iterator[Create]:
    """Makes clusters whose connections are closed at the end; without hosts, of all servers."""
    hosts = {server: {"unix_socket_path": memcacheds.path(server)} for server in range(NUMBER)}
    memcacheds.reset()
    with created(hosts, backend="memcached") as make:
        yield make


def key_on(cluster: RoutedCluster, host_id: int) -> str:
    """A key that a cluster has on one host."""
    return keys_of(cluster.router, host_id, 1)[0]


# ---- routing -------------------------------------------------------------------------------------


def test_keys_are_spread_over_the_servers(partitioned: RoutedCluster) -> None:
    names = [f"name:{i}" for i in range(30)]
    for name in names:
        assert partitioned.set(name, name) is True
    assert [partitioned.get(name) for name in names] == [name.encode() for name in names]
    for host_id in partitioned:
        found = partitioned[host_id].get_many(names)
        assert list(found) == [name for name in names if partition(name, NUMBER) == host_id]


def test_methods_return_what_pymemcache_makes_of_the_replies(partitioned: RoutedCluster) -> None:
    assert partitioned.get("nothing") is None
    assert partitioned.get("nothing", "default") == "default"
    assert partitioned.add("n", "1") is True
    assert partitioned.add("n", "1") is False
    assert partitioned.incr("n", 5) == 6
    value, version = partitioned.gets(key="n")
    assert (value, partitioned.cas("n", "7", version), partitioned.cas("n", "8", version)) == (
        b"6",
        True,
        False,
    )
    assert partitioned.delete("n") is True
    assert partitioned.delete("n") is False


def test_what_has_no_key_goes_to_every_server(partitioned: RoutedCluster) -> None:
    for host_id in partitioned:
        partitioned.set(key_on(partitioned, host_id), "value")
    versions = partitioned.version()
    assert len(versions) == NUMBER
    assert len(set(versions)) == 1
    assert [stats[b"curr_items"] for stats in partitioned.stats()] == [1] * NUMBER
    assert partitioned.flush_all() == [True] * NUMBER
    assert [stats[b"cmd_flush"] for stats in partitioned.stats()] == [1] * NUMBER


@pytest.mark.parametrize("router", ["partition", "consistent"])
@pytest.mark.parametrize(
    ("method", "argument"), [("get_many", ["a", "b"]), ("set_many", {"a": 1}), ("delete_many", ["a"])]
)
def test_what_takes_several_keys_is_refused(create: Create, router: str, method: str, argument: Any) -> None:
    cluster = create(router)
    with pytest.raises(UnroutableCommand, match=f"first argument of {method} is .* not a key .* Use a map"):
        getattr(cluster, method)(argument)
    with cluster.map() as mapping, pytest.raises(UnroutableCommand, match=f"first argument of {method}"):
        getattr(mapping, method)(argument)


def test_without_a_router_every_server_has_every_key(create: Create) -> None:
    cluster = create()
    assert cluster.set("key", "value") == [True] * NUMBER
    assert cluster.get("key") == [b"value"] * NUMBER
    assert cluster.get_many(["key", "nothing"]) == [{"key": b"value"}] * NUMBER
    assert [connection.get("key") for connection in cluster.get_conn("key")] == [b"value"] * NUMBER


def test_commands_go_to_the_servers_in_turn(create: Create, memcacheds: MemcachedServers) -> None:
    cluster = create("round_robin")
    for _ in range(4 * NUMBER):
        cluster.get("key")
    assert [memcacheds.stat(server, "cmd_get") for server in range(NUMBER)] == [4] * NUMBER


def test_a_ring_goes_by_the_names_of_the_hosts(create: Create) -> None:
    names = [f"name:{i}" for i in range(100)]
    hosts = [{"host": "10.0.0.1"}, {"host": "10.0.0.2", "port": 5}, {"unix_socket_path": "/run/m"}]
    cluster = create("consistent", hosts)
    called = ["memcached://10.0.0.1:11211", "memcached://10.0.0.2:5", "memcached:///run/m"]
    assert [host.identifier for host in cluster.hosts.values()] == called
    ring = Ketama(called, steady=True)
    places = [called.index(str(ring.get_node(name))) for name in names]
    assert [cluster.router.get_host_for_key(name) for name in names] == places
    # Another server in the place of one, with its name and so its keys.
    moved = create("consistent", [hosts[0], {"host": "10.0.0.9", "identifier": called[1]}, hosts[2]])
    assert [moved.router.get_host_for_key(name) for name in names] == places


def test_a_connection_is_there_for_a_key_or_by_number(partitioned: RoutedCluster) -> None:
    key = key_on(partitioned, 2)
    assert partitioned.get_conn(key) is partitioned[2]
    partitioned[2].set(key, "value")
    assert partitioned.get(key) == b"value"
    assert str(partitioned[2]).startswith("host 2 (memcached:///")
    with pytest.raises(AttributeError, match="lpush"):
        partitioned.lpush(key, "value")


# ---- maps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [None, 1, 2, 50])
def test_the_results_of_a_map_are_those_of_its_calls(partitioned: RoutedCluster, workers: int | None) -> None:
    names = [f"name:{i}" for i in range(30)]
    with partitioned.map(workers=workers) as mapping:
        stored = [mapping.set(name, name) for name in names]
        found = [mapping.get(name) for name in names]
        versions = mapping.version()
    assert stored == [True] * 30
    assert found == [name.encode() for name in names]
    assert len(versions) == NUMBER
    assert mapping.get_errors() == []


def test_the_calls_of_a_map_run_in_their_order_on_each_server(partitioned: RoutedCluster) -> None:
    with partitioned.map() as mapping:
        mapping.set("n", "0")
        counted = [mapping.incr("n", 1) for _ in range(20)]
        mapping.delete("n")
        gone = mapping.get("n")
    assert counted == list(range(1, 21))
    assert gone == None  # noqa: E711 (a result is never None itself)


def test_a_map_raises_its_errors_together_after_all_calls(partitioned: RoutedCluster) -> None:
    mapping = partitioned.map()
    mapping.set("text", "x")
    mapping.incr("text", 1)
    mapping.set("big", "x" * 3_000_000)
    last = mapping.set("last", "x")
    with pytest.raises(CommandError, match=r"^incr 'text': MemcacheClientError: .*\(and 1 more") as caught:
        mapping.join()
    (first, is_text), (second, too_big) = caught.value.errors
    assert (first, second.name) == (Call("incr", ("text", 1), {}), "set")
    assert isinstance(is_text, MemcacheClientError)
    assert isinstance(too_big, MemcacheServerError)
    assert last == True  # noqa: E712 (a result is never True itself)


def test_a_map_may_keep_its_errors_to_itself(partitioned: RoutedCluster) -> None:
    with partitioned.map(fail_silently=True) as mapping:
        mapping.set("text", "x")
        failed = mapping.incr("text", 1)
        value = mapping.get("text")
    assert isinstance(failed, MemcacheClientError)
    assert value == b"x"
    assert mapping.get_errors() == [(Call("incr", ("text", 1), {}), failed)]


# ---- servers that are down -----------------------------------------------------------------------


@pytest.mark.parametrize("connected", [True, False])
def test_a_server_that_is_down_is_an_error_with_its_address(
    partitioned: RoutedCluster, memcacheds: MemcachedServers, connected: bool
) -> None:
    if connected:
        partitioned.version()
    memcacheds.kill(1)
    with pytest.raises(HostConnectionError, match=r"host 1 \(memcached:///.*1\.sock\): .*refused") as caught:
        partitioned.get(key_on(partitioned, 1))
    assert not caught.value.sent
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert partitioned.get(key_on(partitioned, 0)) is None
    memcacheds.start(1)
    assert partitioned.get(key_on(partitioned, 1)) is None


@pytest.mark.parametrize("connected", [True, False])
def test_others_serve_for_a_server_that_is_down(
    create: Create, memcacheds: MemcachedServers, clock: Clock, connected: bool
) -> None:
    cluster = create("round_robin", router_options={"retry_timeout": 30})
    if connected:
        for _ in cluster:
            cluster.get("key")
    memcacheds.kill(1)
    for number in range(10):
        assert cluster.set(f"key:{number}", "value") is True
    assert down(cluster) == [1]
    memcacheds.start(1)
    cluster.get("key")
    assert (down(cluster), memcacheds.stat(1, "cmd_get")) == ([1], 0)
    clock.now += 30
    for _ in cluster:
        cluster.get("key")
    assert (down(cluster), memcacheds.stat(1, "cmd_get")) == ([], 1)


def test_keys_move_on_the_ring_and_come_home(
    create: Create, memcacheds: MemcachedServers, clock: Clock
) -> None:
    cluster = create("consistent", router_options={"retry_timeout": 30})
    key, others = key_on(cluster, 1), [key_on(cluster, 0), key_on(cluster, 2)]
    for name in (key, *others):
        cluster.set(name, "before")
    memcacheds.kill(1)
    assert cluster.get(key) is None
    assert cluster.set(key, "moved") is True
    assert cluster.get(key) == b"moved"
    assert [cluster.get(name) for name in others] == [b"before"] * 2
    assert down(cluster) == [1]
    memcacheds.start(1)
    clock.now += 30
    assert cluster.get(key) is None
    assert down(cluster) == []


def test_a_map_goes_on_with_the_servers_that_are_there(create: Create, memcacheds: MemcachedServers) -> None:
    cluster = create("consistent")
    memcacheds.kill(1)
    names = [f"name:{i}" for i in range(30)]
    with cluster.map() as mapping:
        stored = [mapping.set(name, name) for name in names]
    assert stored == [True] * 30
    assert down(cluster) == [1]
    assert [cluster.get(name) for name in names] == [name.encode() for name in names]


def test_all_servers_are_down(create: Create, memcacheds: MemcachedServers) -> None:
    cluster = create("round_robin")
    impatient = create("round_robin", max_connection_retries=1)
    for server in range(NUMBER):
        memcacheds.kill(server)
    with pytest.raises(HostListExhausted, match="All 3 hosts refused connections"):
        cluster.get("key")
    with pytest.raises(MaxRetriesExceededError, match=r"after 1 retries .* host 1 \(memcached:"):
        impatient.get("key")


def test_a_server_that_was_restarted_in_between_costs_nothing(
    partitioned: RoutedCluster, memcacheds: MemcachedServers
) -> None:
    key = key_on(partitioned, 1)
    partitioned.set(key, "before")
    memcacheds.kill(1)
    memcacheds.start(1)
    assert partitioned.set(key, "after") is True
    assert partitioned.get(key) == b"after"


def test_an_error_reply_does_not_take_a_server_for_one_that_is_down(
    create: Create, memcacheds: MemcachedServers
) -> None:
    cluster = create("round_robin")
    for _ in cluster:
        with pytest.raises(MemcacheServerError, match="too large"):
            cluster.set("key", "x" * 3_000_000)
        with pytest.raises(MemcacheIllegalInputError, match="whitespace"):
            cluster.get("a key")
    assert down(cluster) == []
    assert [memcacheds.stat(server, "curr_items") for server in range(NUMBER)] == [0] * NUMBER


# ---- connections that break ----------------------------------------------------------------------


@pytest.mark.parametrize("router", ["round_robin", "consistent"])
def test_what_may_have_run_is_not_repeated(create: Create, memcacheds: MemcachedServers, router: str) -> None:
    with Proxy(memcacheds.path(0), back=lambda data: None) as proxy:
        cluster = create(
            router,
            [proxy.host, {"unix_socket_path": memcacheds.path(1)}],
            router_options={"retry_timeout": 1000},
        )
        key = "key" if router == "round_robin" else key_on(cluster, 0)
        with pytest.raises(
            HostConnectionError, match=r"host 0 \(memcached://127\.0\.0\.1:\d+\): \w+"
        ) as caught:
            cluster.set(key, "value")
        assert caught.value.sent
        assert (proxy.accepted, down(cluster)) == (1, [])
    assert [memcacheds.stat(server, "cmd_set") for server in (0, 1)] == [1, 0]


def test_a_server_that_hangs_is_waited_for_as_long_as_the_settings_say(
    create: Create, memcacheds: MemcachedServers
) -> None:
    cluster = create("round_robin", defaults={"timeout": BRIEF, "connect_timeout": PATIENCE})
    cluster.get("key")
    memcacheds.pause(1)
    with pytest.raises(HostTimeoutError, match=r"host 1 \(memcached://.*timed out") as caught:
        cluster.get("key")
    assert caught.value.sent
    assert down(cluster) == []


class Sockets:
    """Stands in for the module `socket`.

    Arguments:
        addresses: what every name stands for.
        late: whether connections take too long.

    Attributes:
        timeouts: what each connection was to wait while connecting.
    """

    def __init__(self, addresses: list[tuple[str, int]], late: bool = False) -> None:
        self._addresses = addresses
        self._late = late
        self.timeouts: list[float | None] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def getaddrinfo(self, *args: Any) -> list[Any]:
        return [info for address in self._addresses for info in socket.getaddrinfo(*address, *args[2:])]

    def socket(self, *args: Any) -> socket.socket:
        outer = self

        class Socket(socket.socket):
            def connect(self, address: Any) -> None:
                outer.timeouts.append(self.gettimeout())
                if outer._late:
                    raise TimeoutError("timed out")
                super().connect(address)

        return Socket(*args)


def test_a_host_that_lets_nobody_in_is_one_that_is_down(create: Create, memcacheds: MemcachedServers) -> None:
    late = {
        "host": "127.0.0.1",
        "socket_module": Sockets([("127.0.0.1", 1)], late=True),
        "connect_timeout": 3,
    }
    cluster = create("round_robin", [late, {"unix_socket_path": memcacheds.path(1)}])
    assert cluster.set("key", "value") is True
    assert down(cluster) == [0]
    with pytest.raises(
        HostTimeoutError, match=r"host 0 \(memcached://127.0.0.1:11211\): timed out"
    ) as caught:
        create("partition", [late]).get("key")
    assert not caught.value.sent


@pytest.mark.parametrize(
    ("options", "wait"),
    [
        ({}, 5),
        ({"timeout": None}, None),
        ({"timeout": 2}, 2),
        ({"connect_timeout": 3}, 3),
        ({"timeout": 2, "connect_timeout": 3}, 3),
    ],
)
def test_connecting_may_take_as_long_as_a_reply_unless_it_is_said(
    create: Create, options: Any, wait: float | None
) -> None:
    sockets = Sockets([("127.0.0.1", 1)], late=True)
    cluster = create("partition", [{"socket_module": sockets, **options}])
    with pytest.raises(HostTimeoutError):
        cluster.get("key")
    assert sockets.timeouts == [wait]


def test_all_addresses_of_a_name_are_tried(create: Create, memcacheds: MemcachedServers) -> None:
    with Proxy(memcacheds.path(0)) as proxy, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        refusing = silent.getsockname()
        sockets = Sockets([refusing, ("127.0.0.1", proxy.port), refusing])
        cluster = create("partition", [{"host": "cache.example", "socket_module": sockets}])
        assert cluster.set("key", "value") is True
        assert cluster.get("key") == b"value"
        assert proxy.accepted == 1
        cluster.disconnect()
        nobody = create("partition", [{"socket_module": Sockets([refusing, refusing])}])
        with pytest.raises(HostConnectionError, match=r"host 0 \(memcached://localhost:11211\): .*refused"):
            nobody.get("key")


def test_a_name_that_nobody_knows_is_a_host_that_is_down(create: Create) -> None:
    with pytest.raises(HostConnectionError, match=r"host 0 \(memcached://nosuch\.invalid:11211\)") as caught:
        create("partition", [{"host": "nosuch.invalid"}]).get("key")
    assert not caught.value.sent


# ---- threads, processes and connections ----------------------------------------------------------


def test_threads_use_connections_of_their_own(partitioned: RoutedCluster) -> None:
    def work(number: int) -> None:
        for i in range(50):
            own = f"thread:{number}:{i}"
            with partitioned.map() as mapping:
                mapping.set(own, own)
                value = mapping.get(own)
            assert value == partitioned.get(own) == own.encode()

    in_threads(8, work)


def test_forked_processes_use_connections_of_their_own(
    partitioned: RoutedCluster, memcacheds: MemcachedServers
) -> None:
    partitioned.version()
    key = key_on(partitioned, 0)
    before = memcacheds.stat(0, "total_connections")

    def work(number: int) -> None:
        for i in range(50):
            own = f"process:{number}:{i}"
            partitioned.set(own, own)
            assert partitioned.get(own) == own.encode()
        partitioned.get(key)

    # As if a thread was making a client at that moment.
    with partitioned.hosts[1]._connect_lock.get():
        pids = [start_child(partial(work, number), int(PATIENCE)) for number in range(2)]
    work(2)
    assert [end_of(pid) for pid in pids] == [0] * 2
    # One for each process, and one for the question.
    assert memcacheds.stat(0, "total_connections") == before + 3


def test_disconnecting_closes_every_connection(
    partitioned: RoutedCluster, memcacheds: MemcachedServers
) -> None:
    alone = memcacheds.stat(0, "curr_connections")
    for _ in range(2):
        partitioned.version()
        assert memcacheds.stat(0, "curr_connections") == alone + 1
        partitioned.disconnect()
        wait_for(lambda: memcacheds.stat(0, "curr_connections") == alone, "the connection's end", PATIENCE)


# ---- options -------------------------------------------------------------------------------------


class Json:
    """A serializer."""

    def serialize(self, key: Any, value: Any) -> tuple[str, int]:
        return json.dumps(value), 1

    def deserialize(self, key: Any, value: bytes, flags: int) -> Any:
        return json.loads(value)


def test_hosts_take_the_options_of_pymemcache(create: Create, memcacheds: MemcachedServers) -> None:
    host = {"unix_socket_path": memcacheds.path(0), "key_prefix": b"site:", "encoding": "utf-8"}
    cluster = create("partition", [host], defaults={"allow_unicode_keys": True, "serde": Json()})
    cluster.set("schlüssel", {"wert": "ä"})
    assert cluster.get("schlüssel") == {"wert": "ä"}
    assert memcacheds.ask(0, "get site:schlüssel".encode(), b"END\r\n").startswith(b"VALUE site:schl")


def test_values_are_written_in_the_encoding_of_the_host(create: Create, memcacheds: MemcachedServers) -> None:
    cluster = create("partition", [{"unix_socket_path": memcacheds.path(0), "encoding": "latin-1"}])
    cluster.set("key", "ä")
    assert cluster.get("key") == b"\xe4"


def test_pools_may_have_a_size(create: Create, memcacheds: MemcachedServers) -> None:
    cluster = create("partition", [{"unix_socket_path": memcacheds.path(0), "max_pool_size": 1}])
    with cluster[0].client_pool.get_and_release(), pytest.raises(RuntimeError, match="Too many objects"):
        cluster.get("key")
    assert cluster.get("key") is None


def test_replies_are_waited_for_unless_it_is_said(create: Create) -> None:
    text = "x" * 3_000_000
    with pytest.raises(MemcacheServerError):
        create("partition").set("key", text)
    assert create("partition", defaults={"default_noreply": True}).set("key", text) is True


def test_a_socket_s_path_may_be_relative(
    create: Create, memcacheds: MemcachedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(memcacheds.path(0))
    monkeypatch.chdir(path.parent)
    assert create("partition", [{"unix_socket_path": path.name}]).get("key") is None


@pytest.mark.parametrize(
    ("host", "messages"),
    [
        (
            {"hots": "x"},
            ["Host 0 has unknown options: hots", "connect_timeout", "key_prefix", "max_pool_size"],
        ),
        ({"ignore_exc": True}, ["unknown options: ignore_exc"]),
        ({"server": "x"}, ["unknown options: server"]),
        ({"password": "secret"}, ["unknown options: password"]),
        ({"timeout": 0}, ["Host 0 has the timeout 0", "above 0"]),
        ({"timeout": True}, ["Host 0 has the timeout True"]),
        ({"connect_timeout": "1"}, ["Host 0 has the connect_timeout '1'"]),
        ({"port": "11211"}, ["Host 0 has the port '11211'", "1 to 65535"]),
        ({"port": 0}, ["Host 0 has the port 0"]),
        ({"host": ""}, ["Host 0 has the host ''"]),
        ({"unix_socket_path": 5}, ["Host 0 has the unix_socket_path 5"]),
        ({"key_prefix": 5}, ["Host 0 has invalid options", "key_prefix should be bytes"]),
        ({"max_pool_size": -1}, ["Host 0 has invalid options", "max_size"]),
        ({"socket_keepalive": 5}, ["Host 0 has invalid options"]),
        ("localhost:11211", ["Host 0 is 'localhost:11211'", "Write a dict"]),
    ],
)
def test_what_is_wrong_with_a_host_is_said_at_once(host: Any, messages: list[str]) -> None:
    with pytest.raises(ClusterConfigError) as caught:
        create_cluster({"backend": "memcached", "hosts": [host]})
    assert [message for message in messages if message not in str(caught.value)] == []
    assert "secret" not in str(caught.value)


def test_the_backend_may_be_derived_from(create: Create, memcacheds: MemcachedServers) -> None:
    class Shouting(Memcached):
        def call(self, path: str, args: Any, kwargs: Any) -> Any:
            return super().call(path.lower(), args, kwargs)

    cluster = create_cluster({"backend": Shouting, "hosts": [{"unix_socket_path": memcacheds.path(0)}]})
    assert cluster.GET("key") is None
    cluster.disconnect()


def test_without_pymemcache_it_is_said_what_to_install() -> None:
    code = """
import sys
sys.modules["pymemcache"] = None
from pindb.redis import create_cluster
try:
    create_cluster({"backend": "memcached", "hosts": [{}]})
except ImportError as error:
    print(error)
"""
    assert 'pip install "django-pindb[memcached]"' in output_of("-c", code)
