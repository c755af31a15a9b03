"""Results of maps that are there: whatever is done with them is done with their values."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pindb.redis import CommandCancelled, Promise, Result, ResultPending, get_value

ENGINES = ["plain", "redis-cluster"]

NUMBERS = st.integers(-50, 50) | st.floats(allow_nan=True) | st.booleans()
VALUES = (
    NUMBERS
    | st.none()
    | st.binary(max_size=4)
    | st.text(max_size=4)
    | st.lists(st.integers(-9, 9), max_size=3)
    | st.dictionaries(st.binary(max_size=1), st.integers(0, 9), max_size=2)
    | st.frozensets(st.integers(0, 3))
)

COMPARING = [operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge]
COUNTING = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, divmod),
    *(operator.and_, operator.or_, operator.xor, operator.matmul, operator.lshift, operator.rshift),
]
IN_PLACE = [operator.iadd, operator.isub, operator.imul, operator.iand, operator.ior]


def result(value: Any) -> Any:
    """The result of a command that has its value. (Any: no type checker takes it for the value.)"""
    return Result(Promise.resolved(value))


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    """What comes of a call, as something that can be compared: also an error, and NaN."""
    try:
        value = call(*args)
    except Exception as error:
        return type(error)
    return type(value), repr(value)


# ---- operators -----------------------------------------------------------------------------------


@given(VALUES, VALUES)
def test_comparing_is_comparing_values(left: Any, right: Any) -> None:
    for operation in COMPARING:
        expected = outcome(operation, left, right)
        assert outcome(operation, result(left), right) == expected
        assert outcome(operation, left, result(right)) == expected
        assert outcome(operation, result(left), result(right)) == expected


@given(VALUES, VALUES)
def test_counting_is_counting_values(left: Any, right: Any) -> None:
    for operation in COUNTING:
        expected = outcome(operation, left, right)
        assert outcome(operation, result(left), right) == expected
        assert outcome(operation, result(left), result(right)) == expected
        # Text on the left of % formats what is on the right, and complains of less where that has items.
        if not (operation is operator.mod and isinstance(left, (str, bytes))):
            assert outcome(operation, left, result(right)) == expected


@given(st.integers(-5, 5), st.integers(-5, 5), st.none() | st.integers(-5, 5))
def test_powers_are_powers_of_values(base: int, exponent: int, modulus: int | None) -> None:
    assert outcome(operator.pow, result(base), exponent) == outcome(operator.pow, base, exponent)
    assert outcome(operator.pow, base, result(exponent)) == outcome(operator.pow, base, exponent)
    assert outcome(pow, result(base), exponent, modulus) == outcome(pow, base, exponent, modulus)


@given(
    st.integers(-9, 9) | st.lists(st.integers(), max_size=2), st.integers(-9, 9), st.sampled_from(IN_PLACE)
)
def test_counting_in_place_makes_plain_values(left: Any, right: int, operation: Any) -> None:
    before = copy.deepcopy(left)
    assert outcome(operation, result(left), right) == outcome(operation, copy.deepcopy(left), right)
    assert left == before


READING: list[Callable[[Any], Any]] = [
    *(bool, str, bytes, int, float, complex, len, hash, abs, repr, format, ascii, dir),
    *(list, tuple, set, frozenset, sorted, sum, min, max, any, all, round, math.trunc, math.floor, math.ceil),
    *(operator.neg, operator.pos, operator.index, operator.not_),
    dict,
    lambda value: list(enumerate(value)),
    lambda value: list(reversed(value)),
    lambda value: list(iter(value)),
    lambda value: [*value],
    lambda value: {**value},
    lambda value: list(zip(value, value, strict=True)),
    lambda value: [10, 20, 30][value],
    lambda value: "abcdef"[value],
    lambda value: list(range(value)),
    lambda value: value[0],
    lambda value: value[1:],
    lambda value: value[b"a"],
    lambda value: 5 in value,
    lambda value: b"a" in value,
    lambda value: [b"", 0, ""].index(value),
    lambda value: round(value, 1),
    lambda value: f"{value} {value!r} {value!s}",
    lambda value: f"{value:>6}",
    lambda value: f"{value:d}",
    lambda value: "%r" % (value,),  # noqa: UP031
    lambda value: isinstance(value, int),
    lambda value: isinstance(value, (bytes, str)),
    lambda value: isinstance(value, Sequence),
    lambda value: isinstance(value, Mapping),
    lambda value: value.__class__,
    lambda value: value.upper(),
    lambda value: value.decode(),
    lambda value: value.real,
    lambda value: value.no_such_attribute,
    lambda value: hasattr(value, "append"),
    lambda value: Counter([value, value]).most_common(),
    lambda value: {value: 1},
    lambda value: pickle.loads(pickle.dumps(value)),
    copy.copy,
    copy.deepcopy,
]


@given(VALUES)
def test_reading_is_reading_the_value(value: Any) -> None:
    for read in READING:
        assert outcome(read, result(value)) == outcome(read, value)


# ---- one by one ----------------------------------------------------------------------------------


def test_a_result_finds_its_value_in_collections_and_the_other_way_round() -> None:
    name = result(b"name")
    assert {b"name": 1}[name] == 1
    assert {name: 1}[b"name"] == 1
    assert name in {b"name"}
    assert b"name" in {name}
    assert name in [b"other", b"name"]
    assert b"am" in name
    assert result(b"am") in name
    assert [name].index(b"name") == [b"name"].index(name) == 0
    assert len({b"name", name, result(b"name")}) == 1


def test_results_are_sorted_and_summed_like_values() -> None:
    numbers = [result(number) for number in (3, 1, 2)]
    assert sorted(numbers) == [1, 2, 3]
    assert sum(numbers) == 6
    assert max(numbers) == 3
    assert sorted([*numbers, 0, 2.5]) == [0, 1, 2, 2.5, 3]
    assert sum([1, *numbers], start=result(10)) == 17
    assert math.sqrt(result(9)) == math.hypot(result(3), 0) == 3
    assert math.isnan(result(math.nan))
    assert ~result(5) == -6
    assert "%d %s" % (result(5), result(b"a")) == "5 b'a'"  # noqa: UP031
    words = [result(word) for word in (b"b", b"a")]
    assert sorted(words, reverse=True) == [b"b", b"a"]


def test_a_result_is_taken_for_an_instance_of_its_value_s_class() -> None:
    assert isinstance(result(5), int)
    assert not isinstance(result(5), str)
    assert isinstance(result([]), list)
    assert isinstance(result(None), type(None))
    assert isinstance(result(5), Result)
    assert type(result(5)) is Result


def test_copies_are_copies_of_the_value() -> None:
    inner = [1]
    value = [inner]
    shallow, deep = copy.copy(result(value)), copy.deepcopy(result(value))
    assert type(shallow) is type(deep) is list
    assert shallow == deep == value
    assert shallow is not value
    assert shallow[0] is inner
    assert deep[0] is not inner
    together = copy.deepcopy({"a": result(value)})
    assert type(together["a"]) is list


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_has_the_value_alone(protocol: int) -> None:
    value = {b"a": [1, 2.5, None]}
    loaded = pickle.loads(pickle.dumps([result(value), result(5)], protocol))
    assert loaded == [value, 5]
    assert [type(one) for one in loaded] == [dict, int]


def test_items_of_a_result_can_be_set_and_deleted() -> None:
    changed = result({b"a": 1})
    changed[b"b"] = 2
    del changed[result(b"a")]
    assert changed == {b"b": 2}
    assert changed.pop(b"b") == 2
    assert not changed


def test_a_result_in_a_list_of_arguments() -> None:
    names = result([b"a", b"b"])
    first, second = names
    assert [first, second] == [b"a", b"b"]
    assert max(*names) == b"b"
    assert dict(**result({"a": 1})) == {"a": 1}
    assert [number for number in range(5) if number == result(3)] == [3]


def test_times_are_counted_with() -> None:
    saved = result(datetime(2020, 1, 1, tzinfo=timezone.utc))
    later = datetime(2020, 1, 2, tzinfo=timezone.utc)
    assert later - saved == timedelta(days=1)
    assert saved + timedelta(days=1) == later
    assert saved.year == 2020


def test_the_plain_value() -> None:
    value = [b"a"]
    assert get_value(result(value)) is value
    assert get_value(value) is value
    assert type(get_value(result(5))) is int
    assert bytearray(result(b"a")) == b"a"
    assert b"".join(map(get_value, [result(b"a"), b"b"])) == b"ab"


def test_the_result_of_a_command_that_failed_acts_as_the_exception() -> None:
    failed: Any = Result(Promise.rejected(KeyError("k")))
    assert isinstance(failed, KeyError)
    assert failed.args == ("k",)
    assert repr(failed) == "KeyError('k')"
    with pytest.raises(KeyError):
        raise get_value(failed)


# ---- not there -----------------------------------------------------------------------------------

USES: list[Callable[[Any], Any]] = [
    *(bool, str, bytes, int, float, complex, len, hash, abs, format, iter, list, sorted, round),
    *(dir, reversed),
    *(copy.copy, copy.deepcopy, pickle.dumps, math.trunc, math.floor, math.ceil, operator.index, get_value),
    *(operator.neg, operator.pos, operator.invert, operator.not_),
    *(lambda value, call=call: call(value, 1) for call in (*COMPARING, *COUNTING, pow, *IN_PLACE)),
    *(lambda value, call=call: call(1, value) for call in (*COMPARING, *COUNTING, pow)),
    lambda value: f"{value}",
    lambda value: value[0],
    lambda value: operator.setitem(value, 0, 1),
    lambda value: operator.delitem(value, 0),
    lambda value: [1][value],
    lambda value: 1 in value,
    lambda value: value in [1],
    lambda value: {value: 1},
    lambda value: value.decode(),
    lambda value: isinstance(value, int),
    lambda value: value.__class__,
    lambda value: sum([value]),
]


@pytest.mark.parametrize("use", USES)
def test_a_result_that_is_not_there_cannot_be_used(use: Callable[[Any], Any]) -> None:
    with pytest.raises(ResultPending, match="after the with block"):
        use(Result(Promise()))


@pytest.mark.parametrize("use", USES)
def test_a_result_that_will_never_be_there_cannot_be_used(use: Callable[[Any], Any]) -> None:
    with pytest.raises(CommandCancelled):
        use(Result(Promise.rejected(CommandCancelled("The command was cancelled."))))


def test_a_result_can_always_be_shown() -> None:
    promise = Promise()
    waiting = Result(promise)
    assert repr(waiting) == f"{[waiting]!r}"[1:-1] == "<Result pending>"
    assert isinstance(waiting, Result)
    promise.resolve(b"value")
    assert repr(waiting) == "b'value'"
    cancelled = Result(Promise.rejected(CommandCancelled("The command was cancelled.")))
    assert repr(cancelled) == "<Result cancelled>"
