"""Consistent hashing with a ketama ring, whose points come from MD5.

The algorithm is libketama's, by Last.fm (https://github.com/RJ/ketama). Points are named as in rb and Nydus,
so `Ketama` with its defaults places each key on the same node as they do.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from pindb._forks import Lock
from pindb.hashing.keys import Key, key_bytes
from pindb.hashing.rings import Ring, add_up, first_point, make_ring, md5, points_of, upper_bits

__all__ = ["Ketama"]

Node = TypeVar("Node", bound=Hashable)

# One lock for changes of all rings: changes are rare, and rings without a lock can be copied and pickled.
_changing = Lock()


class Ketama(Generic[Node]):
    """Consistent hash ring of nodes: few keys move when a node is added or removed.

    Each node has points on the ring: 160 on average, and more with a larger weight. A key belongs to the node
    of the first point after the key's hash. Safe under threads: a look-up sees the ring as it was before a
    change, or as it is after it.

    Arguments:
        nodes: hashable objects. A node's text (`str`) is part of the names of its points, so it has to be
            unique and the same in every process.
        weights: weights by node, relative to each other; 1 for nodes without one.
        point_name: the name of a point: a format with ``{node}`` and ``{i}``, or a function of the node and
            the number. libketama's own is ``"{node}-{i}"``.
        digests: the average number of digests per node, with four points each. More digests make the shares
            more even, and the ring larger.
        steady: let the points of a node depend on its own weight only, so that adding or removing a node
            moves no keys between other nodes. By default, as in libketama and rb, they depend on all weights.
            This makes no difference while all weights are equal. If they are not, some keys move between
            other nodes too, and a node with a very small share of the weight may get no points.

    Raises:
        ValueError: a node is there twice, two points have the same name, a weight is not above 0, or a weight
            is for an unknown node.
        TypeError: a weight is not a number, or the text of a node is its address in memory.
    """

    def __init__(
        self,
        nodes: Iterable[Node] = (),
        weights: Mapping[Node, float] | None = None,
        *,
        point_name: str | Callable[[Node, int], str] = "{node}-{i}-salt",
        digests: int = 40,
        steady: bool = False,
    ) -> None:
        if digests < 1:
            raise ValueError(f"digests is {digests!r}. Write 1 or more.")
        self._point_name = point_name
        self._digests = digests
        self._steady = steady
        weights = weights or {}
        weighted = _merged({}, [(node, weights.get(node, 1)) for node in nodes])
        for node in weights:
            if node not in weighted:
                raise ValueError(f"weights has {node!r}, which is not one of the nodes.")
        self._set(weighted)

    def get_node(self, key: Key) -> Node | None:
        """Return the node of `key`.

        Arguments:
            key: the key; see `key_bytes`.

        Returns:
            The node; None if the ring is empty.

        Raises:
            TypeError: `key` is not text, bytes or an integer.
        """
        table, known, points, owners = self._ring
        # Most keys are a str or bytes, and skip the call of key_bytes().
        if type(key) is str:
            key = key.encode()
        elif type(key) is not bytes:
            key = key_bytes(key)
        digest = md5(key).digest()
        index = table[upper_bits(digest)[0]]
        return known[index] if index else owners[bisect(points, first_point(digest)[0])]

    def get_node_many(self, keys: Iterable[Key]) -> list[Node | None]:
        """Return the node of each key, all by the same state of the ring.

        Arguments:
            keys: the keys.

        Returns:
            The nodes, in the order of the keys; None for each key if the ring is empty.

        Raises:
            TypeError: a key is not text, bytes or an integer.
        """
        table, known, points, owners = self._ring
        return [
            known[index] if index else owners[bisect(points, first_point(digest)[0])]
            for key in keys
            for data in (key.encode() if type(key) is str else key if type(key) is bytes else key_bytes(key),)
            for digest in (md5(data).digest(),)
            for index in (table[upper_bits(digest)[0]],)
        ]

    def get_nodes(self, key: Key, count: int) -> list[Node]:
        """Return the node of `key`, and the nodes that would have it if the nodes before them were removed.

        Arguments:
            key: the key; see `key_bytes`.
            count: the maximum number of nodes.

        Returns:
            Different nodes, in the order of the ring.

        Raises:
            TypeError: `key` is not text, bytes or an integer.
            ValueError: `count` is negative.
        """
        if count < 0:
            raise ValueError(f"count is {count!r}. Write 0 or more.")
        _, _, points, owners = self._ring
        start = bisect(points, first_point(md5(key_bytes(key)).digest())[0])
        found: dict[Node, None] = {}
        for index in range(start, start + len(points)):
            if len(found) >= count:
                break
            # A ring with points has nodes as owners: only an empty ring has None.
            found[owners[index % len(points)]] = None  # type: ignore[index]
        return list(found)

    def add_node(self, node: Node, weight: float = 1) -> None:
        """Add a node. Only the keys that it gets move, with equal weights or `steady`.

        Arguments:
            node: the new node.
            weight: its weight, relative to the other nodes.

        Raises:
            ValueError: the ring has `node`, or a node whose points have the same names; or `weight` is not
                above 0.
            TypeError: `weight` is not a number, or the text of `node` is its address in memory.
        """
        with _changing.get():
            self._set(_merged(self._weights, [(node, weight)]))

    def remove_node(self, node: Node) -> None:
        """Remove a node. Only the keys that it had move, with equal weights or `steady`.

        Arguments:
            node: one of the nodes.

        Raises:
            ValueError: the ring does not have `node`.
        """
        with _changing.get():
            weighted = dict(self._weights)
            if weighted.pop(node, None) is None:
                raise ValueError(f"The ring has no node {node!r}.")
            self._set(weighted)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes, in the order in which they were added."""
        return tuple(self._weights)

    @property
    def weights(self) -> dict[Node, float]:
        """The weight of every node."""
        return dict(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __contains__(self, node: object) -> bool:
        return node in self._weights

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} nodes>"

    def _set(self, weighted: dict[Node, float]) -> None:
        """Build the ring of these nodes. Look-ups need no lock: the ring is replaced in one step."""
        names = {
            node: [self._name(node, i) for i in range(digests)]
            for node, digests in self._digests_of(weighted)
        }
        _check_names(names)
        # If two nodes share a point, its owner must not depend on the order in which they were added.
        ranks = {node: rank for rank, node in enumerate(sorted(names, key=names.__getitem__))}
        self._ring: Ring[Node] = make_ring(
            (point, ranks[node], node) for node in names for name in names[node] for point in points_of(name)
        )
        self._weights = weighted

    def _digests_of(self, weighted: Mapping[Node, float]) -> Iterator[tuple[Node, int]]:
        # rb and libketama add weights in the order of a set, which varies by process. Adding them by size
        # makes the sum independent of the order, and equal to theirs wherever the order does not matter.
        total = add_up(sorted(weighted.values()))
        for node, weight in weighted.items():
            if self._steady:
                yield node, max(1, math.floor(self._digests * weight))
            else:
                yield node, math.floor(self._digests * len(weighted) * weight / total)

    def _name(self, node: Node, i: int) -> str:
        if callable(self._point_name):
            return self._point_name(node, i)
        try:
            return self._point_name.format(node=node, i=i)
        except (LookupError, ValueError) as error:
            raise ValueError(
                f"point_name is {self._point_name!r}, an invalid format ({error}). "
                "Write a format with {node} and {i}."
            ) from error


