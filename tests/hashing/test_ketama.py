"""`Ketama`: what moves when nodes come and go, shares, order, names of points, threads, errors."""

from __future__ import annotations

import copy
import hashlib
import math
import pickle
import re
import struct
from bisect import bisect
from collections import Counter
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pindb.hashing import Ketama, ketama
from pindb.hashing.rings import make_ring
from tests.processes import output_of
from tests.threads import again_and_again, in_threads, switching_often

KEYS = [f"key:{i}" for i in range(1000)]
NAMES = st.text("abc:0123", min_size=1, max_size=8)
NODES = st.lists(NAMES, min_size=1, max_size=12, unique=True)
WEIGHTS = st.one_of(st.integers(1, 10), st.floats(0.1, 10))


@st.composite
def weighted(draw: st.DrawFn) -> dict[str, float]:
    return {node: draw(WEIGHTS) for node in draw(NODES)}


def shares(ring: Ketama[str]) -> dict[str, float]:
    """Which part of all positions belongs to each node: exactly, by the gaps before its points."""
    _, _, points, owners = ring._ring
    found: Counter[str] = Counter()
    for before, point, owner in zip([points[-1] - 2**32, *points], points, owners, strict=False):
        assert owner is not None
        found[owner] += point - before
    return {node: found[node] / 2**32 for node in ring}


def reference(nodes: dict[str, float], key: bytes) -> str:
    """The rule of the vectors' README, written plainly."""
    total: float = 0
    # Not sum(), which rounds in the end only from Python 3.12 on.
    for weight in sorted(nodes.values()):
        total += weight
    ring = []
    for node, weight in nodes.items():
        for i in range(math.floor(40 * len(nodes) * weight / total)):
            digest = hashlib.md5(f"{node}-{i}-salt".encode()).digest()
            ring += [(point, node) for point in struct.unpack("<4I", digest)]
    ring.sort()
    position = struct.unpack("<I", hashlib.md5(key).digest()[:4])[0]
    return ring[bisect([point for point, _ in ring], position) % len(ring)][1]


@settings(max_examples=25)
@given(nodes=st.dictionaries(NAMES, st.integers(1, 5), min_size=1, max_size=6), key=st.binary())
def test_a_key_goes_to_the_first_point_beyond_its_hash(nodes: dict[str, float], key: bytes) -> None:
    assert Ketama(nodes, nodes).get_node(key) == reference(nodes, key)


@pytest.mark.parametrize(
    ("count", "weight", "measured"), [(8, 0.7, 39), (7, 0.9, 39), (6, 0.1, 40), (6, 1.3, 40), (3, 0.5, 40)]
)
def test_weights_with_fractions_are_added_one_after_the_other(
    count: int, weight: float, measured: int
) -> None:
    """The numbers are those of rb and Nydus; with the exact sum of the weights, the first four are others."""
    nodes = {f"n{i}": weight for i in range(count)}
    owners = Ketama(nodes, nodes)._ring[3][:-1]
    assert {node: owners.count(node) for node in nodes} == dict.fromkeys(nodes, 4 * measured)


