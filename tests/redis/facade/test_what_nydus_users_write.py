"""What code that was written for Nydus calls, and gets here as there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import redis

from pindb.redis import (
    BaseRouter,
    CommandCancelled,
    CommandError,
    ResultPending,
    RoundRobinRouter,
    RoutedCluster,
    UnroutableCommand,
    create_cluster,
)
from pindb.redis.backends import BaseConnection
from pindb.redis.exceptions import ClusterConfigError
from tests.redis.tools import Create


class Echo:
    """A client of a server of another kind."""

    def __init__(self, name: str) -> None:
        self.name = name

    def say(self, *words: str) -> str:
        if "nothing" in words:
            raise ValueError("Nothing to say.")
        return " ".join([self.name, *words])

    def flush_all(self) -> str:
        return f"{self.name} is empty"


class Echoing(BaseConnection):
    def __init__(self, num: int, name: str) -> None:
        super().__init__(num)
        self.client_name = name

    def connect(self) -> Echo:
        return Echo(self.client_name)

    def close(self, connection: Any) -> None:
        pass


def echoing(router: Any = None, **settings: Any) -> RoutedCluster:
    hosts = {i: {"name": f"host{i}"} for i in range(3)}
    return create_cluster({"backend": Echoing, "router": router, "hosts": hosts, **settings})


class FirstWord(BaseRouter):
    def get_dbs(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
        return [2] if args[:1] == ("two",) else [0]


# ---- maps ----------------------------------------------------------------------------------------


def test_a_map_has_its_results(create: Create) -> None:
    cluster = create("partition")
    with cluster.map() as conn:
        conn.set("a", 1)
        conn.get("a")
        conn.incr("b", 5)
        conn.mset({"c": 3, "d": 4})
        conn.mget("a", "b", "c", "nothing")
        conn.set("e", 5, ex=50)
        conn.dbsize()
        with pytest.raises(ResultPending):
            conn.get_results()
    assert conn.get_results()[:-1] == [True, b"1", 5, True, [b"1", b"5", b"3", None], True]
    assert sum(conn.get_results()[-1]) == 5


def test_a_map_that_failed_has_its_results(create: Create) -> None:
    cluster = create("partition")
    cluster.rpush("list", "x")
    conn = cluster.map(fail_silently=True)
    with conn:
        conn.incr("list")
        conn.set("a", 1)
    wrong, right = conn.get_results()
    assert isinstance(wrong, redis.ResponseError)
    assert right is True
    conn = cluster.map()
    conn.set("b", 1)
    conn.incr("list")
    with pytest.raises(CommandError):
        conn.join()
    assert conn.get_results()[0] is True
    conn = cluster.map()
    conn.set("c", 1)
    conn.cancel()
    with pytest.raises(CommandCancelled):
        conn.get_results()


def test_a_map_of_calls_has_its_results(create: Create) -> None:
    cluster = create(FirstWord)
    with cluster.map() as conn:
        conn.set("two", 1)
        conn.get("two")
    assert conn.get_results() == [True, b"1"]
    with echoing(FirstWord).map(fail_silently=True) as conn:
        conn.say("two")
        conn.say("nothing")
        with pytest.raises(ResultPending):
            conn.get_results()
    spoken, failed = conn.get_results()
    assert (spoken, type(failed)) == ("host2 two", ValueError)


def test_results_say_whether_they_are_errors(create: Create) -> None:
    cluster = create("partition")
    cluster.rpush("list", "x")
    with cluster.map(fail_silently=True) as conn:
        wrong, right = conn.incr("list"), conn.incr("a")
        with pytest.raises(ResultPending):
            _ = right.is_error
    assert (wrong.is_error, right.is_error) == (True, False)


# ---- routers -------------------------------------------------------------------------------------


def test_hosts_have_identifiers(create: Create) -> None:
    hosts = {0: {"db": 0, "identifier": "redis://a:6379/0"}, 1: {"db": 1}}
    cluster = create_cluster({"hosts": hosts})
    assert [host.identifier for host in cluster.hosts.values()] == [
        "redis://a:6379/0",
        "redis://localhost:6379/1",
    ]


def test_routers_are_asked_with_fewer_arguments(create: Create) -> None:
    router = create("partition").router
    home = router.get_host_for_key("foo")
    assert router.get_dbs(attr="get", args=("foo",)) == [home]  # type: ignore[call-arg]
    assert router.get_dbs("ping") == [0, 1, 2, 3]  # type: ignore[call-arg]
    assert router.get_db("get", ("foo",)) == router.get_db("get", kwargs={"name": "foo"}) == [home]
    assert create(FirstWord).router.get_db("get", ("two",)) == [2]


@pytest.mark.parametrize("kind", ["redis", "other"])
def test_another_router_is_installed(create: Create, kind: str) -> None:
    cluster = create("partition") if kind == "redis" else echoing("partition")
    call = "set" if kind == "redis" else "say"
    getattr(cluster, call)("k", "v")
    for router, answers in ((FirstWord, 1), (None, len(cluster)), ("partition", 1)):
        cluster.install_router(router)
        result = getattr(cluster, call)("k", "v")
        assert (len(result) if isinstance(result, list) else 1) == answers
        with cluster.map() as conn:
            result = getattr(conn, call)("k", "v")
        assert (len(result) if isinstance(result, list) else 1) == answers
    cluster.install_router("consistent", weights={0: 2})
    with pytest.raises(ClusterConfigError, match="x, which PartitionRouter does not take"):
        cluster.install_router("partition", x=1)
    assert type(cluster.router).__name__ == "ConsistentHashingRouter"


def test_hosts_that_take_turns_are_emptied_together(create: Create) -> None:
    cluster = create("round_robin")
    for words in (["FLUSHDB"], ["FLUSHALL", "ASYNC"], ["FLUSHDB ASYNC"], [b"flushdb"]):
        for _ in range(4):
            cluster.set("k", 1)
        assert [cluster[host_id].dbsize() for host_id in range(4)] == [1] * 4
        assert len(cluster.execute_command(*words)) == 4
        assert [cluster[host_id].dbsize() for host_id in range(4)] == [0] * 4
    for _ in range(4):
        cluster.set("k", 1)
    with cluster.map() as conn:
        emptied = conn.flushdb()
    assert emptied == [True] * 4
    assert [cluster[host_id].dbsize() for host_id in range(4)] == [0] * 4
    assert cluster.router.get_dbs("flushdb", [], {}) == [0, 1, 2, 3]
    assert echoing("round_robin").flush_all() == [f"host{i} is empty" for i in range(3)]


def test_a_router_that_names_the_host_of_all_commands_is_obeyed(create: Create) -> None:
    class Last(RoundRobinRouter):
        def get_any_hosts(self) -> list[int]:
            return [3]

    cluster = create(Last)
    cluster[0].set("k", 1)
    cluster.flushdb()
    assert cluster[0].dbsize() == 1
    with pytest.raises(UnroutableCommand):
        cluster.execute_command("SELECT", 1)


# ---- backends ------------------------------------------------------------------------------------


class Named(Echoing):
    """Says itself what it is called on a ring, and has a method of its own."""

    @property
    def identifier(self) -> str:
        return f"dummyhost:{self.num}"

    def shout(self, word: str) -> str:
        return str(self.say(word)).upper()


def test_backends_may_say_what_they_are_called() -> None:
    cluster = create_cluster(
        {"backend": Named, "router": "consistent", "hosts": {i: {"name": "n"} for i in range(5)}}
    )
    # What Nydus's tests expect of these names.
    assert cluster.router.get_dbs("shout", ["foo"], {}) == [2]
    cluster.router.mark_connection_down(2)
    assert cluster.router.get_dbs("shout", ["foo"], {}) == [4]


def test_backends_may_have_methods() -> None:
    cluster = create_cluster({"backend": Named, "router": "partition", "hosts": [{"name": "a"}]})
    assert (cluster.shout("hello"), cluster.say("hello")) == ("A HELLO", "a hello")
    assert (cluster[0].shout("hello"), cluster[0].say("hello")) == ("A HELLO", "a hello")
    with cluster.map() as conn:
        loud, plain = conn.shout("x"), conn.say("x")
    assert (loud, plain) == ("A X", "a x")


def test_exceptions_to_try_again_after_have_another_name() -> None:
    class FromNydus(Echoing):
        retryable_exceptions = frozenset([ConnectionError])

    settings: dict[str, Any] = {"backend": FromNydus, "hosts": {0: {"name": "a"}}}
    with pytest.raises(
        ClusterConfigError, match=r"FromNydus has retryable_exceptions.* Write network_errors"
    ):
        create_cluster(settings)

    class ForBoth(FromNydus):
        network_errors = (ConnectionError,)

    assert create_cluster({**settings, "backend": ForBoth}).say("hello") == "a hello"
