"""`partition` and `partition_many`, beside the arithmetic that they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pindb.hashing import Key, key_bytes, partition, partition_groups, partition_many

keys: st.SearchStrategy[Key] = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])), st.binary(), st.integers()
)
hosts = st.one_of(st.integers(1, 64), st.integers(1, 2**40), st.sampled_from([2**31, 2**32, 2**33]))


def reference(key: Key, n: int) -> int:
    """The remainder of the CRC's four bytes as a signed number."""
    return int.from_bytes(crc32(key_bytes(key)).to_bytes(4, "big"), "big", signed=True) % n


@given(key=keys, n=hosts)
def test_partition_is_the_signed_crc_modulo_n(key: Key, n: int) -> None:
    assert partition(key, n) == reference(key, n)


@given(many=st.lists(keys), n=hosts)
def test_many_keys_go_where_each_of_them_goes(many: list[Key], n: int) -> None:
    assert partition_many(many, n) == [reference(key, n) for key in many]


@given(many=st.one_of(st.lists(keys), st.lists(st.text("abc"))), n=st.integers(1, 9))
def test_groups_have_the_places_of_the_keys_of_each_host(many: list[Key], n: int) -> None:
    expected: list[list[int]] = [[] for _ in range(n)]
    for place, key in enumerate(many):
        expected[reference(key, n)].append(place)
    assert partition_groups(many, n) == expected


def test_keys_may_come_from_a_generator() -> None:
    def generate() -> Iterator[Key]:
        yield "foo"
        yield b"foo"
        yield 3

    assert partition_many(generate(), 7) == [partition(key, 7) for key in ("foo", b"foo", 3)]


def test_both_signs_occur() -> None:
    unsigned = {key: crc32(key.encode()) for key in ("foo", "bar")}
    assert unsigned["foo"] > 0x7FFFFFFF or unsigned["bar"] > 0x7FFFFFFF
    assert partition("foo", 3) == (unsigned["foo"] - 2**32) % 3


@pytest.mark.parametrize("n", [0, -1])
def test_less_than_one_host_is_an_error(n: int) -> None:
    with pytest.raises(ValueError, match=rf"n is {n}\b"):
        partition("foo", n)
    with pytest.raises(ValueError, match=rf"n is {n}\b"):
        partition_many([], n)
    with pytest.raises(ValueError, match=rf"n is {n}\b"):
        partition_groups([], n)
