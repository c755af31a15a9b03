"""`Continuum`: python-continuum's documented session, what was measured on it, and errors."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pindb.hashing import Continuum, Server
from tests.threads import again_and_again, switching_often

SESSION = """
>>> from pindb.hashing import Continuum
>>> c = Continuum()
>>> c.resolve('my-key1')
Traceback (most recent call last):
...
IndexError: empty continuum
>>> c.add_server('192.168.0.1', 8080)
<Server "192.168.0.1:8080", capacity=1>
>>> c.add_server('192.168.0.2', 8080)
<Server "192.168.0.2:8080", capacity=1>
>>> c.add_server('192.168.0.3', 8080, 2)
<Server "192.168.0.3:8080", capacity=2>
>>> server = c.add_server('192.168.0.4', 8080)
>>> c.remove_server(server)
>>> len(c)
3
>>> c.add_server('192.168.0.2', 8080)
Traceback (most recent call last):
...
TypeError: server already added
>>> c.resolve('my-first-key')
<Server "192.168.0.1:8080", capacity=1>
>>> c.resolve('my-other-key')
<Server "192.168.0.3:8080", capacity=2>
"""

KEYS = [f"key-{i}" for i in range(500)]


def make(*servers: tuple[str, int, float], totaldots: int = 1000) -> Continuum:
    continuum = Continuum(totaldots, autogenerate=False)
    for server in servers:
        continuum.add_server(*server)
    continuum.generate()
    return continuum


def points(continuum: Continuum) -> list[int]:
    """How many points each server has, in their order."""
    owners = continuum._ring[3][:-1]
    return [owners.count(server) for server in continuum]


def test_documented_session() -> None:
    test = doctest.DocTestParser().get_doctest(SESSION, {}, "continuum", None, 0)
    assert doctest.DocTestRunner().run(test).failed == 0


# Measured on python-continuum 0.1.1 (Python 2.7), as tests/vectors are: numbers of points that depend on the
# order of its arithmetic, and keys beyond the last point of servers with a remainder.


@pytest.mark.parametrize(
    ("totaldots", "capacities", "measured"),
    [
        (100, [29, 71], [28, 71]),
        (1000, [1, 1, 1], [333, 333, 333]),
        (10, [0.5, 1.25], [2, 7]),
        (1000, [1, 1, 2, 3, 4, 5, 6], [45, 45, 90, 136, 181, 227, 272]),
    ],
)
def test_measured_numbers_of_points(totaldots: int, capacities: list[float], measured: list[int]) -> None:
    servers = [(f"h{i}", 1, capacity) for i, capacity in enumerate(capacities)]
    assert points(make(*servers, totaldots=totaldots)) == measured


def test_measured_servers_where_few_points_are_left_over() -> None:
    continuum = make(("a", 1, 0.5), ("b", 2, 1.25), totaldots=10)
    names = "".join(continuum.resolve(key).hostname for key in KEYS[:60])
    assert names == "bbbbbbbbbababbbbbbbbbbbbbbbabbbbbbbbbbbbbabbbbaabbabbbbbabbb"


def test_capacities_with_fractions_are_added_one_after_the_other() -> None:
    capacities = [0.7, 0.3, 0.9, 0.6, 0.2, 0.5, 0.2, 1.5, 0.7]
    continuum = make(*((f"h{i}", 1, capacity) for i, capacity in enumerate(capacities)))
    assert continuum.resolve("k4946").hostname == "h1"
    # Their exact sum is 5.6, which gives h0 and h8 a point more.
    assert points(continuum) == [124, 53, 160, 107, 35, 89, 35, 267, 124]


@given(st.integers(2, 8), st.data())
def test_the_ring_depends_only_on_the_servers_and_their_order(count: int, data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, count - 1))
    continuum = make(*((f"h{i}", 1, 1) for i in range(count)))
    continuum.remove_server(Server(f"h{gone}", 1))
    continuum.generate()
    fresh = make(*((f"h{i}", 1, 1) for i in range(count) if i != gone))
    assert continuum._ring == fresh._ring


def test_without_autogenerate_nothing_changes_until_generate() -> None:
    continuum = Continuum(autogenerate=False)
    first = continuum.add_server("a", 1)
    assert len(continuum) == 1
    with pytest.raises(IndexError, match="empty continuum"):
        continuum.resolve("foo")
    continuum.generate()
    assert continuum.resolve("foo") is first
    second = continuum.add_server("b", 1)
    assert {continuum.resolve(key) for key in KEYS} == {first}
    continuum.generate()
    assert {continuum.resolve(key) for key in KEYS} == {first, second}
    continuum.remove_server(first)
    assert {continuum.resolve(key) for key in KEYS} == {first, second}
    continuum.generate()
    assert {continuum.resolve(key) for key in KEYS} == {second}


def test_the_last_server_can_be_removed() -> None:
    continuum = Continuum()
    continuum.remove_server(continuum.add_server("a", 1))
    assert len(continuum) == 0
    with pytest.raises(IndexError, match="empty continuum"):
        continuum.resolve("foo")


def test_servers_can_be_looked_at() -> None:
    continuum = make(("a", 1, 1), ("b", 2, 2.5))
    assert continuum.servers == tuple(continuum) == (Server("a", 1), Server("b", 2))
    assert [(s.hostname, s.port, s.capacity) for s in continuum] == [("a", 1, 1), ("b", 2, 2.5)]
    assert repr(continuum.servers[1]) == '<Server "b:2", capacity=2.5>'
    assert repr(continuum) == "<Continuum of 2 servers>"


def test_servers_of_the_same_address_are_equal() -> None:
    assert Server("a", 1, 1) == Server("a", 1, 2) != Server("a", 2, 1)
    assert len({Server("a", 1, 1), Server("a", 1, 2)}) == 1


def test_an_unknown_server_cannot_be_removed() -> None:
    continuum = make(("a", 1, 1))
    with pytest.raises(ValueError, match='The ring has no <Server "a:2", capacity=1>'):
        continuum.remove_server(Server("a", 2))
    assert len(continuum) == 1


@pytest.mark.parametrize("capacity", [0, -1, float("inf"), float("nan")])
def test_a_capacity_is_above_0(capacity: float) -> None:
    continuum = Continuum()
    with pytest.raises(ValueError, match=f"capacity is {capacity}"):
        continuum.add_server("a", 1, capacity)
    assert len(continuum) == 0


def test_there_is_at_least_one_point() -> None:
    with pytest.raises(ValueError, match="totaldots is 0"):
        Continuum(0)


def test_look_ups_see_the_ring_before_or_after_a_change() -> None:
    continuum = make(*((f"h{i}", 1, 1) for i in range(4)))
    before = [continuum.resolve(key) for key in KEYS]
    last = continuum.servers[-1]
    smaller = make(*((f"h{i}", 1, 1) for i in range(3)))
    allowed = [{one, smaller.resolve(key)} for one, key in zip(before, KEYS, strict=True)]
    continuum.autogenerate = True

    def change() -> None:
        continuum.remove_server(last)
        continuum.add_server(last.hostname, last.port)

    with switching_often(), again_and_again(change):
        for _ in range(50):
            assert all(continuum.resolve(key) in ok for key, ok in zip(KEYS, allowed, strict=True))
