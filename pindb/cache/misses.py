"""Treats keys on a server that is down as cache misses: ``"ON_DOWN": "miss"``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from pindb._forks import Lock
from pindb.redis import Cluster, HostConnectionError, HostTimeoutError, RoutingClient
from pindb.redis.core.retries import reads_only

__all__ = ["UNREACHABLE", "MissClient", "OutageCounts"]

#: The errors of a server that is down, or did not answer in time.
UNREACHABLE = (HostConnectionError, HostTimeoutError)

#: Makes the reply for a command from its words.
Reply = Callable[[Sequence[Any]], Any]

REPLIES: list[tuple[str, Reply]] = [
    ("GET GETDEL GETEX SET GETSET HGET ZSCORE ZRANK ZREVRANK ZINCRBY EVAL EVALSHA", lambda args: None),
    ("EXISTS DEL UNLINK TOUCH STRLEN SCARD HLEN ZCARD ZCOUNT LLEN SISMEMBER", lambda args: 0),
    ("SADD SREM HSET HDEL ZADD ZREM ZREMRANGEBYSCORE", lambda args: 0),
    ("EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST SETNX HEXISTS", lambda args: False),
    ("TTL PTTL", lambda args: -2),
    ("SMEMBERS", lambda args: set()),
    ("HGETALL", lambda args: {}),
    ("HKEYS HVALS ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE LRANGE ZPOPMAX ZPOPMIN", lambda args: []),
    # With a number they are lists.
    ("SPOP SRANDMEMBER", lambda args: [] if len(args) > 2 else None),
    ("SMISMEMBER", lambda args: [0] * (len(args) - 2)),
    ("HMGET", lambda args: [None] * (len(args) - 2)),
    ("SSCAN", lambda args: (0, [])),
]

#: The replies for a key that does not exist, and for a write that did nothing, by command, as redis-py's
#: methods return them.
MISSES: dict[str, Reply] = {name: reply for names, reply in REPLIES for name in names.split()}


class OutageCounts:
    """Counts what servers that were down have cost this process. Safe under threads.

    Attributes:
        missed_reads: reads that were misses because the server was down.
        dropped_writes: keys that were not written or deleted because the server was down.
    """

    def __init__(self) -> None:
        self.missed_reads = 0
        self.dropped_writes = 0
        self._counting = Lock()

    def count(self, command: Any, number: int = 1) -> None:
        """Count a command that a server did not get, for so many keys."""
        with self._counting.get():
            if reads_only(command):
                self.missed_reads += number
            else:
                self.dropped_writes += number


class MissClient(RoutingClient):
    """A routing client that treats keys on a server that is down as missing.

    Commands without an entry in `MISSES` raise the error.

    Arguments:
        cluster: the servers.
        losses: the counters.
    """

    def __init__(self, cluster: Cluster, losses: OutageCounts) -> None:
        super().__init__(cluster, split_multi_key=True)
        self._losses = losses

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """See `RoutingClient.execute_command`."""
        try:
            return super().execute_command(*args, **options)
        except UNREACHABLE as error:
            return self._miss(error, args)

    def get(self, name: Any) -> Any:
        """See `RoutingClient.get`."""
        try:
            return super().get(name)
        except UNREACHABLE as error:
            return self._miss(error, ("GET", name))

    def lock(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """Return a lock. It raises an error while its server is down, since nobody would hold it."""
        return RoutingClient(self._cluster).lock(name, *args, **kwargs)

    def _miss(self, error: RedisError, args: Sequence[Any]) -> Any:
        reply = MISSES.get(args[0])
        if reply is None:
            raise error
        self._losses.count(args[0])
        return reply(args)
