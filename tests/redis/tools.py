"""What several tests of `pindb.redis` need."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from types import TracebackType
from typing import Any

import redis.utils
from redis import BlockingConnectionPool

from pindb.redis import BaseRouter, Cluster, MappingClient, Promise, RoutedCluster, create_cluster
from pindb.testing.redis import RedisClusterSetup, TestSetup
from tests.processes import run_python

# redis-py reads the metadata of its package for each connection, which takes longer than all else that a
# connection needs; tests make some hundred thousand of them.
redis.utils.get_lib_version = functools.cache(redis.utils.get_lib_version)


#: What the fixtures `create` and `make_cluster` are.
Create = Callable[..., RoutedCluster]
Make = Callable[..., Cluster]


class FourNodes(RedisClusterSetup):
    """A Redis Cluster of masters, with the methods of four plain servers.

    A cluster that is made of `start_up_nodes` has hosts with the servers' numbers.
    """

    servers = 4
    databases_each = 1

    def __init__(self) -> None:
        # What happens to one server is nothing to the others.
        super().__init__(self.servers, 0, configuration={"cluster-require-full-coverage": "no"})

    @property
    def hosts(self) -> dict[int, dict[str, Any]]:
        return {server: self.host(server) for server in range(self.servers)}

    def host(self, server: int, db: int = 0) -> dict[str, Any]:
        return super().host(server)

    def make_cluster(self, **options: Any) -> Cluster:
        if options.get("router_options") == {"hash_tags": True}:
            # As always, here.
            del options["router_options"]
        return Cluster.from_redis_cluster(self.start_up_nodes, **options)

    def client(self, server: int, db: int = 0, **options: Any) -> redis.Redis:
        return super().client(server, **options)


#: Servers of either kind.
Servers = TestSetup | FourNodes


@contextlib.contextmanager
def created(hosts: Any, **defaults: Any) -> Iterator[Create]:
    """A function that makes clusters by settings, whose connections are closed at the end.

    Arguments:
        hosts: the hosts of clusters that are made without.
        defaults: settings of all.
    """
    made: list[RoutedCluster] = []

    def make(router: Any = None, its_hosts: Any = None, **settings: Any) -> RoutedCluster:
        its_hosts = hosts if its_hosts is None else its_hosts
        if router == "partition" and defaults.get("engine") == "redis-cluster":
            # What spreads the keys over the hosts there.
            router = None
        made.append(create_cluster({"router": router, "hosts": its_hosts, **defaults, **settings}))
        return made[-1]

    yield make
    for cluster in made:
        cluster.disconnect()


def keys_on(cluster: Cluster, host_id: int, number: int, prefix: str = "key") -> list[str]:
    """Keys that lie on one host."""
    return keys_of(cluster.get_router(), host_id, number, prefix)


def keys_of(router: BaseRouter, host_id: int, number: int, prefix: str = "key") -> list[str]:
    """Keys that a router has on one host."""
    assert host_id in router.cluster.hosts, host_id
    names = (f"{prefix}:{i}" for i in count())
    return [next(name for name in names if router.get_host_for_key(name) == host_id) for _ in range(number)]


def one_each(cluster: Cluster | RoutedCluster) -> list[str]:
    """A key on each host."""
    router = cluster.get_router() if isinstance(cluster, Cluster) else cluster.router
    return [keys_of(router, host_id, 1)[0] for host_id in cluster.hosts]


def everywhere(cluster: Cluster, **options: Any) -> tuple[MappingClient, list[Promise]]:
    """A client with a command for each host, and their promises."""
    client = cluster.get_routing_client().get_mapping_client(**options)
    return client, [client.incr(key) for key in one_each(cluster)]


def down(cluster: RoutedCluster) -> list[int]:
    """The hosts that the router passes over."""
    return list(cluster.router.down_connections)


def values_of(promises: Sequence[Promise]) -> list[Any]:
    """The values of promises; the type of the reason where one is rejected."""
    return [promise.value if promise.is_resolved else type(promise.reason) for promise in promises]


def in_use(cluster: Cluster, patience: float = 0) -> int:
    """How many connections are out of their pools, after so many seconds at most.

    Those that are given up while they are being made come back when that has come to its end.
    """
    end = time.monotonic() + patience
    while True:
        number = sum(_in_use(cluster.get_pool_for_host(host_id)) for host_id in cluster.hosts)
        if not number or time.monotonic() > end:
            return number
        time.sleep(0.005)


def _in_use(pool: Any) -> int:
    # A pool that blocks has a place in a queue for each connection that is not.
    is_blocking = isinstance(pool, BlockingConnectionPool)
    number: int = pool.max_connections - pool.pool.qsize() if is_blocking else len(pool._in_use_connections)
    return number


def restore(servers: Servers) -> None:
    """Let all servers run, with nothing on them, whatever a test did to them."""
    for server in range(servers.servers):
        servers.resume(server)
        if not servers.is_running(server):
            servers.start(server)
    if isinstance(servers, FourNodes):
        servers.wait_until_ok()
    servers.flush()


def forget_calls(servers: Servers) -> None:
    """Let `calls_on` count from now on."""
    for server in filter(servers.is_running, range(servers.servers)):
        with servers.client(server) as client:
            client.config_resetstat()


def calls_on(servers: Servers, server: int, *commands: str) -> list[int]:
    """How often each of the commands has run on a server since `forget_calls`."""
    with servers.client(server) as client:
        stats = client.info("commandstats")
    return [stats.get(f"cmdstat_{command}", {"calls": 0})["calls"] for command in commands]


def held(cluster: Cluster) -> list[int]:
    """How many connections of each host are in use, when threads that connect have had time to end."""
    pools = [cluster.get_pool_for_host(host_id) for host_id in cluster.hosts]
    until = time.monotonic() + 5
    while any(len(pool._in_use_connections) for pool in pools) and time.monotonic() < until:
        time.sleep(0.005)
    return [len(pool._in_use_connections) for pool in pools]


class Clock:
    """Stands in for the module `time`.

    Attributes:
        now: the time.
        looks: how often somebody looked.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        return self.now