class Position(NamedTuple):
    """In the place of an MD5: a key whose hash is known."""

    data: bytes

    def digest(self) -> bytes:
        return int(self.data).to_bytes(4, "little") + bytes(12)


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_look_ups_around_every_point(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    ring = Ketama(f"node-{i}" for i in range(count))
    _, _, points, owners = ring._ring
    around = {p + step for p in points for step in (-1, 0, 1)}
    around |= {(p >> 16 << 16) + step for p in points for step in (-1, 0, 0xFFFF, 0x10000)}
    positions = [position for position in {0, 2**32 - 1} | around if 0 <= position < 2**32]
    monkeypatch.setattr(ketama, "md5", Position)
    expected = [owners[bisect(points, position)] for position in positions]
    assert [ring.get_node(position) for position in positions] == expected
    assert ring.get_node_many(positions) == expected


def test_more_nodes_than_the_table_has_numbers_for() -> None:
    many = [(point, 0, point) for point in range(70_000)]
    table, known, points, owners = make_ring([*many, (2**31, 0, -1)])
    assert len(table) == 2**16
    assert table[2**14] == 0
    assert owners[bisect(points, 2**30)] == -1
    assert known[table[3 * 2**14]] == owners[bisect(points, 3 * 2**30)] == 0


@settings(max_examples=50)
@given(nodes=NODES, data=st.data())
def test_removing_a_node_moves_only_its_keys(nodes: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(nodes))
    ring = Ketama(nodes)
    before = ring.get_node_many(KEYS)
    ring.remove_node(gone)
    after = ring.get_node_many(KEYS)
    assert gone not in after
    assert all(old == new for old, new in zip(before, after, strict=True) if old != gone)


@settings(max_examples=50)
@given(nodes=NODES, new=NAMES)
def test_adding_a_node_moves_keys_only_to_it(nodes: list[str], new: str) -> None:
    ring = Ketama(node for node in nodes if node != new)
    before = ring.get_node_many(KEYS)
    ring.add_node(new)
    after = ring.get_node_many(KEYS)
    assert new in after
    assert all(a in (b, new) for b, a in zip(before, after, strict=True))


@settings(max_examples=50)
@given(nodes=weighted(), new=NAMES, weight=WEIGHTS)
def test_a_steady_ring_moves_no_other_keys_with_any_weights(
    nodes: dict[str, float], new: str, weight: float
) -> None:
    nodes.pop(new, None)
    ring = Ketama(nodes, nodes, steady=True)
    before = ring.get_node_many(KEYS)
    ring.add_node(new, weight)
    after = ring.get_node_many(KEYS)
    assert all(a in (b, new) for b, a in zip(before, after, strict=True))
    ring.remove_node(new)
    assert ring.get_node_many(KEYS) == before


@given(nodes=NODES)
def test_a_steady_ring_of_equal_weights_is_the_ring_of_rb(nodes: list[str]) -> None:
    assert Ketama(nodes, steady=True)._ring == Ketama(nodes)._ring


@settings(max_examples=50)
@given(nodes=weighted(), steady=st.booleans(), digests=st.sampled_from([40, 100]))
def test_shares_follow_the_weights(nodes: dict[str, float], steady: bool, digests: int) -> None:
    """A node with p points has its part of the points, give or take 6 / sqrt(p) of it; and its part of the
    points is its part of the weight, but for less than one digest a node, which is rounded away.
    """
    ring = Ketama(nodes, nodes, steady=steady, digests=digests)
    owners = Counter(ring._ring[3][:-1])
    total = sum(owners.values())
    for node, share in shares(ring).items():
        points = owners[node]
        exact = digests * 4 * nodes[node]
        if not steady:
            exact *= len(nodes) / sum(nodes.values())
        assert exact - 4 <= points <= exact + 1e-6
        part = points / total
        assert part * (1 - 6 / math.sqrt(points or 1)) <= share <= part * (1 + 6 / math.sqrt(points or 1))


def test_shares_of_equal_nodes_are_within_a_third() -> None:
    for count in range(2, 33):
        ring = Ketama(f"10.0.0.{i}:6379/0" for i in range(count))
        assert all(abs(share * count - 1) < 1 / 3 for share in shares(ring).values())


def test_more_digests_make_shares_more_even() -> None:
    ring = Ketama((f"10.0.0.{i}:6379/0" for i in range(8)), digests=1000)
    assert all(abs(share * 8 - 1) < 0.06 for share in shares(ring).values())


@settings(max_examples=50)
@given(nodes=NODES, key=st.text("abc"), count=st.integers(0, 15))
def test_get_nodes_follow_the_ring(nodes: list[str], key: str, count: int) -> None:
    ring = Ketama(nodes)
    found = ring.get_nodes(key, count)
    assert len(found) == len(set(found)) == min(count, len(nodes))
    for node in found:
        assert ring.get_node(key) == node
        ring.remove_node(node)


@given(nodes=weighted(), data=st.data())
def test_the_order_of_nodes_does_not_matter(nodes: dict[str, float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(list(nodes)))
    assert Ketama(order, nodes)._ring == Ketama(nodes, nodes)._ring


def test_a_point_of_two_nodes_goes_to_the_lesser_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ketama, "points_of", lambda name: (int(name.split("-")[1]),))
    for nodes in ("ab", "ba"):
        ring = Ketama(nodes)
        assert set(ring.get_node_many(KEYS)) == {"a"}
        ring.remove_node("a")
        assert set(ring.get_node_many(KEYS)) == {"b"}


def test_every_process_has_the_same_ring() -> None:
    code = (
        "from pindb.hashing import Ketama\n"
        "ring = Ketama('abcdef', {'a': 3})\n"
        "print(''.join(ring.get_node(f'key:{i}') for i in range(1000)))"
    )
    expected = "".join(map(str, Ketama("abcdef", {"a": 3}).get_node_many(KEYS)))
    for seed in ("1", "2"):
        assert output_of("-c", code, PYTHONHASHSEED=seed).strip() == expected


def test_an_empty_ring_has_no_node() -> None:
    ring: Ketama[str] = Ketama()
    assert ring.get_node("foo") is None
    assert ring.get_node_many(["foo", "bar"]) == [None, None]
    assert ring.get_nodes("foo", 3) == []
    ring.add_node("a")
    ring.remove_node("a")
    assert ring.get_node("foo") is None


def test_nodes_can_be_looked_at() -> None:
    ring = Ketama(["a", "b"], {"b": 2})
    ring.add_node("c", 1.5)
    assert ring.nodes == tuple(ring) == ("a", "b", "c")
    assert ring.weights == {"a": 1, "b": 2, "c": 1.5}
    assert len(ring) == 3
    assert "c" in ring
    assert "d" not in ring
    assert repr(ring) == "<Ketama of 3 nodes>"
    ring.weights["d"] = 1
    assert "d" not in ring


def test_a_node_may_be_anything_hashable() -> None:
    nodes = [("host", 6379), 7, frozenset({1})]
    ring: Ketama[Any] = Ketama(nodes, {7: 2})
    assert set(ring.get_node_many(KEYS)) == set(nodes)
    ring.remove_node(7)
    assert set(ring.get_node_many(KEYS)) == {nodes[0], nodes[2]}
    names = Ketama([str(node) for node in nodes], {"7": 2})
    names.remove_node("7")
    assert [str(node) for node in ring.get_node_many(KEYS)] == names.get_node_many(KEYS)


def test_names_of_points_as_a_format_or_a_function() -> None:
    salted = Ketama("abc")
    plain = Ketama("abc", point_name="{node}-{i}")
    assert salted.get_node_many(KEYS) != plain.get_node_many(KEYS)
    called = Ketama("abc", point_name=lambda node, i: f"{node}-{i}")
    assert called._ring == plain._ring
    hosts = {1: "a", 2: "b", 3: "c"}
    by_id = Ketama(hosts, point_name=lambda node, i: f"{hosts[node]}-{i}-salt")
    found = by_id.get_node_many(KEYS)
    assert [hosts[node] for node in found if node] == salted.get_node_many(KEYS)


def test_names_with_braces_are_taken_as_they_are() -> None:
    braces = Ketama(["{node}", "{", "}"])
    assert set(braces.get_node_many(KEYS)) == {"{node}", "{", "}"}


def test_a_format_may_take_a_part_of_a_node() -> None:
    class Host(NamedTuple):
        name: str
        password: str

    ring = Ketama([Host("a", "1"), Host("b", "2"), Host("c", "3")], point_name="{node.name}-{i}-salt")
    assert [host.name for host in ring.get_node_many(KEYS) if host] == Ketama("abc").get_node_many(KEYS)


@pytest.mark.parametrize("name", ["{node}-{i}-{salt}", "{}-{}", "{node", "{node:d}-{i}"])
def test_a_wrong_format_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"point_name is {name!r}")) as caught:
        Ketama("ab", point_name=name)
    assert "{node} and {i}" in str(caught.value)


