"""What all rings of MD5 points have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from struct import Struct
from typing import Protocol, TypeVar

__all__ = ["POINTS_A_DIGEST", "Digest", "first_point", "make_ring", "md5", "points_of"]

T = TypeVar("T")


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

#: The first point of a digest, in a tuple: where a key is on the ring.
first_point: Callable[[bytes], tuple[int]] = Struct("<I12x").unpack

_all_points = Struct("<4I").unpack


def points_of(name: str) -> tuple[int, ...]:
    """The four points that the digest of `name` gives."""
    points: tuple[int, ...] = _all_points(md5(name.encode()).digest())
    return points


def make_ring(entries: Iterable[tuple[int, int, T]]) -> tuple[list[int], list[T | None]]:
    """Sort points into a ring.

    Arguments:
        entries: each point with the rank and the owner.

    Returns:
        The points in ascending order, and their owners, with the first one again at the end:
        ``owners[bisect(points, position)]`` is the owner of the first point beyond a position, wrapping.
        Where two owners have the same point, it belongs to the one of lower rank. Without entries the only
        owner is None.
    """
    ring = sorted(entries, key=itemgetter(0, 1))
    owners: list[T | None] = [owner for _, _, owner in ring]
    owners.append(owners[0] if owners else None)
    return [point for point, _, _ in ring], owners
