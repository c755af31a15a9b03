"""Error replies about the state of the server, and what pindb does about each.

A server that refuses all commands counts as down. A server that answers reads and refuses writes does not:
if a cache dropped the write in silence, the old value would stay visible. What an administrator has to
change is always an error.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from redis.exceptions import BusyLoadingError, ClusterDownError, MasterDownError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from pindb.redis.core.cluster_mode import NamedHost, name_mode
from pindb.redis.exceptions import HostUnavailableError

__all__ = [
    "BLOCKING",
    "FULL",
    "REPLIES",
    "NotMaster",
    "Reply",
    "find_outage",
    "unavailable",
    "was_refused_by_replica",
]

Follows = Literal["down", "missed", "answered", "error"]


class Reply(NamedTuple):
    """Error replies of one kind.

    Attributes:
        codes: the first words of the replies.
        server: the state of the server.
        reads, writes: what reads and writes do then: ``"down"``: as if the server were down; ``"missed"``:
            the same in a cache that treats dead servers as misses, elsewhere an error; ``"answered"``: the
            server does not refuse them; ``"error"``: raise the error.
    """

    codes: tuple[str, ...]
    server: str
    reads: Follows
    writes: Follows


#: What a server that has reached ``maxclients`` says instead of a handshake.
FULL = "max number of clients reached"

#: All known replies. The page on the cache has the same table.
REPLIES = (
    Reply(("LOADING",), "is loading its data after a start", "down", "down"),
    Reply(
        ("MASTERDOWN",),
        "is a replica that has lost its master, with `replica-serve-stale-data no`",
        "down",
        "down",
    ),
    Reply(("CLUSTERDOWN",), "is a node of a Redis Cluster that lacks other nodes", "down", "down"),
    Reply(("BUSY",), "is running a script for longer than `busy-reply-threshold`", "down", "down"),
    # Other clients are still served, so the keys must not move for some clients only.
    Reply((FULL,), "has as many clients as its `maxclients`", "missed", "missed"),
    Reply(("READONLY",), "is a replica", "answered", "error"),
    Reply(("NOREPLICAS",), "has fewer replicas than `min-replicas-to-write`", "answered", "error"),
    Reply(("MISCONF",), "cannot save its data, with `stop-writes-on-bgsave-error`", "answered", "error"),
    Reply(("OOM",), "has reached `maxmemory`, and evicts nothing", "answered", "error"),
    Reply(("TRYAGAIN",), "is moving the hash slot of several keys", "error", "error"),
    Reply(("NOAUTH", "WRONGPASS", "NOPERM"), "needs another user or password", "error", "error"),
)

#: Commands that wait on purpose: a late reply to them says nothing about the server.
BLOCKING = frozenset(
    {
        *("BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP"),
        *("XREAD", "XREADGROUP", "WAIT", "WAITAOF"),
    }
)

_DOWN = {code for reply in REPLIES if reply.reads == reply.writes == "down" for code in reply.codes}


class _Loading(HostUnavailableError, BusyLoadingError):
    pass


class _MasterDown(HostUnavailableError, MasterDownError):
    pass


class _ClusterDown(HostUnavailableError, ClusterDownError):
    pass


class NotMaster(RedisConnectionError):
    """A server behind Sentinel that is not the master of its service. The command did not run.

    Attributes:
        sent: whether the command may have been sent to another server before.
    """

    sent = False


#: The errors that redis-py makes of these replies, the special ones first.
_KINDS: tuple[tuple[type[RedisError], str, type[HostUnavailableError]], ...] = (
    (BusyLoadingError, "LOADING", _Loading),
    (MasterDownError, "MASTERDOWN", _MasterDown),
    (ClusterDownError, "CLUSTERDOWN", _ClusterDown),
    (NotMaster, "READONLY", HostUnavailableError),
)


def find_outage(error: BaseException) -> str | None:
    """Return the code of an error reply of a server that counts as down; None for any other error."""
    if isinstance(error, HostUnavailableError):
        return error.code
    for kind, code, _ in _KINDS:
        if isinstance(error, kind):
            return code
    if type(error) is ResponseError:
        code = str(error).partition(" ")[0]
        return code if code in _DOWN else None
    return None


def was_refused_by_replica(error: BaseException) -> bool:
    """Return whether commands did not run because a host behind Sentinel has a new master."""
    return isinstance(error, HostUnavailableError) and error.code == "READONLY" and not error.sent


def unavailable(error: BaseException, host: NamedHost) -> HostUnavailableError | None:
    """Return the error that names the host, for an error reply of a server that counts as down; else None."""
    code = find_outage(error)
    if code is None:
        return None
    if isinstance(error, HostUnavailableError):
        return error
    # By the code, since old versions of redis-py do not have all of these errors.
    kind = next((mine for _, known, mine in _KINDS if known == code), HostUnavailableError)
    text = str(error) if str(error).startswith(code) else f"{code} {error}"
    told = kind(f"{host}: {name_mode(error, text, host)}")
    told.code = code
    told.sent = getattr(error, "sent", False)
    return told
