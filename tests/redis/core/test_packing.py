"""Commands to bytes, beside redis-py's own."""

from __future__ import annotations

import enum
from collections.abc import Callable
from decimal import Decimal
from itertools import repeat
from typing import Any

import hiredis
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis._parsers import Encoder

from pindb.redis import Cluster
from pindb.redis.core.packing import FEW, Packer, pack_words


@given(
    st.lists(
        st.one_of(st.text(st.characters(codec="utf-8")), st.binary(), st.integers(), st.floats()), min_size=1
    )
)
def test_words_are_packed_alike_with_and_without_hiredis(words: list[Any]) -> None:
    encoder: Any = Encoder("utf-8", "strict", False)  # type: ignore[no-untyped-call]
    packer = Packer(encoder)
    packed = packer(words)
    assert packed == pack_words(words, encoder.encode)
    for some in (words, words * FEW):
        expected = b"".join(pack_words((word, word), encoder.encode) for word in some)
        assert packer.many(some, some) == expected
    reader = hiredis.Reader()
    reader.feed(packed)
    assert reader.gets() == [encoder.encode(word) for word in words]


def connection() -> Any:
    """One of redis-py's, which never connects."""
    kind: Any = redis.Connection
    return kind()


class Status(enum.IntEnum):
    ACTIVE = 7


class Name(str, enum.Enum):
    KEY = "key"


class Number(int):
    pass


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("word", [Name.KEY, Text("a"), 0, -(10**40), 1.5, float("inf"), -0.0, b"", "ä"])
def test_words_are_packed_as_redis_py_packs_them(word: Any) -> None:
    theirs = connection()
    expected = b"".join(map(bytes, theirs.pack_command("SET", "k", word)))
    packer = Packer(theirs.encoder)
    assert packer(("SET", "k", word)) == packer.many(["SET"], ["k"], [word]) == expected
    for number in (1, FEW):
        keys, words = ["k"] * number, [word] * number
        assert packer.many(repeat("SET"), keys, repeat(word)) == expected * number
        assert packer.many(repeat("SET"), keys, words) == expected * number
    assert pack_words(("SET", "k", word), theirs.encoder.encode) == expected


@pytest.mark.parametrize(
    "kind", [bytearray, memoryview, lambda data: memoryview(b"-".join(data.split()))[::2]]
)
def test_memory_is_packed_as_its_bytes(kind: Any) -> None:
    packer = Packer(connection().encoder)
    word = kind(b"a b c")
    assert packer(("SET", word)) == packer.many(["SET"], [word]) == packer(("SET", bytes(word)))
    assert packer.many(repeat("SET"), [word] * FEW) == packer(("SET", bytes(word))) * FEW


@pytest.mark.parametrize("word", [Status.ACTIVE, Number(7), True, None, Decimal(1), [1], object()])
def test_words_that_redis_py_refuses_are_refused(word: Any) -> None:
    theirs = connection()
    with pytest.raises(redis.DataError):
        theirs.pack_command("SET", "k", word)
    packer = Packer(theirs.encoder)
    packs: list[Callable[[], bytes]] = [
        lambda: packer(("SET", "k", word)),
        lambda: packer.many(["SET"], ["k"], [word]),
        lambda: packer.many(["SET"], ["k"], repeat(word)),
        lambda: packer.many(repeat("SET"), ["k"] * FEW, [b"1"] * (FEW - 1) + [word]),
        lambda: packer.many(repeat("SET"), ["k"] * FEW, repeat(word)),
        lambda: pack_words(("SET", "k", word), theirs.encoder.encode),
    ]
    for pack in packs:
        with pytest.raises(redis.DataError, match=f"Invalid input of type: '{type(word).__name__}'"):
            pack()


@pytest.mark.parametrize("number", [7, 1.5, -0.0, 10**40])
def test_numbers_are_sent_as_their_digits(cluster: Cluster, number: Any) -> None:
    client = cluster.get_routing_client()
    client.set("single", number)
    with cluster.map() as mapping:
        mapping.set("map", number)
        mapping.set(8, "key")
    with cluster.map(auto_batch=False) as mapping:
        mapping.set("unmerged", number, ex=60)
        mapping.set_many(["many", "more"], [number, "text"], px=60_000)
    with cluster.fanout("all") as fanout:
        fanout.set("everywhere", number)
    values = [client.get(key) for key in ("single", "map", "unmerged", "many", "everywhere")]
    assert values == [repr(number).encode()] * 5
    assert client.get("more") == b"text"
    assert client.get("8") == b"key"


def test_single_commands_refuse_what_maps_refuse(cluster: Cluster) -> None:
    with pytest.raises(redis.DataError, match="'Status'"):
        cluster.get_routing_client().set("key", Status.ACTIVE)
    with pytest.raises(redis.DataError, match="'Status'"), cluster.map() as mapping:
        mapping.set("key", Status.ACTIVE)
    assert cluster.get_routing_client().get("key") is None
