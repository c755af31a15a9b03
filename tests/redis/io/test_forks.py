"""Processes that are forked while other threads hold locks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from pindb._circuit import CircuitBreaker
from pindb.hashing import Continuum, Ketama
from pindb.redis import Connections, ConsistentHashingRouter, PartitionRouter
from pindb.testing.redis import TestSetup
from tests.processes import end_of, start_child
from tests.redis.tools import Make, one_each
from tests.threads import again_and_again

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


class Gate:
    """Holds the one thread that goes through it, until it is opened."""

    def __init__(self) -> None:
        self.is_reached = threading.Event()
        self.opened = threading.Event()
        self.held: int | None = None

    def go_through(self) -> None:
        if threading.get_ident() == self.held:
            self.is_reached.set()
            self.opened.wait(30)

    def monotonic(self) -> float:
        """Stands in for the module `time`."""
        self.go_through()
        return time.monotonic()

    @contextmanager
    def holding(self, work: Callable[[], object]) -> Iterator[None]:
        """A thread does some work, and is on its way through the gate during the block."""

        def run() -> None:
            self.held = threading.get_ident()
            work()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert self.is_reached.wait(10)
            yield
        finally:
            self.opened.set()
            thread.join(10)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_a_router_is_free(make_cluster: Make, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pindb._circuit.time", gate)
    cluster = make_cluster(router_cls=ConsistentHashingRouter, max_connection_retries=1)
    router: Any = cluster.get_router()

    def work() -> None:
        router.mark_connection_down(1)
        assert cluster.get_routing_client().get("key") is None
        router.mark_connection_up(1)
        router.flush_down_connections()

    with gate.holding(lambda: router.mark_connection_down(0)):
        assert end_of(start_child(work)) == 0
    assert list(router.down_connections) == [0]


def test_a_circuit_is_free(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = CircuitBreaker(5)
    circuit.fail(0)
    monkeypatch.setattr("pindb._circuit.time", gate)
    with gate.holding(circuit.wait):
        assert end_of(start_child(circuit.wait)) == 0


def test_a_cluster_is_free(make_cluster: Make, gate: Gate) -> None:
    class Router(PartitionRouter):
        def __init__(self, *args: Any, **options: Any) -> None:
            gate.go_through()
            super().__init__(*args, **options)

    cluster = make_cluster(router_cls=Router)

    def work() -> None:
        assert cluster.get_routing_client().get("key") is None
        cluster.add_host(4, port=1)
        cluster.remove_host(4)
        cluster.disconnect_pools()

    with gate.holding(cluster.get_router):
        assert end_of(start_child(work)) == 0


def test_clusters_by_name_are_free(servers: TestSetup, gate: Gate) -> None:
    class Settings(dict[str, Any]):
        def __contains__(self, name: object) -> bool:
            gate.go_through()
            return super().__contains__(name)

    connections = Connections(Settings(a={"hosts": [servers.host(0)], "router": "partition"}))

    def work() -> None:
        assert connections["a"].get("key") is None
        connections.configure({})

    with gate.holding(lambda: connections["a"]):
        assert end_of(start_child(work)) == 0
    connections.disconnect()


def test_rings_are_free(gate: Gate) -> None:
    def name(node: str, number: int) -> str:
        gate.go_through()
        return f"{node}-{number}"

    ring = Ketama(["a"], point_name=name)

    def work() -> None:
        ring.add_node("c")
        assert set(map(ring.get_node, range(100))) == {"a", "c"}

    with gate.holding(lambda: ring.add_node("b")):
        assert end_of(start_child(work)) == 0


def test_continuums_are_free(gate: Gate) -> None:
    class Name(str):
        __slots__ = ()

        def __format__(self, specification: str) -> str:
            gate.go_through()
            return str.__str__(self)

    continuum = Continuum()
    with gate.holding(lambda: continuum.add_server(Name("a"), 1)):
        assert end_of(start_child(lambda: continuum.add_server("b", 1))) == 0


def test_who_forks_with_a_lock_may_release_it(make_cluster: Make) -> None:
    ended: list[int] = []
    first = iter([True])

    class Router(PartitionRouter):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            if next(first, False):
                ended.append(end_of(start_child(lambda: client.get("key"))))

    client = make_cluster(router_cls=Router).get_routing_client()
    assert client.get("key") is None
    assert ended == [0]


def test_children_of_a_busy_process_end(make_cluster: Make) -> None:
    """Threads use and mark hosts all the time while children are forked, which do the same."""
    cluster = make_cluster(
        router_cls=ConsistentHashingRouter,
        router_options={"retry_timeout": 0.001},
        max_connection_retries=4,
        retry_timeout=0.001,
    )
    router: Any = cluster.get_router()
    keys = one_each(cluster)

    def use() -> None:
        client = cluster.get_routing_client()
        assert all(client.get(key) is None for key in keys)
        with cluster.map() as mapping:
            values = [mapping.get(key) for key in keys]
        assert [promise.value for promise in values] == [None] * 4

    def mark() -> None:
        for host_id in range(3):
            router.mark_connection_down(host_id)
            router.check_down_connections()
            router.mark_connection_up(host_id)

    def work() -> None:
        for _ in range(5):
            mark()
            use()

    with ExitStack() as stack:
        for busy in (use, mark, use, mark):
            stack.enter_context(again_and_again(busy))
        statuses = [end_of(start_child(work)) for _ in range(12)]
    assert statuses == [0] * 12
