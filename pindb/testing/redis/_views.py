"""What a node of a Redis Cluster says about the cluster: the reply to CLUSTER NODES."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: Flags of a node that another one cannot reach, or does not know yet.
TROUBLE = frozenset(["fail", "fail?", "handshake", "noaddr"])


@dataclass(frozen=True)
class Node:
    """A node, as a node sees it.

    Attributes:
        flags: for example ``{"myself", "master"}``.
        master: the id of its master; empty for masters.
        epoch: its configuration epoch; of replicas, that of their master.
        ranges: the first and the last slot of each range that it has.
    """

    flags: frozenset[str]
    master: str
    epoch: int
    ranges: tuple[tuple[int, int], ...]

    @property
    def is_master(self) -> bool:
        return "master" in self.flags

    @property
    def slots(self) -> list[int]:
        return [slot for first, last in self.ranges for slot in range(first, last + 1)]


@dataclass(frozen=True)
class View:
    """All nodes that a node knows, by their ids."""

    nodes: Mapping[str, Node]

    @classmethod
    def of(cls, reply: bytes) -> View:
        """Read a reply to CLUSTER NODES."""
        nodes = {}
        for line in reply.decode().splitlines():
            # Each line: id, address, flags, master, ping, pong, epoch, link, slots.
            node, _, flags, master, _, _, epoch, _, *slots = line.split()
            # Slots in brackets are on their way from or to the node that replies.
            ranges = (text.partition("-") for text in slots if not text.startswith("["))
            nodes[node] = Node(
                frozenset(flags.split(",")),
                master.strip("-"),
                int(epoch),
                tuple((int(first), int(last or first)) for first, _, last in ranges),
            )
        return cls(nodes)

    @property
    def age(self) -> int:
        """The highest configuration epoch: the higher, the later is what the node has heard of."""
        return max((node.epoch for node in self.nodes.values() if node.is_master), default=0)

    def facts(self, ids: Iterable[str]) -> dict[str, tuple[object, ...]]:
        """Return what all have to agree on about some nodes: roles, epochs and slots."""
        known = ((node, self.nodes[node]) for node in ids if node in self.nodes)
        return {name: (node.master, node.is_master and node.epoch, node.ranges) for name, node in known}


def newest(views: Iterable[View]) -> View:
    """Return the view of the node that knows of the latest failover or move of a slot."""
    return max(views, key=lambda view: view.age, default=View({}))


def owners(views: Iterable[View]) -> dict[int, str]:
    """Return the id of each slot's master: of several that have it, as different nodes say, the latest."""
    claims = {(node.epoch, name, node.ranges) for view in views for name, node in view.nodes.items()}
    return {
        slot: name
        for _, name, ranges in sorted(claims)
        for first, last in ranges
        for slot in range(first, last + 1)
    }
