"""Jitter: random differences between waiting times, so that processes do not all retry at the same moment."""

from __future__ import annotations

import random

__all__ = ["jitter"]

#: The largest difference, as a share of the time.
SPREAD = 0.2


def jitter(seconds: float) -> float:
    """Return a random time that differs from `seconds` by at most a fifth."""
    return seconds * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311
