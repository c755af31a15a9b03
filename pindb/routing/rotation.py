"""Rotation: weighted round robin over the replicas of each set."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import cycle

from pindb.conf import on_change
from pindb.sets.definitions import get_sets

__all__ = ["Rotation", "make_rotation", "rotations"]


class Rotation:
    """The replicas of a set in turn, each as often as its weight says. Safe under threads.

    Arguments:
        alias: the master's alias.

    Attributes:
        replicas: the aliases of the replicas.
        turns: endless aliases. ``next()`` on a cycle is atomic, so threads share the cycle without a lock.
        length: the number of turns until the order repeats.
    """

    __slots__ = ("length", "replicas", "turns")

    def __init__(self, alias: str) -> None:
        sets = get_sets()
        order = spread(sets.weights[alias])
        # A random start: after a deployment, the first requests of all processes must not hit one replica.
        start = random.randrange(len(order) or 1)  # noqa: S311
        self.turns: Iterator[str] = cycle(order[start:] + order[:start])
        self.replicas = sets.replicas[alias]
        self.length = len(order)


def spread(weights: dict[str, int]) -> list[str]:
    """Return each name as often as its weight, evenly spread: smooth weighted round robin, as in nginx."""
    total = sum(weights.values())
    credit = dict.fromkeys(weights, 0)
    order = []
    for _ in range(total):
        for name, weight in weights.items():
            credit[name] += weight
        chosen = max(credit, key=credit.__getitem__)
        credit[chosen] -= total
        order.append(chosen)
    return order


#: By the master's alias. Read without a function call, since the first read of each request does so.
rotations: dict[str, Rotation] = {}


def make_rotation(alias: str) -> Rotation:
    """Make the rotation of the set of the master `alias`, if no other thread has done so meanwhile."""
    return rotations.setdefault(alias, Rotation(alias))


@on_change
def _forget(setting: str) -> None:
    rotations.clear()
