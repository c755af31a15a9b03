"""What all rings of MD5 points have in common."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Hashable, Iterable
from functools import partial, reduce
from operator import add, itemgetter
from struct import Struct
from typing import Protocol, TypeAlias, TypeVar

__all__ = [
    "POINTS_A_DIGEST",
    "Digest",
    "Ring",
    "add_up",
    "first_point",
    "make_ring",
    "md5",
    "points_of",
    "upper_bits",
]

T = TypeVar("T", bound=Hashable)


class Digest(Protocol):
    """A finished hash."""

    def digest(self) -> bytes: ...


def _fastest_md5() -> Callable[[bytes], Digest]:
    """CPython's own MD5: it takes half the time of the one that `hashlib` gets from OpenSSL, for short keys.

    A Python can be built without it.
    """
    try:
        from _md5 import md5  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return partial(hashlib.md5, usedforsecurity=False)
    fastest: Callable[[bytes], Digest] = md5
    return fastest


#: MD5, to place keys and not to protect anything.
md5 = _fastest_md5()

#: A digest has 16 bytes: four points, each a little-endian number of 32 bits.
POINTS_A_DIGEST = 4

#: The first point of a digest, in a tuple: the position of a key on the ring.
first_point: Callable[[bytes], tuple[int]] = Struct("<I12x").unpack

#: The upper 16 bits of the first point, in a tuple.
upper_bits: Callable[[bytes], tuple[int]] = Struct("<2xH12x").unpack

_all_points = Struct("<4I").unpack

#: A ring that nobody changes: look up in it with the lines that `make_ring` names.
Ring: TypeAlias = tuple["array[int]", list[T | None], list[int], list[T | None]]


def add_up(numbers: Iterable[float]) -> float:
    """The sum of numbers that are added one after the other, and rounded each time.

    The original programs add like this, and numbers of points depend on it. `math.fsum`, and `sum` from
    Python 3.12 on, are more exact, and so place some keys elsewhere.
    """
    return reduce(add, numbers, 0)


def points_of(name: str) -> tuple[int, ...]:
    """The four points that the digest of `name` gives."""
    points: tuple[int, ...] = _all_points(md5(name.encode()).digest())
    return points


def make_ring(entries: Iterable[tuple[int, int, T]]) -> Ring[T]:
    """Sort points into a ring.

    A digest's owner is that of the first point beyond the digest's position, wrapping::

        table, known, points, owners = ring
        owner = known[index] if (index := table[upper_bits(digest)[0]]) else (
            owners[bisect(points, first_point(digest)[0])]
        )

    The search is what takes time, and the table spares most look-ups that: of all positions with the same
    upper 16 bits, few have a point among them, and where there is none, all have the same owner.

    Arguments:
        entries: each point with the rank and the owner. Where two owners have the same point, it belongs to
            the one of lower rank.

    Returns:
        A table by the upper 16 bits of a position: an index into the second list, or 0 where only a search
        can tell; that list; the points in ascending order; their owners, with the first again at the end.
        Without entries, every owner is None.
    """
    ring = sorted(entries, key=itemgetter(0, 1))
    points = [point for point, _, _ in ring]
    owners: list[T | None] = [owner for _, _, owner in ring]
    owners.append(owners[0] if owners else None)
    known: list[T | None] = [None, *dict.fromkeys(owners)]
    # What the table has no number for is searched for.
    indexes = {owner: index if index < 2**16 else 0 for index, owner in enumerate(known)}
    table = array("H")
    for point, owner in zip([*points, 2**32], owners, strict=True):
        table.extend(array("H", [indexes[owner]]) * ((point >> 16) - len(table)))
        if len(table) == point >> 16 < 2**16:
            table.append(0)
    return table, known, points, owners
