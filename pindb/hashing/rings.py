"""Common parts of all consistent hash rings: MD5 points, and fast look-ups."""

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
    """Hash object of `hashlib`, or of CPython's own MD5."""

    def digest(self) -> bytes: ...


def _fastest_md5() -> Callable[[bytes], Digest]:
    """Return CPython's own MD5, which takes half the time of OpenSSL's for short keys."""
    # Python can be built without it.
    try:
        from _md5 import md5  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return partial(hashlib.md5, usedforsecurity=False)
    fastest: Callable[[bytes], Digest] = md5
    return fastest


#: MD5, for placement only: nothing depends on its security.
md5 = _fastest_md5()

#: The points per digest: its 16 bytes are four little-endian numbers of 32 bits.
POINTS_A_DIGEST = 4

#: Returns the first point of a digest, the position of a key on the ring, in a tuple.
first_point: Callable[[bytes], tuple[int]] = Struct("<I12x").unpack

#: Returns the upper 16 bits of the first point, in a tuple.
upper_bits: Callable[[bytes], tuple[int]] = Struct("<2xH12x").unpack

_all_points = Struct("<4I").unpack

#: An immutable ring; `make_ring` shows how to look up a key.
Ring: TypeAlias = tuple["array[int]", list[T | None], list[int], list[T | None]]


def add_up(numbers: Iterable[float]) -> float:
    """Add numbers one after the other, with a rounding error at each step.

    The original programs add like this, and the numbers of points depend on it. `math.fsum`, and `sum` since
    Python 3.12, are more exact, which would place some keys elsewhere.
    """
    return reduce(add, numbers, 0)


def points_of(name: str) -> tuple[int, ...]:
    """Return the four points of the digest of `name`."""
    points: tuple[int, ...] = _all_points(md5(name.encode()).digest())
    return points


def make_ring(entries: Iterable[tuple[int, int, T]]) -> Ring[T]:
    """Make a ring from points.

    A key belongs to the owner of the first point after the position of its digest, wrapping around::

        table, known, points, owners = ring
        owner = known[index] if (index := table[upper_bits(digest)[0]]) else (
            owners[bisect(points, first_point(digest)[0])]
        )

    The table saves most look-ups the slow search: most intervals of positions with the same upper 16 bits
    contain no point, so all their positions have the same owner.

    Arguments:
        entries: points with the ranks and the owners of their nodes. If two owners have the same point, it
            belongs to the one with the lower rank.

    Returns:
        A table by the upper 16 bits of a position, with an index into the second list, or 0 if a search is
        needed; the list of owners for this index; the points in ascending order; and the owners of the
        points, with the first one repeated at the end. Without entries, every owner is None.
    """
    ring = sorted(entries, key=itemgetter(0, 1))
    points = [point for point, _, _ in ring]
    owners: list[T | None] = [owner for _, _, owner in ring]
    owners.append(owners[0] if owners else None)
    known: list[T | None] = [None, *dict.fromkeys(owners)]
    # Owners beyond the range of the table's numbers are found by search.
    indexes = {owner: index if index < 2**16 else 0 for index, owner in enumerate(known)}
    table = array("H")
    for point, owner in zip([*points, 2**32], owners, strict=True):
        table.extend(array("H", [indexes[owner]]) * ((point >> 16) - len(table)))
        if len(table) == point >> 16 < 2**16:
            table.append(0)
    return table, known, points, owners
