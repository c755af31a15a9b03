"""Promises: a value that is there later."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pindb.redis import Promise

ENGINES = ["plain", "redis-cluster"]

BOOM = ValueError("boom")


def state_of(promise: Promise) -> tuple[bool, bool, bool, Any, Any]:
    """Whether it is pending, resolved, or rejected; its value, and its reason."""
    states = promise.is_pending, promise.is_resolved, promise.is_rejected
    return (*states, promise.value, promise.reason)


def test_a_new_promise_is_pending() -> None:
    assert state_of(Promise()) == (True, False, False, None, None)


@pytest.mark.parametrize("value", [1, "text", None, False, [], BOOM])
def test_a_resolved_promise_has_its_value(value: object) -> None:
    promise = Promise()
    promise.resolve(value)
    assert state_of(promise) == (False, True, False, value, None)
    assert promise.value is value


def test_a_rejected_promise_has_its_reason() -> None:
    promise = Promise()
    promise.reject(BOOM)
    assert state_of(promise) == (False, False, True, None, BOOM)


def test_a_promise_is_settled_once() -> None:
    resolved, rejected = Promise.resolved(1), Promise.rejected(BOOM)
    for promise in (resolved, rejected):
        promise.resolve(2)
        promise.reject(KeyError())
    assert (resolved.value, resolved.reason) == (1, None)
    assert (rejected.value, rejected.reason) == (None, BOOM)


def test_ready_made_promises() -> None:
    assert Promise.resolved(3).value == 3
    assert Promise.rejected(BOOM).reason is BOOM


@pytest.mark.parametrize(
    ("promise", "text"),
    [
        (Promise(), "<Promise pending>"),
        (Promise.resolved("x"), "<Promise resolved: 'x'>"),
        (Promise.rejected(BOOM), "<Promise rejected: ValueError: boom>"),
    ],
)
def test_repr_shows_the_state(promise: Promise, text: str) -> None:
    assert repr(promise) == text


def test_promises_are_tiny() -> None:
    promise = Promise()
    assert not hasattr(promise, "__dict__")
    assert sys.getsizeof(promise) <= 48
    with pytest.raises(AttributeError):
        promise.other = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="other"):
        promise.other  # noqa: B018


# ---- done ----------------------------------------------------------------------------------------


def test_done_calls_back_and_returns_the_promise() -> None:
    seen: list[Any] = []
    promise = Promise()
    assert promise.done(seen.append, seen.append) is promise
    assert seen == []
    promise.resolve(1)
    assert seen == [1]


def test_done_learns_of_a_rejection() -> None:
    seen: list[Any] = []
    promise = Promise().done(on_failure=seen.append)
    promise.reject(BOOM)
    assert seen == [BOOM]


@pytest.mark.parametrize(("promise", "result"), [(Promise.resolved(1), 1), (Promise.rejected(BOOM), BOOM)])
def test_done_on_a_settled_promise_calls_at_once(promise: Promise, result: object) -> None:
    seen: list[Any] = []
    assert promise.done(seen.append, seen.append) is promise
    assert seen == [result]


def test_done_without_callbacks_changes_nothing() -> None:
    assert Promise.resolved(1).done().value == 1
    assert Promise().done().is_pending


def test_callbacks_are_called_in_their_order_and_once() -> None:
    seen: list[str] = []
    promise = Promise()
    for name in ("a", "b", "c"):
        promise.done(lambda value, name=name: seen.append(name + value))  # type: ignore[misc]
    promise.resolve("!")
    promise.resolve("?")
    assert seen == ["a!", "b!", "c!"]


def test_a_callback_that_raises_keeps_no_other_from_the_value() -> None:
    seen: list[Any] = []
    promise = Promise().done(lambda value: 1 / 0).done(seen.append)
    with pytest.raises(ZeroDivisionError):
        promise.resolve(5)
    assert seen == [5]
    assert promise.value == 5


def test_a_callback_that_raises_keeps_no_other_from_the_reason() -> None:
    def fail(reason: object) -> None:
        raise KeyError(reason)

    seen: list[Any] = []
    promise = Promise().done(on_failure=fail).done(on_failure=seen.append)
    with pytest.raises(KeyError):
        promise.reject(BOOM)
    assert seen == [BOOM]


# ---- then ----------------------------------------------------------------------------------------


def test_then_promises_what_the_callback_returns() -> None:
    promise = Promise()
    following = promise.then(lambda value: value + 1).then(lambda value: value * 10)
    assert following is not promise
    assert following.is_pending
    promise.resolve(1)
    assert promise.value == 1
    assert following.value == 20


def test_then_on_a_settled_promise() -> None:
    assert Promise.resolved(1).then(lambda value: value + 1).value == 2
    assert Promise.rejected(BOOM).then(failure=lambda reason: str(reason)).value == "boom"


def test_then_without_callbacks_hands_on() -> None:
    assert Promise.resolved(1).then().value == 1
    assert Promise.rejected(BOOM).then().reason is BOOM
    assert Promise.rejected(BOOM).then(lambda value: value).then(lambda value: value).reason is BOOM
    assert Promise.resolved(1).then(failure=lambda reason: 2).value == 1


def test_then_rejects_with_what_a_callback_raises() -> None:
    assert isinstance(Promise.resolved(0).then(lambda value: 1 / value).reason, ZeroDivisionError)

    def fail(reason: BaseException) -> None:
        raise KeyError from reason

    assert isinstance(Promise.rejected(BOOM).then(failure=fail).reason, KeyError)


def test_then_waits_for_a_promise_that_a_callback_returns() -> None:
    inner = Promise()
    following = Promise.resolved(1).then(lambda value: inner)
    assert following.is_pending
    inner.resolve("inner")
    assert following.value == "inner"


def test_then_is_rejected_by_a_promise_that_a_callback_returns() -> None:
    inner = Promise()
    following = Promise.resolved(1).then(lambda value: inner)
    inner.reject(BOOM)
    assert following.reason is BOOM


def test_a_failure_that_was_handled_goes_on_as_success() -> None:
    seen: list[Any] = []
    Promise.rejected(BOOM).then(failure=lambda reason: "saved").done(seen.append)
    assert seen == ["saved"]


# ---- a promise as the value ----------------------------------------------------------------------


def test_a_promise_as_the_value_is_waited_for() -> None:
    inner, outer = Promise(), Promise()
    outer.resolve(inner)
    assert outer.is_pending
    inner.resolve(7)
    assert outer.value == 7


def test_a_settled_promise_as_the_value() -> None:
    assert Promise.resolved(Promise.resolved(1)).value == 1
    assert Promise.resolved(Promise.rejected(BOOM)).reason is BOOM


def test_a_promise_cannot_wait_for_itself() -> None:
    promise = Promise()
    promise.resolve(promise)
    assert isinstance(promise.reason, TypeError)


# ---- all -----------------------------------------------------------------------------------------


def test_all_of_a_list() -> None:
    promises = [Promise(), Promise(), Promise()]
    together = Promise.all(promises)
    for i in (2, 0, 1):
        assert together.is_pending
        promises[i].resolve(i)
    assert together.value == [0, 1, 2]


@pytest.mark.parametrize(
    ("promises", "values"),
    [
        pytest.param((Promise.resolved(1), Promise.resolved(2)), (1, 2), id="tuple"),
        pytest.param((Promise.resolved(i) for i in range(3)), [0, 1, 2], id="iterator"),
        pytest.param([1, 2], [1, 2], id="values"),
        pytest.param([], [], id="empty list"),
        pytest.param((), (), id="empty tuple"),
        pytest.param({}, {}, id="empty dict"),
    ],
)
def test_all_of_what_is_settled_is_resolved(promises: Any, values: Any) -> None:
    together = Promise.all(promises)
    assert (type(together.value), together.value) == (type(values), values)


def test_all_of_a_dict() -> None:
    promises = {"a": Promise(), "b": Promise.resolved(2)}
    together = Promise.all(promises)
    promises["a"].resolve(1)
    assert together.value == {"a": 1, "b": 2}
    assert list(together.value) == ["a", "b"]


def test_all_takes_values_among_the_promises() -> None:
    promise = Promise()
    together = Promise.all([1, promise, None])
    promise.resolve(2)
    assert together.value == [1, 2, None]


def test_all_takes_the_same_promise_twice() -> None:
    promise = Promise()
    together = Promise.all([promise, promise])
    promise.resolve(1)
    assert together.value == [1, 1]


def test_the_first_rejection_rejects_all() -> None:
    promises = [Promise(), Promise(), Promise()]
    together = Promise.all(promises)
    promises[1].reject(BOOM)
    assert together.reason is BOOM
    promises[0].resolve(1)
    promises[2].reject(KeyError())
    assert together.reason is BOOM


# ---- handled or not ------------------------------------------------------------------------------


def test_a_rejection_that_nobody_waits_for_is_unhandled() -> None:
    assert Promise.rejected(BOOM).is_unhandled
    assert not Promise.resolved(1).is_unhandled
    assert not Promise().is_unhandled


def test_who_waits_for_success_only_handles_nothing() -> None:
    promise = Promise().done(lambda value: None)
    promise.reject(BOOM)
    assert promise.is_unhandled


def test_who_waits_for_failure_handles_it() -> None:
    before, after = Promise(), Promise.rejected(BOOM)
    before.done(on_failure=lambda reason: None)
    before.reject(BOOM)
    assert not before.is_unhandled
    assert not after.done(on_failure=lambda reason: None).is_unhandled


@pytest.mark.parametrize("is_handled", [True, False])
def test_a_chain_handles_it_where_its_end_does(is_handled: bool) -> None:
    promise = Promise()
    following = promise.then(lambda value: value)
    if is_handled:
        following = following.then(failure=lambda reason: None)
    promise.reject(BOOM)
    assert promise.is_unhandled == following.is_unhandled == (not is_handled)


def test_all_passes_the_handling_on() -> None:
    handled, unhandled = Promise(), Promise()
    Promise.all([handled]).done(on_failure=lambda reason: None)
    Promise.all([unhandled])
    handled.reject(BOOM)
    unhandled.reject(BOOM)
    assert not handled.is_unhandled
    assert unhandled.is_unhandled


def test_what_went_on_to_a_settled_promise_is_handled_there() -> None:
    first, second = Promise(), Promise()
    Promise.all([first, second]).done(on_failure=lambda reason: None)
    first.reject(BOOM)
    second.reject(KeyError())
    assert not first.is_unhandled
    assert not second.is_unhandled


def test_who_comes_late_handles_it_where_the_chain_does() -> None:
    promise = Promise.rejected(BOOM)
    following = promise.then(lambda value: value)
    assert promise.is_unhandled
    following.then(failure=lambda reason: None)
    assert not promise.is_unhandled


# ---- many of them --------------------------------------------------------------------------------

MANY = 100_000


def chain_of(promise: Promise, number: int) -> Promise:
    for _ in range(number):
        promise = promise.then(lambda value: value + 1)
    return promise


def test_chains_have_any_length() -> None:
    promise = Promise()
    end = chain_of(promise, MANY)
    promise.resolve(0)
    assert end.value == MANY


def test_chains_of_any_length_are_rejected() -> None:
    promise, handled = Promise(), Promise()
    end = chain_of(promise, MANY // 5)
    promise.reject(BOOM)
    assert end.reason is BOOM
    assert promise.is_unhandled
    chain_of(handled, MANY // 5).done(on_failure=lambda reason: None)
    handled.reject(BOOM)
    assert not handled.is_unhandled


def test_promises_that_wait_for_one_another_are_as_many_as_you_like() -> None:
    innermost = outer = Promise()
    for _ in range(MANY // 5):
        inner, outer = outer, Promise()
        outer.resolve(inner)
    for _ in range(MANY // 5):
        outer = Promise.all([outer]).then(lambda values: values[0])
    innermost.resolve("it")
    assert outer.value == "it"


def test_promises_that_callbacks_return_are_as_many_as_you_like() -> None:
    more = [Promise() for _ in range(MANY // 5)]
    promise = end = Promise()
    rest = iter(more)
    for _ in more:
        end = end.then(lambda value: next(rest))
    promise.resolve(0)
    for number, each in enumerate(more):
        each.resolve(number)
    assert end.value == len(more) - 1


def test_many_may_wait_for_one_promise() -> None:
    """In a time that grows with their number, and not with its square."""
    promise = Promise()
    seen: list[Any] = []
    for _ in range(MANY):
        promise.done(seen.append)
    promise.resolve("it")
    assert len(seen) == MANY


def test_callbacks_are_called_down_the_chain_first() -> None:
    promise = Promise()
    seen: list[str] = []
    promise.then(lambda value: seen.append("a")).then(lambda value: seen.append("b"))
    promise.done(lambda value: seen.append("c"))
    promise.resolve(1)
    assert seen == ["a", "b", "c"]


def test_an_interruption_in_a_callback_keeps_no_other_from_the_value() -> None:
    def interrupt(value: Any) -> None:
        raise KeyboardInterrupt

    seen: list[Any] = []
    promise = Promise()
    following = promise.done(lambda value: 1 / 0).then(interrupt)
    promise.done(seen.append)
    with pytest.raises(KeyboardInterrupt):
        promise.resolve(5)
    assert seen == [5]
    assert isinstance(following.reason, KeyboardInterrupt)
