"""What would move when a cache's servers change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from pindb.cache.move import Move
from pindb.cache.options import read_options
from pindb.cache.plan import plan_keys, plan_scanned
from pindb.cache.scan import make_full_pattern
from pindb.cache.target import change_servers, describe_hosts, mask
from pindb.redis import ClusterConfigError, ConsistentHashingRouter, HostConnectionError
from pindb.testing.redis import TestSetup
from tests.cache.moving import PATTERN, changing, site

URLS = [f"redis://host{number}:6379/0" for number in range(5)]
KEYS = [f":1:{number}" for number in range(5000)]


class PairRouter(ConsistentHashingRouter):
    """Goes by what is before the last colon of a key; commands tell it, and keys alone do not."""

    def get_key(self, command: Any, args: Sequence[Any]) -> Any:
        key = super().get_key(command, args)
        return (key if isinstance(key, bytes) else key.encode()).rpartition(b":")[0]


# ---- without servers ---------------------------------------------------------------------------------


def test_a_server_more_on_a_ring_takes_its_share_and_nothing_else_moves() -> None:
    with changing(URLS[:4], add=[URLS[4]]) as (now, then):
        plan = plan_keys(now, then, KEYS)
    assert plan.keys == len(KEYS)
    assert plan.share == pytest.approx(1 / 5, abs=0.06)
    assert plan.arriving("host4:6379/0") == plan.then("host4:6379/0") == plan.moving
    assert all(plan.arriving(f"host{number}:6379/0") == 0 for number in range(4))


def test_a_server_less_on_a_ring_gives_its_keys_to_the_others_and_nothing_else_moves() -> None:
    with changing(URLS, remove=[URLS[1]]) as (now, then):
        plan = plan_keys(now, then, KEYS)
    assert plan.leaving("host1:6379/0") == plan.now("host1:6379/0") == plan.moving
    assert plan.then("host1:6379/0") == 0


def test_a_server_more_moves_most_keys_of_a_partition() -> None:
    with changing(URLS[:4], {"ROUTER": "partition"}, add=[URLS[4]]) as (now, then):
        plan = plan_keys(now, then, KEYS)
    assert plan.share == pytest.approx(4 / 5, abs=0.03)


def test_keys_that_come_and_go_add_up() -> None:
    with changing(URLS[:3], add=URLS[3:], remove=URLS[:1], router="partition") as (now, then):
        plan = plan_keys(now, then, KEYS)
    addresses = [f"host{number}:6379/0" for number in range(5)]
    for address in addresses:
        assert plan.now(address) - plan.leaving(address) + plan.arriving(address) == plan.then(address)
    assert sum(map(plan.now, addresses)) == sum(map(plan.then, addresses)) == len(KEYS)
    assert sum(map(plan.leaving, addresses)) == sum(map(plan.arriving, addresses)) == plan.moving


def test_no_keys_have_no_share() -> None:
    with changing(URLS[:1], add=URLS[1:]) as (now, then):
        assert plan_keys(now, then, []).share == 0


def test_hash_tags_count() -> None:
    with changing(URLS[:2], {"HASH_TAGS": True}, add=URLS[2:]) as (now, then):
        plan = plan_keys(now, then, [f":1:{{tag}}{number}" for number in range(100)])
    assert plan.moving in (0, 100)


def test_a_router_that_takes_another_key_from_a_command_counts() -> None:
    router = f"{__name__}.PairRouter"
    with changing(URLS[:2], {"ROUTER": router}, add=URLS[2:]) as (now, then):
        plan = plan_keys(now, then, [f":1:pair:{number}" for number in range(100)])
    assert len(plan.flows) == 1


# ---- the settings ------------------------------------------------------------------------------------


def test_servers_are_numbered_as_in_the_new_settings() -> None:
    changed = change_servers(read_options(URLS[:4], {}), add=[URLS[4]], remove=[URLS[1]])
    assert list(describe_hosts(changed).items()) == list(enumerate([URLS[0], URLS[2], URLS[3], URLS[4]]))
    assert changed == read_options([URLS[0], URLS[2], URLS[3], URLS[4]], {})


def test_weights_stay_with_their_servers() -> None:
    options = read_options(URLS[:3], {"ROUTER_OPTIONS": {"weights": {0: 2, 1: 3, 2: 4}}})
    changed = change_servers(options, add=[URLS[3]], remove=[URLS[0]])
    assert changed.servers.router_options["weights"] == {0: 3, 1: 4}


def test_another_router_keeps_the_options_that_it_takes() -> None:
    options = read_options(URLS, {"ROUTER_OPTIONS": {"weights": {0: 2}}, "HASH_TAGS": True})
    assert change_servers(options, router="partition").servers.router_options == {"hash_tags": True}


def test_a_server_is_found_without_its_password() -> None:
    options = read_options(["redis://:secret@a:6379/0", "redis://:secret@b:6379/0"], {})
    assert list(change_servers(options, remove=["redis://a:6379/0"]).servers.hosts.values()) == [
        {"url": "redis://:secret@b:6379/0"}
    ]


def test_a_cluster_by_name() -> None:
    hosts = {0: {"host": "a", "password": "secret"}, 1: "redis://b", 2: {"unix_socket_path": "/c", "db": 1}}
    with override_settings(PINDB_CLUSTERS={"cached": {"router": "partition", "hosts": hosts}}):
        options = read_options("cached", {})
    changed = change_servers(options, add=["redis://:secret@d"], remove=["redis://b:6379/0"])
    assert describe_hosts(changed) == {0: "redis://a:6379/0", 1: "unix:///c/1", 2: "redis://***@d"}


def test_hosts_whose_numbers_mean_something_keep_them() -> None:
    hosts = {10: "redis://a", 20: "redis://b"}
    with override_settings(PINDB_CLUSTERS={"cached": {"router": "partition", "hosts": hosts}}):
        options = read_options("cached", {})
    assert describe_hosts(change_servers(options, ["redis://c"], ["redis://a"])) == {
        20: "redis://b",
        21: "redis://c",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"add": ["redis://:pw@host1"]},
            r"server redis://\*\*\*@host1 is added twice, or the cache already has it.* redis://host0:6379/0",
        ),
        ({"add": ["redis://new", "redis://new:6379/0"]}, "is added twice"),
        ({"remove": ["redis://:pw@no"]}, r"no server redis://\*\*\*@no to remove. It has: redis://host0"),
        ({"remove": URLS}, "no server left"),
        ({"add": ["pw@host"]}, "not a Redis URL. Write redis://host"),
        ({"router": "round_robin"}, "does not place keys"),
        ({"router": "ring"}, "Write one of 'partition', 'consistent'"),
    ],
)
def test_changes_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterConfigError, match=message) as caught:
        change_servers(read_options(URLS, {}), **change)
    assert "pw" not in str(caught.value)


def test_going_elsewhere_when_a_server_is_down_needs_a_router_that_can() -> None:
    with pytest.raises(ClusterConfigError, match="Change ON_DOWN"):
        change_servers(read_options(URLS, {"ON_DOWN": "rehash"}), router="partition")


@given(
    user=st.text("abc:@%", max_size=5), password=st.text("xyz/@:?&", min_size=1).map(lambda word: f"<{word}>")
)
def test_no_password_is_shown(user: str, password: str) -> None:
    assert password not in mask(f"redis://{user}:{password}@host:6379/0")
    quoted = quote(password, safe="")
    assert mask(f"unix:///path?db=0&password={quoted}&a=1") == "unix:///path?db=0&password=***&a=1"


# ---- with servers ------------------------------------------------------------------------------------


def test_what_is_planned_is_what_moves(urls: list[str]) -> None:
    with site(urls[:3]) as cache:
        cache.set_many({str(number): number for number in range(2000)})
    with changing(urls[:3], add=urls[3:], remove=urls[:1]) as (now, then):
        plan = plan_scanned(now, then, PATTERN)
        made_up = plan_keys(now, then, KEYS)
        move = Move(now, then, PATTERN, delete=True)
        list(move.run())
        sizes = {
            host.address: len(then.get_local_client(id_).keys(PATTERN)) for id_, host in then.hosts.items()
        }
    assert plan.keys == plan.seen == plan.total == 2000
    assert move.progress.copied == plan.moving
    assert sizes == {address: plan.then(address) for address in sizes}
    assert made_up.share == pytest.approx(plan.share, abs=0.05)


def test_copies_of_an_earlier_move_do_not_count(urls: list[str]) -> None:
    with site(urls[:3]) as cache:
        cache.set_many({str(number): number for number in range(500)})
    with changing(urls[:3], router="partition") as (now, then):
        before = plan_scanned(now, then, PATTERN)
        list(Move(now, then, PATTERN).run())
        after = plan_scanned(now, then, PATTERN)
    assert after.flows == before.flows
    assert after.elsewhere == before.moving > 0


def test_a_sample_is_the_same_part_of_all_servers(urls: list[str]) -> None:
    with site(urls[:3]) as cache:
        cache.set_many({str(number): number for number in range(5000)})
    with changing(urls[:3], add=urls[3:]) as (now, then):
        everything = plan_scanned(now, then, PATTERN, limit=None)
        sample = plan_scanned(now, then, PATTERN, limit=1000)
    assert (sample.seen, sample.total) == (1000, 5000)
    assert sample.keys == pytest.approx(1000, rel=0.1)
    for host in now.hosts.values():
        assert sample.now(host.address) == pytest.approx(everything.now(host.address) / 5, rel=0.15)


def test_keys_of_others_do_not_count(urls: list[str]) -> None:
    with site(urls[:3], KEY_PREFIX="other") as cache:
        cache.set("key", 1)
    with site(urls[:3], KEY_PREFIX="[own]*") as cache:
        cache.set("key", 1)
        cache.set("key", 1, version=2)
        pattern = make_full_pattern(cache)
    with changing(urls[:3], add=urls[3:]) as (now, then):
        assert plan_scanned(now, then, pattern).keys == 2


@pytest.mark.parametrize(
    "function",
    [lambda key, prefix, version: "constant", lambda key, prefix, version: f"{int(version)}:{key}"],
)
def test_keys_of_a_function_of_the_sites_own_need_a_pattern(function: Any) -> None:
    with site(URLS, KEY_FUNCTION=function) as cache, pytest.raises(ImproperlyConfigured, match="--match"):
        make_full_pattern(cache)


def test_a_database_that_is_listed_twice_is_looked_through_once(urls: list[str]) -> None:
    location, options = [urls[0], urls[0], urls[1]], {"ROUTER": "partition"}
    with site(location, options) as cache:
        cache.set_many({str(number): number for number in range(300)})
    with changing(location, options, add=urls[3:]) as (now, then):
        assert plan_scanned(now, then, PATTERN).keys == 300


def test_a_server_that_is_down_is_an_error(cache_servers: TestSetup, urls: list[str]) -> None:
    cache_servers.kill(1)
    with (
        changing(urls[:3], {"ON_DOWN": "rehash"}, add=urls[3:]) as (now, then),
        pytest.raises(HostConnectionError, match="host 1"),
    ):
        plan_scanned(now, then, PATTERN)
