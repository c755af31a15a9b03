"""A client for whom what lies on a dead server is simply not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from pindb._forks import Lock
from pindb.redis import Cluster, HostConnectionError, HostTimeoutError, RoutingClient
from pindb.redis.core.retries import reads_only

__all__ = ["LOST", "Losses", "MissingClient"]

#: What becomes of a connection, beside errors of other kinds.
LOST = (HostConnectionError, HostTimeoutError)

Nothing = Callable[[Sequence[Any]], Any]


def _no(value: Any) -> Nothing:
    return lambda args: value


def _new(kind: Callable[[], Any]) -> Nothing:
    return lambda args: kind()


def _names(text: str, nothing: Nothing) -> dict[str, Nothing]:
    return dict.fromkeys(text.split(), nothing)


#: What redis-py's methods return for a key that does not exist, or for a write that did nothing, by command.
NOTHING: dict[str, Nothing] = {
    **_names("GET GETDEL GETEX SET GETSET HGET ZSCORE ZRANK ZREVRANK ZINCRBY EVAL EVALSHA", _no(None)),
    **_names("EXISTS DEL UNLINK TOUCH STRLEN SCARD HLEN ZCARD ZCOUNT LLEN", _no(0)),
    **_names("SADD SREM HSET HDEL ZADD ZREM ZREMRANGEBYSCORE", _no(0)),
    **_names("EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST SETNX HEXISTS", _no(False)),
    **_names("SISMEMBER", _no(0)),
    **_names("TTL PTTL", _no(-2)),
    **_names("SMEMBERS", _new(set)),
    **_names("HGETALL", _new(dict)),
    **_names(
        "HKEYS HVALS ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE LRANGE ZPOPMAX ZPOPMIN", _new(list)
    ),
    # With a number they are lists.
    **_names("SPOP SRANDMEMBER", lambda args: [] if len(args) > 2 else None),
    **_names("SMISMEMBER", lambda args: [0] * (len(args) - 2)),
    **_names("HMGET", lambda args: [None] * (len(args) - 2)),
    **_names("SSCAN", lambda args: (0, [])),
}


class Losses:
    """What dead servers cost this process. Safe under threads.

    Attributes:
        missed_reads: commands that read, and found nothing because the server was down.
        dropped_writes: keys that were not written, or deleted, because the server was down.
    """

    def __init__(self) -> None:
        self.missed_reads = 0
        self.dropped_writes = 0
        self._counting = Lock()

    def count(self, command: Any, number: int = 1) -> None:
        """Count a command that was lost, for so many keys."""
        with self._counting.get():
            if reads_only(command):
                self.missed_reads += number
            else:
                self.dropped_writes += number


class MissingClient(RoutingClient):
    """A routing client that answers for a server that is down as if it were empty, and counts that.

    Commands that it has no such answer for raise the error.

    Arguments:
        cluster: the servers.
        losses: the counters.
    """

    def __init__(self, cluster: Cluster, losses: Losses) -> None:
        super().__init__(cluster, split_multi_key=True)
        self._losses = losses

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """See `RoutingClient.execute_command`."""
        try:
            return super().execute_command(*args, **options)
        except LOST as error:
            return self._nothing(error, args)

    def get(self, name: Any) -> Any:
        """See `RoutingClient.get`."""
        try:
            return super().get(name)
        except LOST as error:
            return self._nothing(error, ("GET", name))

    def lock(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """A lock that raises an error while its server is down: nobody would ever hold it."""
        return RoutingClient(self._cluster).lock(name, *args, **kwargs)

    def _nothing(self, error: RedisError, args: Sequence[Any]) -> Any:
        nothing = NOTHING.get(args[0])
        if nothing is None:
            raise error
        self._losses.count(args[0])
        return nothing(args)
