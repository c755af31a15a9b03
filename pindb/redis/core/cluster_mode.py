"""Error replies of servers in cluster mode, which pindb does not support."""

from __future__ import annotations

from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    TryAgainError,
)

__all__ = ["name_mode"]

#: Errors that only servers in cluster mode reply, with their codes, which redis-py removes from the messages.
CODES: dict[type[BaseException], str] = {
    MovedError: "MOVED",
    AskError: "ASK",
    ClusterCrossSlotError: "CROSSSLOT",
    ClusterDownError: "CLUSTERDOWN",
    TryAgainError: "TRYAGAIN",
}


def name_mode(error: BaseException, message: str) -> str:
    """Return an error's message; for errors of cluster mode with the code, and with what to do."""
    code = CODES.get(type(error))
    # Older versions of redis-py raise plain errors, with the code in the message.
    if message.partition(" ")[0] not in CODES.values():
        if not code:
            return message
        message = f"{code} {message}"
    return (
        f"{message}. This server runs in cluster mode and decides itself where keys are; pindb does not "
        "follow it. Use redis.RedisCluster, or servers with cluster-enabled no."
    )