def _merged(weighted: Mapping[Node, float], added: Iterable[tuple[Node, float]]) -> dict[Node, float]:
    """Return a copy of `weighted` with more nodes and their weights."""
    merged = dict(weighted)
    for node, weight in added:
        if node in merged:
            raise ValueError(f"The ring already has the node {node!r}.")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise TypeError(f"The weight of {node!r} is a {type(weight).__name__}. Write a number above 0.")
        if not 0 < weight < math.inf:
            raise ValueError(f"The weight of {node!r} is {weight!r}. Write a finite number above 0.")
        merged[node] = weight
    return merged


def _check_names(names: Mapping[Node, list[str]]) -> None:
    """Raise an error unless the names of points are unique and the same in every process."""
    owners: dict[str, Node] = {}
    for node, of_node in names.items():
        # Without a __str__ of its own, the text of an object contains its address in memory.
        if of_node and f"{id(node):x}" in of_node[0].lower():
            raise TypeError(
                f"The points of a {type(node).__name__} are named by its address in memory ({of_node[0]!r}), "
                "which differs in every process. Use text as the node, define __str__, or pass point_name."
            )
        for name in of_node:
            if name in owners:
                raise ValueError(
                    f"Two points have the name {name!r}: one of {owners[name]!r} and one of {node!r}. Use "
                    "both {node} and {i} in point_name."
                )
            owners[name] = node
