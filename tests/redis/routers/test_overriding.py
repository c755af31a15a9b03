"""Routers that override some methods of another: what they say counts however a key is reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pindb.hashing import key_bytes
from pindb.redis import (
    BaseRouter,
    Cluster,
    ConsistentHashingRouter,
    EveryHostRouter,
    PartitionRouter,
    RoundRobinRouter,
    RoutedCluster,
    UnroutableCommand,
    create_cluster,
)
from pindb.testing.redis import TestSetup
from tests.redis.tools import Create, Make

#: The host of all keys that the routers here care about.
HOME = 3


def is_ours(key: Any) -> bool:
    return isinstance(key, (str, bytes)) and b"pinned" in key_bytes(key)


class KeyHome(BaseRouter):
    def get_host_for_key(self, key: Any) -> int:
        return HOME if is_ours(key) else super().get_host_for_key(key)


class KeysHome(BaseRouter):
    def get_hosts_for_keys(self, keys: Sequence[Any]) -> list[int]:
        hosts = super().get_hosts_for_keys(keys)
        return [HOME if is_ours(key) else host_id for key, host_id in zip(keys, hosts, strict=True)]


class KeysHomeByKey(BaseRouter):
    """Asks for keys one by one."""

    def get_hosts_for_keys(self, keys: Sequence[Any]) -> list[int]:
        return [HOME if is_ours(key) else self.get_host_for_key(key) for key in keys]


class GroupsHome(BaseRouter):
    def group_keys(self, keys: Sequence[Any]) -> dict[int, list[int]]:
        ours = [place for place, key in enumerate(keys) if is_ours(key)]
        groups: dict[int, list[int]] = {host_id: [] for host_id in self.cluster.hosts} | {HOME: ours}
        for host_id, places in super().group_keys(keys).items():
            groups[host_id] += [place for place in places if place not in ours]
        return {host_id: sorted(places) for host_id, places in groups.items() if places}


class CommandHome(BaseRouter):
    def get_host_for_command(self, command: Any, args: Sequence[Any]) -> int:
        return HOME if any(map(is_ours, args)) else super().get_host_for_command(command, args)


class CommandsHome(BaseRouter):
    def get_hosts_for_command(self, command: Any, args: Sequence[Any]) -> list[int]:
        hosts = super().get_hosts_for_command(command, args)
        return [HOME] if any(map(is_ours, args)) else hosts


class KeyOfCommand(BaseRouter):
    """Places what is ours by another key."""

    def get_key(self, command: Any, args: Sequence[Any]) -> Any:
        key = super().get_key(command, args)
        if not is_ours(key):
            return key
        places = ((f"home:{i}", self.get_host_for_key(f"home:{i}")) for i in range(100))
        return next(name for name, host_id in places if host_id == HOME)


PARTS = [KeyHome, KeysHome, KeysHomeByKey, GroupsHome, CommandHome, CommandsHome, KeyOfCommand]


def routers(*kinds: type[BaseRouter]) -> list[Any]:
    """Routers that override one method of one of these kinds."""
    return [
        pytest.param(type("Own", (part, kind), {}), id=f"{part.__name__}-{kind.__name__}")
        for kind in kinds or (PartitionRouter, ConsistentHashingRouter, RoundRobinRouter)
        for part in PARTS
        # By turns, keys have no places: those of others could not be found again.
        if kind.by_key or part is not KeyOfCommand
    ]


KEYS = [f"pinned:{i}" for i in range(12)]


def owners(cluster: Cluster | RoutedCluster) -> Counter[int]:
    """How many keys each host has."""
    if isinstance(cluster, Cluster):
        sizes = {host_id: cluster.get_local_client(host_id).dbsize() for host_id in cluster.hosts}
    else:
        sizes = {host_id: cluster[host_id].dbsize() for host_id in cluster}
    return +Counter(sizes)


@pytest.mark.parametrize("router", routers())
def test_clients_and_maps_of_a_cluster_find_the_same_host(make_cluster: Make, router: Any) -> None:
    cluster = make_cluster(router_cls=router)
    client = cluster.get_routing_client()
    client.set(KEYS[0], 0)
    client.setnx(KEYS[1], 1)
    with cluster.map() as batch:
        for place in (2, 3):
            batch.set(KEYS[place], place)
        batch.set(KEYS[4], 4, ex=50)
        batch.set_many(KEYS[5:7], [5, 6])
        batch.set_many(KEYS[7:9], [7, 8], px=50_000)
        batch.incrby(KEYS[9], 9)
        batch.set(KEYS[10], 10)
    with cluster.map(auto_batch=False) as batch:
        batch.set(KEYS[11], 11)
    assert owners(cluster) == {HOME: 12}
    expected = [b"%d" % i for i in range(12)]
    assert [client.get(key) for key in KEYS] == expected
    assert [client.strlen(key) for key in KEYS] == [len(value) for value in expected]
    with cluster.map() as batch:
        singly, many = [batch.get(key) for key in KEYS], batch.get_many(KEYS)
    assert [promise.value for promise in singly] == expected
    assert [promise.value for promise in many] == expected
    assert [cluster.get_local_client_for_key(key).get(key) for key in KEYS] == expected
    with cluster.fanout() as fanout:
        aimed = [fanout.target_key(key).get(key) for key in KEYS]
    assert [promise.value for promise in aimed] == expected
    with client.lock("pinned:lock", timeout=5):
        assert owners(cluster) == {HOME: 13}


@pytest.mark.parametrize("router", routers(PartitionRouter, ConsistentHashingRouter))
def test_commands_that_are_cut_find_the_same_host(make_cluster: Make, router: Any) -> None:
    cluster = make_cluster(router_cls=router)
    client = cluster.get_routing_client(split_multi_key=True)
    client.mset(dict.fromkeys([*KEYS[:3], "a"], "x"))
    with cluster.map() as batch:
        batch.mset(dict.fromkeys([*KEYS[3:], "b"], "x"))
    others = Counter(cluster.get_router().get_host_for_key(key) for key in "ab")
    assert owners(cluster) == Counter({HOME: 12}) + others
    assert client.mget([*KEYS, "a", "b"]) == [b"x"] * 14
    with cluster.map(split_multi_key=True) as batch:
        values, number = batch.mget([*KEYS, "a"]), batch.exists(*KEYS, "a", "b")
        some = batch.delete_many([*KEYS[:2], "a"])
    assert (values.value, number.value) == ([b"x"] * 13, 14)
    assert sum(promise.value for _, promise in some) == 3
    assert client.delete(*KEYS, "b") == 11
    assert not owners(cluster)


@pytest.mark.parametrize("router", routers())
def test_clusters_from_settings_find_the_same_host(create: Create, router: Any) -> None:
    cluster = create(router)
    cluster.set(KEYS[0], 0)
    cluster.setnx(KEYS[1], 1)
    cluster.execute_command("SET", KEYS[2], 2)
    with cluster.map() as conn:
        conn.set(KEYS[3], 3)
        conn.set(KEYS[4], 4)
        conn.set(KEYS[5], 5, ex=50)
        conn.incrby(KEYS[6], 6)
        conn.set(KEYS[7], 7)
    assert owners(cluster) == {HOME: 8}
    keys, expected = KEYS[:8], [b"%d" % i for i in range(8)]
    assert [cluster.get(key) for key in keys] == expected
    assert [cluster.router.get_dbs("get", [key], {}) for key in keys] == [[HOME]] * 8
    with cluster.map() as conn:
        values = [conn.get(key) for key in keys]
    assert values == expected
    if cluster.router.by_key:
        assert cluster.get_conn(KEYS[0]) is cluster[HOME]
        assert cluster.mset(dict.fromkeys([*KEYS[8:10], "a"], 8)) is True
        with cluster.map() as conn:
            conn.mset(dict.fromkeys([*KEYS[10:], "b"], 8))
            together = conn.mget([*KEYS[8:], "a", "b"])
        assert together == [b"8"] * 6
        others = Counter(cluster.router.get_host_for_key(key) for key in "ab")
        assert owners(cluster) == Counter({HOME: 12}) + others
        assert cluster.delete(*KEYS, "a", "b") == 14


class AllHome(PartitionRouter):
    def get_host_for_key(self, key: Any) -> int:
        return 1


class AllByCommand(PartitionRouter):
    def get_host_for_command(self, command: Any, args: Sequence[Any]) -> int:
        return 1


@pytest.mark.parametrize("router", [AllHome, AllByCommand])
def test_shares_are_those_of_the_router_itself(router: type[BaseRouter]) -> None:
    found = Cluster({0: {}, 1: {"db": 1}}, router_cls=router).get_router()
    assert found.get_shares() == {0: 0.0, 1: 1.0}


class AsksItself(PartitionRouter):
    """Asks for one key, which asks for many."""

    def get_hosts_for_keys(self, keys: Sequence[Any]) -> list[int]:
        return [(self.get_host_for_key(key) + 1) % 4 for key in keys]


class Shifted(PartitionRouter):
    def get_hosts_for_keys(self, keys: Sequence[Any]) -> list[int]:
        return [(host_id + 1) % 4 for host_id in super().get_hosts_for_keys(keys)]


class ShiftedTwice(Shifted):
    def get_host_for_key(self, key: Any) -> int:
        return (super().get_host_for_key(key) + 1) % 4


class Regrouped(ShiftedTwice):
    def group_keys(self, keys: Sequence[Any]) -> dict[int, list[int]]:
        return {(host_id + 1) % 4: places for host_id, places in super().group_keys(keys).items()}


class Unchanged(Regrouped):
    pass


@pytest.mark.parametrize(
    ("router", "shift"), [(AsksItself, 1), (Shifted, 1), (ShiftedTwice, 2), (Regrouped, 3), (Unchanged, 3)]
)
def test_what_is_overridden_may_ask_what_it_overrides(router: type[BaseRouter], shift: int) -> None:
    hosts = {host_id: {"db": host_id} for host_id in range(4)}
    plain = Cluster(hosts).get_router()
    found = Cluster(hosts, router_cls=router).get_router()
    keys = [f"k{i}" for i in range(40)]
    expected = [(plain.get_host_for_key(key) + shift) % 4 for key in keys]
    assert [found.get_host_for_key(key) for key in keys] == expected
    assert found.get_hosts_for_keys(keys) == expected
    groups = found.group_keys(keys)
    assert {place: host_id for host_id, places in groups.items() for place in places} == dict(
        enumerate(expected)
    )


class Announcements(PartitionRouter):
    """Sends what has no key to one host."""

    def get_host_for_command(self, command: Any, args: Sequence[Any]) -> int:
        return 2 if command == "PUBLISH" else super().get_host_for_command(command, args)


class AnnouncementsToSome(PartitionRouter):
    def get_hosts_for_command(self, command: Any, args: Sequence[Any]) -> list[int]:
        return [2] if command == "PUBLISH" else super().get_hosts_for_command(command, args)


@pytest.mark.parametrize("router", [Announcements, AnnouncementsToSome])
def test_commands_without_a_key_go_where_a_router_says(
    create: Create, make_cluster: Make, router: type[BaseRouter]
) -> None:
    cluster = create(router)
    assert cluster.publish("news", "x") == 0
    assert cluster.dbsize() == [0] * 4
    with cluster.map() as conn:
        heard, sizes = conn.publish("news", "x"), conn.dbsize()
    assert (heard, sizes) == (0, [0] * 4)
    assert make_cluster(router_cls=router).get_routing_client().publish("news", "x") == 0
    with pytest.raises(UnroutableCommand):
        make_cluster(router_cls=router).get_routing_client().execute_command("PING")


class Mirrored(PartitionRouter):
    """Writes to all hosts and reads from one."""

    def get_hosts_for_command(self, command: Any, args: Sequence[Any]) -> list[int]:
        return list(self.cluster.hosts) if command in ("SET", "MSET") else [1]


def test_a_router_may_name_several_hosts_for_a_command(create: Create, make_cluster: Make) -> None:
    cluster = create(Mirrored)
    assert cluster.set("a", 1) == [True] * 4
    assert cluster.mset({"b": 2, "c": 3}) == [True] * 4
    with cluster.map() as conn:
        stored, more = conn.set("d", 4), conn.mset({"e": 5, "f": 6})
        value, values = conn.get("d"), conn.mget("a", "e", "nothing")
    assert (stored, more, value, values) == ([True] * 4, [True] * 4, b"4", [b"1", b"5", None])
    assert owners(cluster) == dict.fromkeys(range(4), 6)
    client = make_cluster(router_cls=Mirrored).get_routing_client()
    assert client.get("a") == b"1"
    with pytest.raises(UnroutableCommand, match="SET to 4 hosts"):
        client.set("a", 1)


class Turns(RoundRobinRouter):
    """Says where keys are, and what has none goes to the next host."""

    def get_host_for_key(self, key: Any) -> int:
        return HOME if key is not None and is_ours(key) else super().get_host_for_key(key)


class SomeEverywhere(EveryHostRouter):
    def get_host_for_key(self, key: Any) -> int:
        return HOME


def test_keys_reach_routers_that_go_by_turns(create: Create) -> None:
    cluster = create(Turns)
    assert [cluster.incr("pinned") for _ in range(4)] == [1, 2, 3, 4]
    assert [cluster.dbsize() for _ in range(4)] == [0, 0, 0, 1]
    with cluster.map() as conn:
        sizes = [conn.dbsize() for _ in range(4)]
        count = conn.get("pinned")
    assert (sorted(map(int, sizes)), count) == ([0, 0, 0, 1], b"4")
    everywhere = create(SomeEverywhere)
    assert everywhere.get("pinned") == b"4"
    assert everywhere.dbsize() == [0, 0, 0, 1]


class Third(RoundRobinRouter):
    def get_any_hosts(self) -> list[int]:
        return [2]


def test_the_hosts_of_any_command_count_for_a_cluster_too(make_cluster: Make, create: Create) -> None:
    cluster = make_cluster(router_cls=Third)
    cluster.get_routing_client().set("a", 1)
    with cluster.map() as batch:
        batch.set("b", 2)
        batch.incr("c")
        batch.set_many(["d", "e"], [4, 5])
    created = create(Third)
    created.set("f", 6)
    with created.map() as conn:
        conn.set("g", 7)
    assert owners(cluster) == {2: 7}


def test_calls_of_other_servers_find_the_same_host() -> None:
    class Everything(KeyOfCommand, PartitionRouter):
        pass

    router = create_cluster({"router": Everything, "hosts": [{"port": i} for i in range(1, 5)]}).router
    assert router.get_dbs("get_conn", ["pinned:1"], {}) == [HOME]
    assert router.get_dbs("lock", [], {"name": "pinned:1"}) == [HOME]


def test_keys_go_elsewhere_while_their_host_is_down(create: Create, servers: TestSetup) -> None:
    class Home(ConsistentHashingRouter):
        def get_host_for_key(self, key: Any) -> int:
            if is_ours(key) and HOME not in self.down_connections:
                return HOME
            return super().get_host_for_key(key)

    cluster = create(Home)
    servers.kill(HOME)
    with cluster.map() as conn:
        stored = [conn.set(key, 1) for key in KEYS]
        values = [conn.get(key) for key in KEYS]
    assert (stored, values) == ([True] * 12, [b"1"] * 12)
    assert sum(cluster[host_id].dbsize() for host_id in range(4) if host_id != HOME) == 12


def test_nothing_changes_for_routers_that_override_nothing() -> None:
    class Named(PartitionRouter):
        def get_dbs(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
            return super().get_dbs(attr, args, kwargs)

    for name in ("get_host_for_key", "get_hosts_for_keys", "group_keys", "get_host_for_command"):
        assert getattr(Named, name) is getattr(PartitionRouter, name)
