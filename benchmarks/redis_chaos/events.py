"""Events: what happens to which shard, in an order that a seed fixes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

__all__ = ["PLANNED", "Event", "make_events"]

#: What an operator does on purpose, and what must cost nothing.
PLANNED = frozenset({"reshard", "fail over", "fail back"})

#: The kinds of events of each stage, and how often each comes.
DECKS = {
    "plain": ("restart", "kill", "pause", "hiccup"),
    "cluster": ("kill", "fail back", "pause", "reshard", "fail over", "restart", "hiccup", "reshard"),
}
QUICK = {"plain": ("restart",), "cluster": ("reshard", "kill")}


class Event(NamedTuple):
    """Something that happens to a shard.

    Attributes:
        kind: ``kill`` (with SIGKILL), ``pause`` (until a replica has taken over; on plain servers some
            seconds), ``hiccup`` (a pause that is too short for that), ``restart`` (at once), ``fail over``,
            ``reshard`` (slots move to another shard and back), or ``fail back`` (a master that was killed and
            has come back is made the master again).
        shard: to which shard.
        other: another shard, to which slots move.
        seconds: how long the load runs undisturbed before.
    """

    kind: str
    shard: int
    other: int
    seconds: float


def make_events(stage: str, shards: int, seed: int, quick: bool = False) -> Sequence[Event]:
    """Return the events of a stage, each kind at least once.

    Arguments:
        stage: ``plain`` or ``cluster``.
        shards: the number of shards.
        seed: what the order, the shards and the times come from.
        quick: a few events only.
    """
    random = Random(f"{stage} {seed}")
    deck = QUICK[stage] if quick else DECKS[stage]
    events = []
    for kind in deck if quick else random.sample(deck, len(deck)):
        shard, other = random.sample(range(shards), 2)
        events.append(Event(kind, shard, other, random.uniform(0.5, 1.0) if quick else random.uniform(1, 2)))
    return events