class Proxy:
    """Stands between a client and a server's Unix socket, on a port of 127.0.0.1.

    Arguments:
        path: the server's socket.
        forward: given what the client sent, what the server gets. None closes both connections, and so does
            less than there was, once it is sent.
        back: the same for what the server sent.
        tls: speak TLS with the client.

    Attributes:
        port: the port.
        accepted: how many connections clients have made.
    """

    def __init__(
        self,
        path: str,
        forward: Callable[[bytes], bytes | None] | None = None,
        back: Callable[[bytes], bytes | None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._path = path
        self._forward = forward or (lambda data: data)
        self._back = back or (lambda data: data)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        self._start(self._accept)

    @property
    def host(self) -> dict[str, Any]:
        """What connects to it, as a host of a cluster."""
        return {"host": "127.0.0.1", "port": self.port}

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for sock in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for sock in [self._listener, *self._sockets]:
            sock.close()

    def refuse(self, also_open: bool = False) -> None:
        """Take no more connections, and close those that are open, if that is wanted."""
        for sock in [self._listener, *(self._sockets if also_open else ())]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            if self._tls is not None:
                try:
                    client = self._tls.wrap_socket(client, server_side=True)
                except OSError:
                    client.close()
                    continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._path)
            self._sockets += (client, server)
            self._start(self._pump, client, server, self._forward)
            self._start(self._pump, server, client, self._back)

    def _pump(
        self, source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes | None]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                changed = change(data)
                if changed is None:
                    break
                target.sendall(changed)
                if len(changed) < len(data):
                    break
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


#: What the environment says of trials that are drawn.
TRIALS, TRIALS_SEED = "PINDB_TRIALS", "PINDB_TRIALS_SEED"


def many_trials(number: int) -> int:
    """How many trials a test draws: so many, times ``PINDB_TRIALS`` of the environment."""
    return max(int(number * float(os.environ.get(TRIALS, "1"))), 1)


def seed_of_trials() -> int:
    """What trials are drawn from: ``PINDB_TRIALS_SEED`` of the environment, or always the same."""
    return int(os.environ.get(TRIALS_SEED, "1"))


def run_main(module: str, arguments: Sequence[Any], *, hiredis: bool) -> subprocess.CompletedProcess[str]:
    """Call `main` of a module of the tests in a process of its own.

    Arguments:
        module: the module.
        arguments: the arguments of its `main`, as what `repr` makes source of.
        hiredis: False: as if there were none. redis-py looks for it when it is imported.
    """
    without = "" if hiredis else "import sys; sys.modules['hiredis'] = None\n"
    program = f"{without}from {module} import main\nmain(*{list(arguments)!r})"
    return run_python("-X", "faulthandler", "-c", program, timeout=3600)
