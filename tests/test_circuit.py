"""A server that failed is left alone for a while: who tries it again, and when."""

from __future__ import annotations

import pytest

from pindb._circuit import CircuitBreaker
from tests.redis.tools import Clock
from tests.threads import in_threads


@pytest.fixture
def failed(clock: Clock) -> CircuitBreaker:
    """The server has failed just now."""
    circuit = CircuitBreaker(5)
    circuit.fail()
    return circuit


def test_everybody_passes_at_first() -> None:
    circuit = CircuitBreaker(5)
    assert [circuit.wait() for _ in range(3)] == [0, 0, 0]
    assert not circuit.is_open


def test_a_failure_stops_everybody_for_a_while(failed: CircuitBreaker, clock: Clock) -> None:
    assert failed.is_open
    clock.now += 1.5
    assert [failed.wait() for _ in range(3)] == [3.5] * 3


def test_a_failure_may_have_a_time_of_its_own(clock: Clock) -> None:
    circuit = CircuitBreaker(5)
    circuit.fail(7)
    assert circuit.wait() == 7


def test_one_caller_tries_when_the_time_has_come(failed: CircuitBreaker, clock: Clock) -> None:
    clock.now += 5
    assert [failed.wait() for _ in range(3)] == [0, 5, 5]
    assert failed.is_open


def test_of_many_threads_one_tries(failed: CircuitBreaker, clock: Clock) -> None:
    for _ in range(20):
        clock.now += 5
        assert sorted(in_threads(16, lambda _: failed.wait())) == [0] + [5] * 15


def test_success_closes_it(failed: CircuitBreaker, clock: Clock) -> None:
    clock.now += 5
    assert failed.wait() == 0
    failed.succeed()
    assert not failed.is_open
    assert [failed.wait() for _ in range(3)] == [0, 0, 0]


def test_a_trial_that_fails_begins_the_time_anew(failed: CircuitBreaker, clock: Clock) -> None:
    clock.now += 5
    assert failed.wait() == 0
    clock.now += 2
    failed.fail()
    clock.now += 4.5
    assert failed.wait() == 0.5
    clock.now += 0.5
    assert failed.wait() == 0


def test_a_trial_that_is_never_heard_of_again_is_followed_by_another(
    failed: CircuitBreaker, clock: Clock
) -> None:
    for _ in range(3):
        clock.now += 5
        assert [failed.wait(), failed.wait()] == [0, 5]
