"""Who does what when: the same for everybody, from a seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

__all__ = ["Load", "Step", "make_schedule"]

#: The shortest and the longest time (seconds) between two requests of a session. They are spread evenly over
#: the orders of magnitude, so that some reads come at once after a write, and most do not.
THINK = 0.02, 20.0

#: How many of the requests write.
WRITES = 0.15


@dataclass(frozen=True)
class Load:
    """How much happens.

    Attributes:
        sessions: how many visitors there are at the same time.
        run_in: how long (seconds) they are there before the figures begin. Then as many of them are pinned
            for 15 seconds as will be later on.
        seconds: how long the figures are taken.
        seed: what the schedule follows from.
    """

    sessions: int
    run_in: float
    seconds: float
    seed: int = 1


@dataclass(frozen=True)
class Step:
    """One request.

    Attributes:
        due: when it is made, in seconds from the start.
        session: whose it is: 0, 1 ...
        writes: whether it writes; else it reads.
    """

    due: float
    session: int
    writes: bool


def make_schedule(load: Load) -> list[Step]:
    """All requests, the first one first."""
    random_ = random.Random(load.seed)
    low, high = map(math.log, THINK)
    steps = []
    for session in range(load.sessions):
        due = random_.uniform(0, 1)
        while due < load.run_in + load.seconds:
            steps.append(Step(due, session, random_.random() < WRITES))
            due += math.exp(random_.uniform(low, high))
    return sorted(steps, key=lambda step: step.due)
