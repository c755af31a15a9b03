"""Error replies of servers in cluster mode to clients of a cluster with hosts of its own."""

from __future__ import annotations

from typing import Protocol

from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    RedisError,
    TryAgainError,
)

__all__ = ["NamedHost", "name_mode"]


class NamedHost(Protocol):
    """A server, whose `str` stands in messages."""

    @property
    def follows_redirects(self) -> bool:
        """Whether pindb follows the server where that sends commands: a node of a Redis Cluster."""


#: Errors that only servers in cluster mode reply, with their codes, which redis-py removes from the messages.
CODES: dict[type[RedisError], str] = {
    MovedError: "MOVED",
    AskError: "ASK",
    ClusterCrossSlotError: "CROSSSLOT",
    ClusterDownError: "CLUSTERDOWN",
    TryAgainError: "TRYAGAIN",
}


def name_mode(error: BaseException, message: str, host: NamedHost) -> str:
    """Return an error's message; for errors of cluster mode with the code, and with what to do.

    Arguments:
        error: the error.
        message: its message.
        host: the server.
    """
    code = next((code for kind, code in CODES.items() if type(error) is kind), "")
    # Older versions of redis-py raise plain errors, with the code in the message.
    if message.partition(" ")[0] not in CODES.values():
        if not code:
            return message
        message = f"{code} {message}"
    if host.follows_redirects:
        return message
    return (
        f"{message}. This server runs in cluster mode and decides itself where keys are. Use "
        "Cluster.from_redis_cluster(nodes), the engine 'redis-cluster' of create_cluster(), or \"ROUTER\": "
        '"slots" of a cache; or servers with cluster-enabled no.'
    )
