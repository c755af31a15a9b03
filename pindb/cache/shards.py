"""The servers of a cache: one cluster for all threads of a process that use the same settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError

from pindb._forks import Lock
from pindb.cache.fanout import send_to_hosts
from pindb.cache.misses import UNREACHABLE, MissClient, OutageCounts
from pindb.cache.options import OF_CLUSTER, CacheOptions, is_name, read_options
from pindb.conf import on_change
from pindb.redis import ClusterConfigError, RoutingClient, connections
from pindb.redis.backends.redis import Redis

__all__ = ["Shards", "get_shards"]

#: The options that make a difference to the servers.
RELEVANT = OF_CLUSTER | {"ON_DOWN", "RETRY_TIMEOUT"}


class Shards:
    """The servers of a cache, and what it does when one is down. Safe under threads, and in forked processes.

    Arguments:
        options: the cache's settings.

    Attributes:
        cluster: the servers.
        client: sends each command to the server that has its key.
        on_down: ``"error"``, ``"miss"`` or ``"rehash"``.
        losses: what dead servers cost, with ``"miss"``.

    Raises:
        ImproperlyConfigured: the servers do not suit the router, say.
    """

    def __init__(self, options: CacheOptions) -> None:
        try:
            self.cluster = Redis.make_servers(
                options.servers, retry_timeout=options.retry_timeout, late_is_down=True
            )
        except ClusterConfigError as error:
            raise ImproperlyConfigured(f"The cache's settings: {error}") from error
        self.on_down = options.on_down
        self.losses = OutageCounts()
        self.client = RoutingClient(self.cluster, split_multi_key=True)
        if self.on_down == "miss":
            self.client = MissClient(self.cluster, self.losses)

    def lost(self, error: RedisError, command: str, number: int = 1) -> None:
        """A command of a batch failed, for so many keys: raise the error, unless dead servers are misses."""
        if self.on_down != "miss" or not isinstance(error, UNREACHABLE):
            raise error
        self.losses.count(command, number)

    def everywhere(self, *words: Any) -> dict[int, Any]:
        """Send a command to all servers at once.

        Returns:
            The reply of each server by its id; of those that are up, unless dead servers are errors.

        Raises:
            redis.RedisError: the first error; with ``"rehash"`` that of a dead server if no server is up.
        """
        return self.at_hosts(dict.fromkeys(self.cluster.hosts, words))

    def at_hosts(self, commands: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """Send each server its own command, all at once; see `everywhere`."""
        replies: dict[int, Any] = {}
        lost = None
        for host_id, reply in zip(commands, send_to_hosts(self.cluster, commands.items()), strict=True):
            if not isinstance(reply, RedisError):
                replies[host_id] = reply
            elif self.on_down != "error" and isinstance(reply, UNREACHABLE):
                lost = reply
            else:
                raise reply
        if (
            lost is not None
            and not replies
            and self.on_down == "rehash"
            and len(commands) == len(self.cluster.hosts)
        ):
            raise lost
        return replies


_shards: dict[str, Shards] = {}
_making = Lock()


def get_shards(location: Any, options: Mapping[str, Any]) -> Shards:
    """The servers for a cache's ``LOCATION`` and ``OPTIONS``: the same for the same settings.

    Raises:
        ImproperlyConfigured: see `read_options` and `Shards`.
    """
    relevant = {name: options[name] for name in sorted(RELEVANT & options.keys())}
    try:
        clusters = connections.settings if isinstance(location, str) and "://" not in location else {}
    except ClusterConfigError as error:
        shown = f" is {location!r}" if is_name(location) else ""
        raise ImproperlyConfigured(f"The cache's LOCATION{shown}: {error}") from error
    settings = repr((location, relevant, clusters))
    shards = _shards.get(settings)
    if shards is None:
        with _making.get():
            shards = _shards.get(settings)
            if shards is None:
                shards = _shards[settings] = Shards(read_options(location, options))
    return shards


@on_change
def _forget(setting: str) -> None:
    if setting in ("CACHES", "PINDB_CLUSTERS"):
        with _making.get():
            forgotten = list(_shards.values())
            _shards.clear()
        for shards in forgotten:
            shards.cluster.disconnect_pools()
