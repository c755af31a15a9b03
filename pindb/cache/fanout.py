"""Commands for given hosts, sent to all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis.exceptions import RedisError

from pindb.redis import Cluster, FanoutClient

__all__ = ["send_to_hosts"]


def send_to_hosts(
    cluster: Cluster, commands: Iterable[tuple[int, tuple[Any, ...]]], raise_on_error: bool = False
) -> list[Any]:
    """Send commands to hosts, all hosts at once.

    Arguments:
        cluster: the cluster.
        commands: pairs of a host's id and the words of a command.
        raise_on_error: raise the first error; otherwise a `redis.RedisError` takes the place of the reply.

    Returns:
        The reply to each command.
    """
    fanout = FanoutClient(cluster, max_concurrency=None)
    host_ids = []
    for host_id, words in commands:
        host_ids.append(host_id)
        fanout.target([host_id]).execute_command(*words)
    replies = fanout.execute(raise_on_error)
    return [
        reply if isinstance(reply, RedisError) else reply[host_id]
        for host_id, reply in zip(host_ids, replies, strict=True)
    ]
