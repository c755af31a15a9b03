"""Errors of servers that run in cluster mode, which pindb was given by mistake."""

from __future__ import annotations

from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    RedisError,
    TryAgainError,
)

__all__ = ["name_mode"]

#: The errors that only such servers reply, and their codes, which redis-py takes out of messages.
CODES: dict[type[RedisError], str] = {
    MovedError: "MOVED",
    AskError: "ASK",
    ClusterCrossSlotError: "CROSSSLOT",
    ClusterDownError: "CLUSTERDOWN",
    TryAgainError: "TRYAGAIN",
}


def name_mode(error: BaseException, message: str) -> str:
    """The message of an error reply; if only servers in cluster mode give it, with its code and that fact."""
    code = next((code for kind, code in CODES.items() if type(error) is kind), "")
    # Older versions of redis-py have plain errors for them, with the code in the message.
    if message.partition(" ")[0] not in CODES.values():
        if not code:
            return message
        message = f"{code} {message}"
    return (
        f"{message}. This server runs in cluster mode and decides itself where keys are; pindb does not "
        "follow it. Use redis.RedisCluster, or servers with cluster-enabled no."
    )
