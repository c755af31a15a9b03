"""What a key is, and what is none: the same for every way of placing keys."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pindb.hashing import (
    Continuum,
    Ketama,
    hash_tag,
    key_bytes,
    partition,
    partition_groups,
    partition_many,
    slot,
)

RING = Ketama(["a", "b", "c", "d", "e"])
CONTINUUM = Continuum()
for port in range(5):
    CONTINUUM.add_server("host", port)

PLACES: dict[str, Callable[[Any], object]] = {
    "partition": lambda key: partition(key, 1009),
    "partition_groups": lambda key: partition_groups([key], 1009),
    "partition_many": lambda key: partition_many([key], 1009)[0],
    "get_node": RING.get_node,
    "get_node_many": lambda key: RING.get_node_many([key])[0],
    "get_nodes": lambda key: RING.get_nodes(key, 5),
    "resolve": CONTINUUM.resolve,
    "slot": slot,
    "hash_tag": hash_tag,
    "key_bytes": key_bytes,
}
every_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())


class Text(str):
    __slots__ = ()


class Word(str, enum.Enum):
    FOO = "foo"


class Number(enum.IntEnum):
    TWELVE = 12


class Loud(int):
    def __str__(self) -> str:
        return "loud"

    __repr__ = __str__


def test_bytes_of_each_kind_of_key() -> None:
    assert key_bytes("kéy") == b"k\xc3\xa9y"
    assert key_bytes(b"k\xff") == b"k\xff"
    assert key_bytes(-12) == b"-12"
    assert type(key_bytes(bytearray(b"k"))) is bytes


@every_place
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_hashed_as_utf8(place: Callable[[Any], object], text: str) -> None:
    data = text.encode()
    places = [place(key) for key in (text, Text(text), data, bytearray(data), memoryview(data))]
    assert places == [places[0]] * 5


@every_place
@given(number=st.integers())
def test_integers_are_hashed_as_decimal_text(place: Callable[[Any], object], number: int) -> None:
    assert place(number) == place(str(number)) == place(Loud(number))


@every_place
def test_members_of_an_enum_are_hashed_as_their_values(place: Callable[[Any], object]) -> None:
    assert place(Word.FOO) == place("foo")
    assert place(Number.TWELVE) == place("12")


@every_place
def test_a_view_need_not_be_contiguous(place: Callable[[Any], object]) -> None:
    assert place(memoryview(b"a-b-c")[::2]) == place("abc")


@every_place
@pytest.mark.parametrize(
    "key", [None, True, 1.5, ("a",), ["a"], object()], ids=lambda key: type(key).__name__
)
def test_another_type_is_an_error_that_names_it(place: Callable[[Any], object], key: object) -> None:
    with pytest.raises(TypeError, match=rf"\bnot {type(key).__name__}\b"):
        place(key)


@every_place
def test_text_that_has_no_utf8_is_an_error(place: Callable[[Any], object]) -> None:
    with pytest.raises(UnicodeEncodeError):
        place("\ud800")