@pytest.mark.parametrize("name", ["{node}", "{i}", "point"])
def test_points_need_names_of_their_own(name: str) -> None:
    with pytest.raises(ValueError, match="Two points have the name"):
        Ketama("ab", point_name=name)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda ring: pickle.loads(pickle.dumps(ring))])
def test_a_copy_is_a_ring_of_its_own(copied: Any) -> None:
    ring = Ketama("abc", {"a": 2})
    other = copied(ring)
    assert other.get_node_many(KEYS) == ring.get_node_many(KEYS)
    other.remove_node("a")
    assert "a" in ring
    assert "a" in ring.get_node_many(KEYS)


def test_a_node_is_on_the_ring_once() -> None:
    with pytest.raises(ValueError, match="already has the node 'a'"):
        Ketama(["a", "b", "a"])
    ring = Ketama(["a"])
    with pytest.raises(ValueError, match="already has the node 'a'"):
        ring.add_node("a", 2)
    assert ring.weights == {"a": 1}


def test_two_nodes_of_the_same_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="Two points have the name '1-0-salt': one of 1 and one of '1'"):
        Ketama([1, "1"])
    ring: Ketama[Any] = Ketama([1])
    with pytest.raises(ValueError, match="Two points have the name '1-0-salt': one of 1 and one of '1'"):
        ring.add_node("1")


