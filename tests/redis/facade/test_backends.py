"""Backends of a site's own: clusters of whatever has methods."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from pindb.redis import (
    Call,
    ClusterConfigError,
    CommandCancelled,
    CommandError,
    HostConnectionError,
    HostListExhausted,
    HostTimeoutError,
    MaxRetriesExceededError,
    Result,
    ResultPending,
    RoutedCluster,
    create_cluster,
    get_value,
)
from pindb.redis.backends import BaseBackend, BaseConnection
from tests.redis.tools import Clock
from tests.threads import again_and_again, in_threads


class Store:
    """A client of a server, which is a dict.

    Attributes:
        number: the server's.
        data: what it holds.
        error: what calls raise; None: nothing.
        threads: the threads that called it.
        closed: whether it was closed.
    """

    meeting = threading.Barrier(1)

    def __init__(self, number: int, data: dict[str, Any]) -> None:
        self.number = number
        self.data = data
        self.error: Exception | None = None
        self.threads: set[int] = set()
        self.closed = False
        self.admin = SimpleNamespace(stats=SimpleNamespace(size=lambda: len(data)), name=lambda: f"s{number}")

    def _call(self) -> None:
        self.threads.add(threading.get_ident())
        if self.error is not None:
            raise self.error

    def put(self, key: str, value: Any, *, twice: bool = False) -> Any:
        self._call()
        self.data[key] = value * 2 if twice else value
        return self.data[key]

    def take(self, key: str) -> Any:
        self._call()
        return self.data[key]

    def add(self, key: str, number: int = 1) -> int:
        self._call()
        self.data[key] = self.data.get(key, 0) + number
        return int(self.data[key])

    def size(self) -> int:
        self._call()
        return len(self.data)

    def meet(self) -> int:
        self._call()
        return self.meeting.wait(10)

    def close(self) -> None:
        self.closed = True


class Memory(BaseConnection):
    """Connects to a `Store`, unless its server is down."""

    stored: ClassVar[dict[int, dict[str, Any]]] = {}
    made: ClassVar[list[Store]] = []

    def __init__(self, num: int, room: int = 10, secret: str = "", identifier: str | None = None) -> None:
        super().__init__(num, identifier)
        self.room = room
        self.secret = secret

    def connect(self) -> Store:
        if self.num not in self.stored:
            raise ConnectionRefusedError("nobody listens")
        self.made.append(Store(self.num, self.stored[self.num]))
        return self.made[-1]


@pytest.fixture(autouse=True)
def stored() -> Iterator[dict[int, dict[str, Any]]]:
    """What four servers hold; a server that is not in it is down."""
    Memory.stored.update({number: {} for number in range(4)})
    yield Memory.stored
    Memory.stored.clear()
    Memory.made.clear()


def make(router: Any = None, hosts: Any = 4, **settings: Any) -> RoutedCluster:
    hosts = [{} for _ in range(hosts)] if isinstance(hosts, int) else hosts
    return create_cluster({"backend": Memory, "router": router, "hosts": hosts, **settings})


def store(cluster: RoutedCluster, host_id: int) -> Store:
    found: Store = cluster[host_id].connection
    return found


def home_of(cluster: RoutedCluster, host_id: int) -> str:
    """A key of a host."""
    return next(key for key in map(str, range(1000)) if cluster.router.get_host_for_key(key) == host_id)


# ---- calls ---------------------------------------------------------------------------------------


def test_a_call_with_a_key_goes_to_its_host(stored: dict[int, dict[str, Any]]) -> None:
    cluster = make("partition")
    for host_id in cluster:
        key = home_of(cluster, host_id)
        assert cluster.put(key, 5, twice=True) == 10
        assert cluster.take(key) == 10
        assert cluster.take(key=key) == 10
        assert stored[host_id] == {key: 10}


def test_a_call_without_a_key_returns_a_list_in_the_order_of_the_hosts(
    stored: dict[int, dict[str, Any]],
) -> None:
    cluster = make("partition")
    stored[2]["a"] = 1
    assert cluster.size() == [0, 0, 1, 0]
    assert make("partition", 1).size() == 0


def test_without_a_router_every_call_goes_to_all() -> None:
    cluster = make()
    assert cluster.add("n") == [1] * 4
    assert cluster.add("n", number=2) == [3] * 4


def test_calls_take_turns() -> None:
    cluster = make("round_robin")
    assert [cluster.add("n") for _ in range(6)] == [1, 1, 1, 1, 2, 2]


def test_attributes_have_methods_too() -> None:
    cluster = make("partition")
    assert cluster.admin.stats.size() == [0] * 4
    assert cluster.admin.name() == ["s0", "s1", "s2", "s3"]
    with cluster.map() as conn:
        names = conn.admin.name()
    assert names == ["s0", "s1", "s2", "s3"]
    with pytest.raises(AttributeError, match="no_such"):
        cluster.no_such("k")
    with pytest.raises(AttributeError, match="no_such"):
        cluster.admin.no_such()


def test_a_host_s_connection_has_the_methods_of_its_client(stored: dict[int, dict[str, Any]]) -> None:
    cluster = make("partition")
    assert cluster[2].put("k", "v") == "v"
    assert stored[2] == {"k": "v"}
    assert isinstance(cluster[2], Memory)
    assert cluster.get_conn(home_of(cluster, 1)) is cluster[1]
    assert cluster.get_conn() == [cluster[host_id] for host_id in range(4)]
    with pytest.raises(ClusterConfigError, match="There is no host 4"):
        cluster[4]
    assert str(cluster[2]) == "host 2 (memory://2)"


def test_a_client_is_made_once_and_when_it_is_needed() -> None:
    cluster = make()
    assert Memory.made == []
    in_threads(8, lambda _: cluster.size())
    assert sorted(made.number for made in Memory.made) == [0, 1, 2, 3]
    cluster.disconnect()
    assert all(made.closed for made in Memory.made)
    assert cluster.size() == [0] * 4
    assert len(Memory.made) == 8
    cluster.disconnect()
    cluster.disconnect()


def test_clients_can_be_closed_while_other_threads_call_them() -> None:
    cluster = make()
    with again_and_again(cluster.disconnect):
        for _ in range(2000):
            assert cluster.size() == [0] * 4


# ---- maps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [None, 1])
def test_a_map_that_is_interrupted_leaves_no_result_pending(
    monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    def struck(self: Store, key: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "take", struck)
    cluster = make("partition", hosts=2)
    keys = [home_of(cluster, host_id) for host_id in cluster]
    with pytest.raises(KeyboardInterrupt), cluster.map(workers=workers) as conn:
        results = [conn.take(keys[0]), conn.add(keys[0]), conn.add(keys[1])]
    for result in results[:2]:
        with pytest.raises(CommandCancelled):
            get_value(result)


def test_a_map_makes_its_calls_at_the_end(stored: dict[int, dict[str, Any]]) -> None:
    cluster = make("partition")
    keys = [home_of(cluster, host_id) for host_id in cluster]
    with cluster.map() as conn:
        put = [conn.put(key, place) for place, key in enumerate(keys)]
        counted = [conn.add(key, number=10) for key in keys]
        sizes = conn.size()
        assert len(conn) == 9
        assert Memory.made == []
        with pytest.raises(ResultPending):
            bool(put[0])
        with pytest.raises(ResultPending):
            conn.put("k", put[0])
    assert put == [0, 1, 2, 3]
    assert counted == [10, 11, 12, 13]
    assert sizes == [1] * 4
    assert type(sizes) is Result


@pytest.mark.parametrize(("workers", "threads"), [(None, 4), (1, 1), (2, 2), (64, 4)])
def test_a_map_works_with_so_many_hosts_at_once(
    monkeypatch: pytest.MonkeyPatch, workers: int | None, threads: int
) -> None:
    monkeypatch.setattr(Store, "meeting", threading.Barrier(threads))
    with make().map(workers=workers) as conn:
        # Whoever meets waits until so many others do.
        added, met, size = conn.add("n"), conn.meet(), conn.size()
    assert (added, size) == ([1] * 4, [1] * 4)
    assert len(met) == 4
    assert len(set().union(*(made.threads for made in Memory.made))) <= threads


@pytest.mark.parametrize("workers", [0, -1, "2", 1.5, True])
def test_the_workers_are_a_number(workers: Any) -> None:
    with pytest.raises(ClusterConfigError, match=f"workers is {workers!r}"):
        make().map(workers=workers)


def test_the_errors_of_a_map_are_raised_together() -> None:
    cluster = make("partition")
    keys = [home_of(cluster, host_id) for host_id in cluster]
    with pytest.raises(CommandError) as caught, cluster.map() as conn:  # noqa: PT012
        missing = [conn.take(key) for key in keys[:2]]
        fine = conn.put(keys[0], "v")
        wrong = conn.put(keys[2], number=5)
    assert fine == "v"
    assert [call for call, _ in caught.value.errors] == [
        Call("take", (keys[0],), {}),
        Call("take", (keys[1],), {}),
        Call("put", (keys[2],), {"number": 5}),
    ]
    assert [type(error) for _, error in caught.value.errors] == [KeyError, KeyError, TypeError]
    assert isinstance(missing[0], KeyError)
    assert isinstance(wrong, TypeError)
    with cluster.map(fail_silently=True) as conn:
        failed, fine = conn.take(keys[3]), conn.take(keys[0])
    assert isinstance(failed, KeyError)
    assert fine == "v"
    assert [call.name for call, _ in conn.get_errors()] == ["take"]


def test_a_map_that_is_left_by_an_exception_calls_nothing() -> None:
    cluster = make()
    with pytest.raises(ZeroDivisionError), cluster.map() as conn:  # noqa: PT012
        counted = conn.add("n")
        raise ZeroDivisionError
    with pytest.raises(CommandCancelled):
        bool(counted)
    assert Memory.made == []
    with cluster.map() as conn:
        pass


def test_results_are_arguments_like_any_other(stored: dict[int, dict[str, Any]]) -> None:
    cluster = make("partition")
    cluster.put("where", "target")
    with cluster.map() as conn:
        key, number = conn.take("where"), conn.add("n", 5)
    with cluster.map() as conn:
        conn.put(key, number)
    assert cluster.take(key) == 5
    assert cluster.add(key, number=number) == 10
    assert cluster.get_conn(key) is cluster.get_conn("target")
    held = {type(value) for data in stored.values() for pair in data.items() for value in pair}
    assert held == {str, int}


# ---- hosts that fail -----------------------------------------------------------------------------


def test_a_host_that_refuses_is_passed_over(stored: dict[int, dict[str, Any]], clock: Clock) -> None:
    cluster = make("round_robin", router_options={"retry_timeout": 5})
    data = stored.pop(1)
    assert [cluster.add("n") for _ in range(6)] == [1, 1, 1, 2, 2, 2]
    assert list(cluster.router.down_connections) == [1]
    with cluster.map() as conn:
        counted = [conn.add("n") for _ in range(3)]
    assert counted == [3, 3, 3]
    stored[1] = data
    clock.now += 5
    assert sorted(cluster.add("n") for _ in range(4)) == [1, 4, 4, 4]
    assert cluster.router.down_connections == {}


def test_a_map_goes_around_a_host_that_refuses(stored: dict[int, dict[str, Any]], clock: Clock) -> None:
    cluster = make("consistent")
    keys = [home_of(cluster, host_id) for host_id in cluster]
    data = stored.pop(1)
    with cluster.map() as conn:
        counted = [conn.add(key) for key in keys]
    assert counted == [1] * 4
    assert list(cluster.router.down_connections) == [1]
    assert cluster.add(keys[1]) == 2
    stored[1] = data
    cluster.router.mark_connection_up(1)
    assert cluster.add(keys[1]) == 1


def test_when_all_hosts_refuse_there_is_none(stored: dict[int, dict[str, Any]], clock: Clock) -> None:
    cluster = make("round_robin")
    stored.clear()
    for _ in range(2):
        with pytest.raises(HostListExhausted, match="All 4 hosts"):
            cluster.add("n")
    with pytest.raises(CommandError) as caught, cluster.map() as conn:
        conn.add("n")
    assert [type(error) for _, error in caught.value.errors] == [HostListExhausted]


def test_a_host_that_always_refuses_is_given_up(stored: dict[int, dict[str, Any]]) -> None:
    cluster = make("round_robin", 1, router_options={"retry_timeout": 0}, max_connection_retries=3)
    stored.clear()
    with pytest.raises(
        MaxRetriesExceededError, match=r"after 3 retries.*host 0 \(memory://0\): nobody listens"
    ):
        cluster.add("n")
    with pytest.raises(CommandError, match="after 3 retries"), cluster.map() as conn:
        conn.add("n")


@pytest.mark.parametrize(("router", "retries"), [("partition", 20), (None, 20), ("round_robin", 0)])
def test_where_nothing_is_retried_no_host_is_down(
    stored: dict[int, dict[str, Any]], router: str | None, retries: int
) -> None:
    cluster = make(router, 1, max_connection_retries=retries)
    stored.clear()
    for _ in range(2):
        with pytest.raises(HostConnectionError, match=r"host 0 \(memory://0\): nobody listens") as caught:
            cluster.add("n")
        assert type(caught.value) is HostConnectionError
        assert caught.value.sent is False
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert cluster.router.down_connections == {}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError("in the middle"), HostConnectionError),
        (OSError("somewhere"), HostConnectionError),
        (TimeoutError("too late"), HostTimeoutError),
    ],
)
def test_a_call_that_may_have_been_made_is_not_made_again(error: Exception, kind: Any) -> None:
    cluster = make("round_robin", 2)
    store(cluster, 0).error = error
    with pytest.raises(kind, match="host 0 ") as caught:
        cluster.add("n")
    assert caught.value.sent is True
    assert cluster.add("n") == 1
    with pytest.raises(CommandError) as in_map, cluster.map() as conn:
        counted = [conn.add("n"), conn.add("n")]
    assert [type(error) for _, error in in_map.value.errors] == [kind]
    assert counted[1] == 2
    assert cluster.router.down_connections == {}


def test_a_client_that_was_refused_later_is_passed_over_too(clock: Clock) -> None:
    cluster = make("round_robin", 2)
    store(cluster, 0).error = ConnectionRefusedError("before anything was sent")
    assert [cluster.add("n") for _ in range(3)] == [1, 2, 3]
    assert list(cluster.router.down_connections) == [0]


def test_what_is_no_error_of_the_network_is_raised_as_it_is() -> None:
    cluster = make("round_robin", 2)
    with pytest.raises(KeyError):
        cluster.take("k")
    with pytest.raises(TypeError):
        cluster.put("k")
    assert cluster.router.down_connections == {}


class Moody(Memory):
    """Has errors of its own for its network."""

    network_errors = (LookupError,)
    refused_errors = (IndexError,)


def test_a_backend_names_the_errors_of_its_network(clock: Clock) -> None:
    cluster = create_cluster({"engine": Moody, "router": "round_robin", "hosts": [{}, {}]})
    with pytest.raises(HostConnectionError, match=r"host 0 \(moody://0\): 'k'") as caught:
        cluster.take("k")
    assert caught.value.sent is True
    # What connecting raises that is no error of the network is raised as it is.
    Memory.stored.pop(1)
    with pytest.raises(ConnectionRefusedError):
        cluster.size()
    assert cluster.router.down_connections == {}


# ---- settings ------------------------------------------------------------------------------------


def test_options_are_the_arguments_of_the_class() -> None:
    cluster = make("partition", [{"room": 1}, {}], defaults={"room": 7, "secret": "geheim"})
    assert [cluster[host_id].room for host_id in cluster] == [1, 7]
    assert [cluster[host_id].secret for host_id in cluster] == ["geheim"] * 2
    with pytest.raises(ClusterConfigError) as caught:
        make("partition", [{"rom": 1}], defaults={"secret": "geheim"})
    assert "Host 0 has unknown options: rom. There are: identifier, room, secret." in str(caught.value)
    assert "geheim" not in str(caught.value)
    with pytest.raises(ClusterConfigError, match="unknown options: pool_options"):
        make("partition", pool_options={})
    with pytest.raises(ClusterConfigError, match=r"Host 0 is 'memory://0'\. Write a dict"):
        make("partition", ["memory://0"])


class Demanding(Memory):
    def __init__(self, num: int, place: str) -> None:
        super().__init__(num)
        self.place = place


def test_options_that_are_missing_are_named() -> None:
    with pytest.raises(ClusterConfigError, match=r"Host 1 has invalid options: .*'place'"):
        create_cluster({"backend": Demanding, "hosts": [{"place": "here"}, {}]})


class Open(BaseConnection):
    def __init__(self, num: int, **options: Any) -> None:
        super().__init__(num)
        self.options = options


def test_a_class_may_take_any_options() -> None:
    cluster = create_cluster({"backend": Open, "hosts": [{"anything": 1}], "defaults": {"at": "all"}})
    assert cluster[0].options == {"at": "all", "anything": 1}
    with pytest.raises(NotImplementedError, match=r"Open must override connect\(\)"):
        cluster.call_me()


def test_hosts_have_names_on_a_ring() -> None:
    named = make("consistent", [{"identifier": name} for name in "abcd"])
    of_redis = create_cluster(
        {
            "router": "consistent",
            "hosts": [{"port": i + 1, "identifier": name} for i, name in enumerate("abcd")],
        }
    )
    keys = [f"key:{i}" for i in range(100)]
    assert named.router.get_hosts_for_keys(keys) == of_redis.router.get_hosts_for_keys(keys)
    assert [named[host_id].identifier for host_id in named] == list("abcd")
    assert [make()[host_id].identifier for host_id in range(4)] == [f"memory://{i}" for i in range(4)]
    with pytest.raises(ClusterConfigError, match="the same name on the ring, 'a'"):
        make("consistent", [{"identifier": "a"}, {"identifier": "a"}])


def test_a_backend_is_a_class_of_backends() -> None:
    class NoBackend:
        pass

    with pytest.raises(
        ClusterConfigError, match=r"does not derive from pindb\.redis\.backends\.BaseConnection"
    ):
        create_cluster({"backend": NoBackend, "hosts": [{}]})
    assert issubclass(BaseConnection, BaseBackend)
    path = "tests.redis.facade.test_backends.Memory"
    assert create_cluster({"backend": path, "hosts": [{}]}).size() == 0


def test_settings_stay_as_they_are() -> None:
    hosts, defaults = [{"room": 1}, {"host_id": 1}], {"secret": "s"}
    make("partition", hosts, defaults=defaults)
    assert hosts == [{"room": 1}, {"host_id": 1}]
    assert defaults == {"secret": "s"}
