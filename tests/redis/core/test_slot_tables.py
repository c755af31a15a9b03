"""What nodes of a Redis Cluster say about who has which slots: CLUSTER SHARDS and CLUSTER SLOTS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pindb.redis.core.slot_tables import Address, Shard, read_shards, read_slots

ASKED = ("10.0.0.9", 7009)


def node(
    role: str, endpoint: Any, port: int | None = 6379, health: str = "online", tls: int | None = None
) -> dict[str, Any]:
    """A node of CLUSTER SHARDS, as RESP3 has it."""
    ports = {name: number for name, number in [("port", port), ("tls-port", tls)] if number is not None}
    return {"id": "a1", **ports, "ip": "10.9.9.9", "endpoint": endpoint, "role": role, "health": health}


def shard(slots: list[int], *nodes: Any) -> dict[str, Any]:
    return {"slots": slots, "nodes": list(nodes)}


def as_lists(value: Any) -> Any:
    """What RESP2 has in the place of maps, with bytes in the place of text."""
    if isinstance(value, dict):
        return [as_lists(word) for pair in value.items() for word in pair]
    if isinstance(value, list):
        return [as_lists(item) for item in value]
    return value.encode() if isinstance(value, str) else value


protocols = pytest.mark.parametrize("as_sent", [lambda reply: reply, as_lists], ids=["RESP3", "RESP2"])


@protocols
def test_shards_are_masters_with_slots_and_replicas(as_sent: Callable[[Any], Any]) -> None:
    reply = [
        shard([0, 99, 200, 200], node("replica", "10.0.0.2"), node("master", "10.0.0.1", 6380)),
        shard([100, 199], node("master", "cache.example.org"), node("replica", "::1"), node("replica", "b")),
    ]
    assert read_shards(as_sent(reply), ASKED, tls=False) == [
        Shard(("10.0.0.1", 6380), [(0, 99), (200, 200)], [("10.0.0.2", 6379)]),
        Shard(("cache.example.org", 6379), [(100, 199)], [("::1", 6379), ("b", 6379)]),
    ]


@protocols
def test_masters_that_failed_or_have_no_slots_are_left_out(as_sent: Callable[[Any], Any]) -> None:
    reply = [
        shard([0, 9], node("master", "a", health="fail"), node("replica", "b")),
        shard([], node("master", "c")),
        shard(
            [10, 19],
            node("master", "d", health="loading"),
            node("master", "e"),
            node("replica", "f", health="fail"),
        ),
    ]
    assert read_shards(as_sent(reply), ASKED, tls=False) == [Shard(("e", 6379), [(10, 19)], [])]


@protocols
@pytest.mark.parametrize("endpoint", ["", None])
def test_a_node_without_a_name_is_where_the_one_that_was_asked_is(
    as_sent: Callable[[Any], Any], endpoint: Any
) -> None:
    (found,) = read_shards(as_sent([shard([0, 1], node("master", endpoint))]), ASKED, tls=False)
    assert found.master == ("10.0.0.9", 6379)
    (found,) = read_slots(as_sent([[0, 1, [endpoint, 6379, "a1"]]]), ASKED)
    assert found.master == ("10.0.0.9", 6379)


@protocols
def test_a_node_whose_host_name_is_not_known_is_at_its_ip_address(as_sent: Callable[[Any], Any]) -> None:
    (found,) = read_shards(as_sent([shard([0, 1], node("master", "?"))]), ASKED, tls=False)
    assert found.master == ("10.9.9.9", 6379)
    (found,) = read_slots(as_sent([[0, 1, ["?", 6379, "a1", {"ip": "10.9.9.9"}]]]), ASKED)
    assert found.master == ("10.9.9.9", 6379)


@protocols
def test_with_tls_the_ports_for_it_count(as_sent: Callable[[Any], Any]) -> None:
    reply = as_sent([shard([0, 1], node("master", "a", 6379, tls=6390))])
    assert read_shards(reply, ASKED, tls=True)[0].master == ("a", 6390)
    assert read_shards(reply, ASKED, tls=False)[0].master == ("a", 6379)
    reply = as_sent([shard([0, 1], node("master", "a", None, tls=6390))])
    assert read_shards(reply, ASKED, tls=True)[0].master == ("a", 6390)


@protocols
def test_older_servers_say_it_range_by_range(as_sent: Callable[[Any], Any]) -> None:
    first, second = ["10.0.0.1", 6379, "a1"], ["10.0.0.2", 6379, "a2"]
    reply = [[0, 99, first, ["10.0.0.3", 6379, "a3"]], [100, 199, second], [200, 299, first]]
    assert read_slots(as_sent(reply), ASKED) == [
        Shard(("10.0.0.1", 6379), [(0, 99), (200, 299)], [("10.0.0.3", 6379)]),
        Shard(("10.0.0.2", 6379), [(100, 199)], []),
    ]


words = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.binary(max_size=4)
)
anything = st.recursive(
    words, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)
#: Replies of which a part is right.
nearly_shards = st.lists(
    st.fixed_dictionaries(
        {
            "slots": st.lists(words | st.integers(-1, 20000), max_size=4) | words,
            "nodes": st.lists(
                st.fixed_dictionaries(
                    {
                        "endpoint": words,
                        "port": words,
                        "role": st.sampled_from(["master", "replica", b"master", 5]),
                        "health": st.sampled_from(["online", b"online", "fail"]),
                    }
                ),
                max_size=2,
            ),
        }
    ),
    max_size=3,
)
nearly_slots = st.lists(
    st.tuples(
        st.integers(-1, 20000) | words, st.integers(-1, 20000) | words, st.lists(words, max_size=3)
    ).map(list),
    max_size=3,
)


def is_table(shards: list[Shard]) -> bool:
    """Whether a router can work with it."""
    return all(0 <= first <= last < 16384 for shard in shards for first, last in shard.slots) and all(
        isinstance(host, str) and isinstance(port, int)
        for shard in shards
        for host, port in [shard.master, *shard.replicas]
    )


@given(anything | nearly_shards | nearly_slots)
def test_whatever_else_a_server_says_is_a_value_error(reply: Any) -> None:
    readers: list[Callable[[Any, Address], list[Shard]]] = [
        lambda reply, asked: read_shards(reply, asked, tls=False),
        read_slots,
    ]
    for read in readers:
        try:
            shards = read(reply, ASKED)
        except ValueError:
            continue
        assert is_table(shards)


def test_slots_that_do_not_exist_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="16384"):
        read_shards([shard([0, 16384], node("master", "a"))], ASKED, tls=False)
    with pytest.raises(ValueError, match="-1"):
        read_slots([[-1, 5, ["a", 6379]]], ASKED)
