"""Redis servers and a Redis Cluster under load, while they are killed, paused, and changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.redis_chaos.load import SEED, unleash

if TYPE_CHECKING:
    from benchmarks.report import Report

__all__ = ["run"]


def run(quick: bool, seed: int = SEED) -> Report:
    """Measure; `quick` is one event of some kinds, with short times between them.

    Arguments:
        quick: a short run.
        seed: the order of the events.
    """
    return unleash(quick, seed)
