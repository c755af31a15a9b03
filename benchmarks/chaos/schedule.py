"""What happens to which server and when, from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

__all__ = ["MASTER", "REPLICAS", "SETTLED", "Action", "Schedule", "make_schedule"]

MASTER = "master"
REPLICAS = ("replica-0", "replica-1")

#: How long (seconds) a server has had nothing done to it before it counts as one to rely on; longer than a
#: replica that has come back is left alone.
SETTLED = 3.5

#: How long (seconds) is between the starts of two failures, and how long each kind lasts: at least, at most.
#: Pauses end before pins by time do.
BETWEEN = (0.4, 2.0)
LASTS = {"kill": (0.3, 4.0), "stop": (0.3, 4.0), "pause": (1.0, 4.0), "restart": (0.2, 2.0)}

#: What ends a failure that something begins with.
ENDS = {"kill": "start", "stop": "start", "pause": "resume"}

#: How often each kind is dealt.
DECK = ("kill", "kill", "stop", "pause", "pause", "restart", "restart")


class Action(NamedTuple):
    """Something that is done to a server.

    Attributes:
        at: when, in seconds from the start of the load.
        verb: ``kill``, ``stop``, ``start``, ``pause`` or ``resume``: a method of `PostgresReplicaSet`.
        member: to whom.
    """

    at: float
    verb: str
    member: str


@dataclass(frozen=True)
class Schedule:
    """Actions in their order, which leave all servers running.

    Attributes:
        seconds: how long the load lasts.
        actions: what is done meanwhile.
    """

    seconds: float
    actions: Sequence[Action]


class _Failure(NamedTuple):
    kind: str
    member: str
    begin: float
    end: float

    def actions(self) -> tuple[Action, Action]:
        begin = "stop" if self.kind == "restart" else self.kind
        return Action(self.begin, begin, self.member), Action(self.end, ENDS[begin], self.member)


def make_schedule(seed: int, quick: bool = False) -> Schedule:
    """A minute of failures that overlap; quick: one of each kind, one after the other.

    While the master is away, one replica at least has had time to settle and nothing is done to it. All else
    may happen: both replicas away at once, one away and the other one paused.
    """
    random = Random(seed)
    failures = _one_of_each(random) if quick else _many(random, 60.0)
    actions = sorted(action for failure in failures for action in failure.actions())
    return Schedule(10.0 if quick else 60.0, actions)


def _one_of_each(random: Random) -> list[_Failure]:
    killed, paused = random.sample(REPLICAS, 2)
    return [
        _Failure("kill", killed, 1.0, 1.0 + random.uniform(0.3, 1.0)),
        _Failure("pause", paused, 4.5, 4.5 + random.uniform(0.5, 1.0)),
        _Failure("restart", MASTER, 7.0, 7.0 + random.uniform(0.2, 0.8)),
    ]


def _many(random: Random, seconds: float) -> list[_Failure]:
    failures: list[_Failure] = []
    deck: list[str] = []
    begin = 1.0
    while begin < seconds - SETTLED - max(most for _, most in LASTS.values()):
        if not deck:
            deck = random.sample(DECK, len(DECK))
        for kind in deck:
            member = MASTER if kind == "restart" else random.choice(REPLICAS)
            failure = _Failure(kind, member, begin, begin + random.uniform(*LASTS[kind]))
            if _is_allowed(failure, failures):
                failures.append(failure)
                deck.remove(kind)
                break
        begin += random.uniform(*BETWEEN)
    return failures


def _is_allowed(failure: _Failure, others: Sequence[_Failure]) -> bool:
    if not _is_free(failure.member, failure.begin, failure.end, others):
        return False
    return all(
        any(_is_free(replica, away.begin, away.end, (*others, failure)) for replica in REPLICAS)
        for away in (*others, failure)
        if away.member == MASTER
    )


def _is_free(member: str, begin: float, end: float, failures: Sequence[_Failure]) -> bool:
    """Whether nothing is done to a server from some time before `begin` until some time after `end`."""
    return not any(
        failure.member == member and failure.begin < end + SETTLED and begin < failure.end + SETTLED
        for failure in failures
    )
