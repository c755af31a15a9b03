"""`slot` and `hash_tag`, beside the algorithm as the Redis Cluster specification writes it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pindb.hashing import hash_tag, slot, slot_groups, slot_many
from pindb.hashing.slots import MANY, SLOTS


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM bit by bit: polynomial 0x1021, start 0, nothing reflected."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def tag(key: bytes) -> bytes:
    _, brace, rest = key.partition(b"{")
    inside, end, _ = rest.partition(b"}")
    return inside if brace and end and inside else key


braces = st.text("{}ab").map(str.encode)


@given(key=st.one_of(st.binary(max_size=64), braces))
def test_slot_is_the_crc_of_the_hash_tag(key: bytes) -> None:
    assert hash_tag(key) == tag(key)
    assert slot(key) == crc16(tag(key)) % 16384


@given(inside=st.text("abc:1", min_size=1), before=st.text("abc}"), after=st.text("abc{}"))
def test_keys_with_the_same_tag_share_a_slot(inside: str, before: str, after: str) -> None:
    assert slot(before + "{" + inside + "}" + after) == slot(inside)


@pytest.mark.parametrize(
    ("key", "number"),
    [
        *(("123456789", 0x31C3), ("foo", 12182), ("bar", 5061), ("hello", 866), ("", 0)),
        ("{user1000}.following", 3443),
    ],
)
def test_known_slots(key: str, number: int) -> None:
    assert slot(key) == number


@pytest.mark.parametrize(
    ("key", "part"),
    [
        *(("{user1000}.following", b"user1000"), ("foo{}{bar}", b"foo{}{bar}")),
        *(("foo{{bar}}zap", b"{bar"), ("foo{bar}{zap}", b"bar"), ("foo}bar{", b"foo}bar{")),
        *(("foo{bar", b"foo{bar"), ("}{a}", b"a"), (12, b"12")),
    ],
)
def test_hash_tags_of_the_specification(key: str | int, part: bytes) -> None:
    assert hash_tag(key) == part
    assert slot(key) == slot(part)


@pytest.mark.parametrize("number", [0, 1, 10, MANY - 1, MANY, MANY + 1])
@pytest.mark.parametrize("name", ["key:{}", "{{user:{}}}:mail", b"key:%d", None])
def test_keys_are_grouped_by_the_host_of_their_slots(number: int, name: str | bytes | None) -> None:
    if name is None:
        keys: list[Any] = list(range(number))
    else:
        keys = [name % i if isinstance(name, bytes) else name.format(i) for i in range(number)]
    hosts = [7 if place < 5000 else 3 if place < 9000 else 5 for place in range(SLOTS)]
    slots = [slot(key) for key in keys]
    assert slot_many(keys) == slots
    expected: dict[int, list[int]] = {}
    for place, of_key in enumerate(slots):
        expected.setdefault(hosts[of_key], []).append(place)
    assert slot_groups(iter(keys), hosts) == expected
