"""Where the time of pindb's maps goes, function by function."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Mapping

from benchmarks.map.jobs import SINGLE_GET, Job

__all__ = ["print_profile"]

ROUNDS = 10
ENTRIES = 15


def print_profile(work: Mapping[str, Job]) -> None:
    """Print, for each job that uses a map, the functions that take most of its time.

    The profiler's own cost lies on each call of a Python function, so what is called for each command looks
    larger than it is.
    """
    for case, job in work.items():
        if case == SINGLE_GET:
            continue
        profiler = cProfile.Profile()
        for _ in range(ROUNDS):
            profiler.runcall(job)
        print(f"== {case}, {ROUNDS} rounds")
        pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(ENTRIES)
