"""Replies by which a node of a Redis Cluster sends a command elsewhere, or asks for patience.

Source: the Redis Cluster specification, "MOVED Redirection" and "ASK redirection".
"""

from __future__ import annotations

from typing import NamedTuple

from redis.exceptions import AskError, MovedError, TryAgainError

from pindb._jitter import jitter

__all__ = ["MOST_REDIRECTS", "Redirect", "find_redirect", "pause_before"]

#: How often the commands of one batch are redirected before the last reply is their error. A slot moves once,
#: so more than a few redirects mean nodes that contradict each other.
MOST_REDIRECTS = 16

#: The pauses before a command is sent again to servers that ask for patience, in seconds: the first one, and
#: the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.25


class Redirect(NamedTuple):
    """What a node said in place of a reply; the command did not run.

    Attributes:
        code: ``"MOVED"``: the slot belongs to another node; ``"ASK"``: this command goes to another node, as
            the slot is being moved; ``"TRYAGAIN"``: some of the keys are there already, and some are not.
        slot: the slot; -1 if the reply does not say it.
        address: host and port of the other node; None if the reply does not say it. An empty host means that
            of the node that replied.
    """

    code: str
    slot: int = -1
    address: tuple[str, int] | None = None


def find_redirect(error: BaseException) -> Redirect | None:
    """Return what an error reply says about where to send the command; None if it says nothing."""
    if isinstance(error, AskError):
        code = "MOVED" if isinstance(error, MovedError) else "ASK"
        return Redirect(code, error.slot_id, error.node_addr)
    return Redirect("TRYAGAIN") if isinstance(error, TryAgainError) else None


def pause_before(attempt: int) -> float:
    """Return how long to wait before an attempt, in seconds: longer each time, with jitter.

    Arguments:
        attempt: 1 before the first repetition.
    """
    # Powers of large numbers are no floats.
    return jitter(min(FIRST_PAUSE * 2 ** min(attempt - 1, 16), LONGEST_PAUSE))
