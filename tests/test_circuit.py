"""A server that failed is left alone for a while: who tries it again, and when."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pindb._circuit import CircuitBreaker
from tests.redis.tools import Clock

THREADS = 16


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which it is decided when to try a server again; it stands still."""
    clock = Clock()
    monkeypatch.setattr("pindb._circuit.time", clock)
    return clock


def test_everybody_passes_at_first() -> None:
    circuit = CircuitBreaker(5)
    assert [circuit.wait() for _ in range(3)] == [0, 0, 0]
    assert not circuit.is_open


def test_a_failure_stops_everybody_for_a_while(clock: Clock) -> None:
    circuit = CircuitBreaker(5)
    circuit.fail()
    assert circuit.is_open
    clock.now += 1.5
    assert [circuit.wait() for _ in range(3)] == [3.5] * 3


def test_a_failure_may_have_a_time_of_its_own(clock: Clock) -> None:
    circuit = CircuitBreaker(5)
    circuit.fail(7)
    assert circuit.wait() == 7


def test_one_caller_tries_when_the_time_has_come(clock: Clock) -> None:
    circuit = CircuitBreaker(5)
    circuit.fail()
    clock.now += 5
    assert [circuit.wait() for _ in range(3)] == [0, 5, 5]
    assert circuit.is_open


def test_of_many_threads_one_tries(clock: Clock) -> None:
    circuit = CircuitBreaker(5)
    circuit.fail()
    start = threading.Barrier(THREADS)

    def ask(_: int) -> float:
        start.wait(10)
        return circuit.wait()

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(20):
            clock.now += 5
            assert sorted(pool.map(ask, range(THREADS))) == [0] + [5] * (THREADS - 1)


def test_success_closes_it(clock: Clock) -> None:
    circuit = CircuitBreaker(5)
    circuit.fail()
    clock.now += 5
    assert circuit.wait() == 0
    circuit.succeed()
    assert not circuit.is_open
    assert [circuit.wait() for _ in range(3)] == [0, 0, 0]


def test_a_trial_that_fails_begins_the_time_anew(clock: Clock) -> None:
    circuit = CircuitBreaker(5)
    circuit.fail()
    clock.now += 5
    assert circuit.wait() == 0
    clock.now += 2
    circuit.fail()
    clock.now += 4.5
    assert circuit.wait() == 0.5
    clock.now += 0.5
    assert circuit.wait() == 0


def test_a_trial_that_is_never_heard_of_again_is_followed_by_another(clock: Clock) -> None:
    circuit = CircuitBreaker(5)
    circuit.fail()
    for _ in range(3):
        clock.now += 5
        assert [circuit.wait(), circuit.wait()] == [0, 5]
