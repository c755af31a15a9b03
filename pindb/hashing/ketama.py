"""The ketama ring: consistent hashing on points of MD5.

The algorithm is libketama's, from Last.fm (https://github.com/RJ/ketama), with the names of points that rb
and Nydus use: both place each key on the same node as `Ketama` does with its defaults.
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

# One lock for the changes of all rings: they are rare, and a ring without a lock can be copied and pickled.
_changing = Lock()


class Ketama(Generic[Node]):
    """A ring of nodes: each key belongs to a node, and few keys move when nodes come and go.

    Each node has points on the ring, 160 on average, more of them if its weight is larger. A look-up hashes
    the key and takes the node of the first point beyond. Many threads may use and change a ring: a look-up
    sees it as it was before a change or as it is after it, never in between.

    Arguments:
        nodes: anything hashable. The text of a node (`str`) is in the names of its points, so it has to be
            the same in every process, and no two nodes may have the same.
        weights: for some of the nodes how large a part of the keys each is to get, beside 1 for the others.
        point_name: the names of points: a format with ``{node}`` and ``{i}``, or what is called with a node
            and a number and returns the name. libketama's own is ``"{node}-{i}"``.
        digests: how many digests, of four points each, a node has on average. More make shares more even
            and the ring larger.
        steady: the points of a node depend on its own weight alone, so that the other nodes' keys stay where
            they are when a node comes or goes. By default, as in libketama and rb, they depend on all
            weights: that is the same while all weights are equal. If they are not, some keys move between
            other nodes too, and a node with a very small part of the weight may get no points.

    Raises:
        ValueError: a node is there twice, two points have the same name, or a weight is not above 0 or is for
            none of the nodes.
        TypeError: a weight is not a number, or a node has no text but its address in memory.
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
            raise ValueError(f"A node needs at least 1 digest, not {digests!r}.")
        self._point_name = point_name
        self._digests = digests
        self._steady = steady
        weights = weights or {}
        weighted = _merged({}, [(node, weights.get(node, 1)) for node in nodes])
        for node in weights:
            if node not in weighted:
                raise ValueError(f"There is a weight for {node!r}, which is not among the nodes.")
        self._set(weighted)

    def get_node(self, key: Key) -> Node | None:
        """The node of `key`.

        Arguments:
            key: what is placed; see `key_bytes`.

        Returns:
            The node, or None when the ring is empty.

        Raises:
            TypeError: `key` is not text, bytes or an integer.
        """
        table, known, points, owners = self._ring
        # A call of key_bytes is saved for what most keys are.
        if type(key) is str:
            key = key.encode()
        elif type(key) is not bytes:
            key = key_bytes(key)
        digest = md5(key).digest()
        index = table[upper_bits(digest)[0]]
        return known[index] if index else owners[bisect(points, first_point(digest)[0])]

    def get_node_many(self, keys: Iterable[Key]) -> list[Node | None]:
        """`get_node` of each of many keys, all on the same state of the ring.

        Arguments:
            keys: what is placed.

        Returns:
            For each key its node, in the order of the keys; None for each when the ring is empty.

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
        """The nodes that follow `key` on the ring: its own, the one that has it when that is gone, and so on.

        Arguments:
            key: what is placed; see `key_bytes`.
            count: how many nodes to return at the most.

        Returns:
            Different nodes in the order of the ring. They are fewer than `count` where there are no more.

        Raises:
            TypeError: `key` is not text, bytes or an integer.
            ValueError: `count` is negative.
        """
        if count < 0:
            raise ValueError(f"count is {count!r}; it must be 0 or more.")
        _, _, points, owners = self._ring
        start = bisect(points, first_point(md5(key_bytes(key)).digest())[0])
        found: dict[Node, None] = {}
        for index in range(start, start + len(points)):
            if len(found) >= count:
                break
            # Owners of a ring with points are nodes; None stands only for an empty one.
            found[owners[index % len(points)]] = None  # type: ignore[index]
        return list(found)

    def add_node(self, node: Node, weight: float = 1) -> None:
        """Put a node on the ring. The keys that it gets are the only ones that move; but see `steady`.

        Arguments:
            node: the new node.
            weight: how large a part of the keys it is to get, beside the other nodes' weights.

        Raises:
            ValueError: `node`, or one whose points have the same names, is on the ring; or `weight` is not
                above 0.
            TypeError: `weight` is not a number, or `node` has no text but its address in memory.
        """
        with _changing.get():
            self._set(_merged(self._weights, [(node, weight)]))

    def remove_node(self, node: Node) -> None:
        """Take a node off the ring. The keys that it had are the only ones that move; but see `steady`.

        Arguments:
            node: one of the nodes.

        Raises:
            ValueError: `node` is not on the ring.
        """
        with _changing.get():
            weighted = dict(self._weights)
            if weighted.pop(node, None) is None:
                raise ValueError(f"{node!r} is not on the ring.")
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
        """Make the ring of these nodes. What look-ups read is replaced in one step, and never changed."""
        names = {
            node: [self._name(node, i) for i in range(digests)]
            for node, digests in self._digests_of(weighted)
        }
        _check_names(names)
        # A point that two nodes have goes to the same one in whatever order the nodes came.
        ranks = {node: rank for rank, node in enumerate(sorted(names, key=names.__getitem__))}
        self._ring: Ring[Node] = make_ring(
            (point, ranks[node], node) for node in names for name in names[node] for point in points_of(name)
        )
        self._weights = weighted

    def _digests_of(self, weighted: Mapping[Node, float]) -> Iterator[tuple[Node, int]]:
        # The originals add weights in the order of a set of text, which is another one in every process. By
        # size, the sum is the same in whatever order the nodes came, and theirs where all orders agree.
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
                f"The format of points' names {self._point_name!r} is wrong ({error}). "
                "It takes {node} and {i}."
            ) from error


def _merged(weighted: Mapping[Node, float], added: Iterable[tuple[Node, float]]) -> dict[Node, float]:
    """A copy of `weighted` with more nodes and their weights."""
    merged = dict(weighted)
    for node, weight in added:
        if node in merged:
            raise ValueError(f"{node!r} is on the ring already.")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise TypeError(f"The weight of {node!r} is of type {type(weight).__name__}, not a number.")
        if not 0 < weight < math.inf:
            raise ValueError(f"The weight of {node!r} is {weight!r}; it must be above 0, and finite.")
        merged[node] = weight
    return merged


def _check_names(names: Mapping[Node, list[str]]) -> None:
    """Refuse names of points that are not unique, or not the same in every process."""
    owners: dict[str, Node] = {}
    for node, of_node in names.items():
        # What has no text of its own has its address in memory for one.
        if of_node and f"{id(node):x}" in of_node[0].lower():
            raise TypeError(
                f"A node of type {type(node).__name__} has its address in memory in the names of its points "
                f"({of_node[0]!r}), which is another one in every process. Take text for a node, define "
                "__str__, or give a point_name."
            )
        for name in of_node:
            if name in owners:
                raise ValueError(
                    f"The name {name!r} stands for a point of {owners[name]!r} and for another of {node!r}. "
                    "Each point needs a name of its own: use both {node} and {i} in the format of names."
                )
            owners[name] = node