def test_an_unknown_node_cannot_be_removed() -> None:
    with pytest.raises(ValueError, match="no node 'b'"):
        Ketama("a").remove_node("b")


@pytest.mark.parametrize("weight", [0, -1, -0.5, float("inf"), float("nan")])
def test_a_weight_is_above_0(weight: float) -> None:
    ring = Ketama("a")
    with pytest.raises(ValueError, match=f"weight of 'b' is {weight}"):
        ring.add_node("b", weight)
    with pytest.raises(ValueError, match=f"weight of 'b' is {weight}"):
        Ketama("ab", {"b": weight})
    assert ring.nodes == ("a",)


@pytest.mark.parametrize("weight", ["2", None, True])
def test_a_weight_is_a_number(weight: Any) -> None:
    with pytest.raises(TypeError, match=f"weight of 'b' is a {type(weight).__name__}"):
        Ketama("a").add_node("b", weight)


def test_a_weight_for_no_node_is_an_error() -> None:
    with pytest.raises(ValueError, match="weights has 'c'"):
        Ketama("ab", {"c": 2})


def test_a_node_without_a_name_is_an_error() -> None:
    class Host:
        pass

    with pytest.raises(TypeError, match="points of a Host are named by its address in memory"):
        Ketama([Host()])
    hosts = [Host(), Host()]
    ring = Ketama(hosts, point_name=lambda node, i: f"{hosts.index(node)}-{i}")
    assert set(ring.get_node_many(KEYS)) == set(hosts)


def test_a_node_has_digests() -> None:
    with pytest.raises(ValueError, match="digests is 0"):
        Ketama("ab", digests=0)


def test_a_count_is_not_negative() -> None:
    with pytest.raises(ValueError, match="count is -1"):
        Ketama("ab").get_nodes("foo", -1)


def test_a_node_of_very_small_weight_gets_points_on_a_steady_ring() -> None:
    weights = {"a": 1, "b": 0.001}
    assert set(Ketama("ab", weights).get_node_many(KEYS)) == {"a"}
    assert Ketama("ab", weights).get_nodes("foo", 2) == ["a"]
    assert set(Ketama("ab", weights, steady=True).get_node_many(KEYS)) == {"a", "b"}


@pytest.mark.parametrize("builtin", [True, False])
def test_md5_comes_from_hashlib_where_python_has_none_of_its_own(builtin: bool) -> None:
    code = (
        "import sys\n"
        f"if not {builtin}: sys.modules['_md5'] = None\n"
        "from pindb.hashing import Ketama, rings\n"
        "assert isinstance(rings.md5, type(print)) is "
        f"{builtin}\n"
        "ring = Ketama('abcdef')\n"
        "print(''.join(ring.get_node(f'key:{i}') for i in range(1000)))"
    )
    assert output_of("-c", code).strip() == "".join(map(str, Ketama("abcdef").get_node_many(KEYS)))


def test_look_ups_see_the_ring_before_or_after_a_change() -> None:
    ring = Ketama("abcd")
    before = ring.get_node_many(KEYS)
    after = Ketama("abc").get_node_many(KEYS)

    def change() -> None:
        ring.remove_node("d")
        ring.add_node("d")

    seen: set[int] = set()
    rounds = 0
    with switching_often(), again_and_again(change):
        # On a busy machine it takes a while until the threads take turns.
        while rounds < 200 or (seen != {3, 4} and rounds < 20_000):
            rounds += 1
            assert ring.get_node_many(KEYS) in (before, after)
            nodes = [ring.get_node(key) for key in KEYS]
            assert all(node in pair for node, *pair in zip(nodes, before, after, strict=True))
            assert all(len(set(ring.get_nodes(key, 4))) in (3, 4) for key in KEYS[:20])
            seen.add(len(ring.nodes))
    assert seen == {3, 4}


def test_no_change_of_several_threads_is_lost() -> None:
    ring: Ketama[str] = Ketama()

    def add(place: int) -> None:
        for i in range(place * 8, place * 8 + 8):
            ring.add_node(f"node-{i}")

    with switching_often():
        in_threads(4, add)
    assert set(ring.nodes) == {f"node-{i}" for i in range(32)}
    assert ring._ring == Ketama(f"node-{i}" for i in range(32))._ring
