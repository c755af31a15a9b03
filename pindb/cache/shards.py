"""Servers of a cache: one cluster per process for all caches with the same settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError

from pindb._forks import Lock
from pindb.cache.fanout import send_to_hosts
from pindb.cache.misses import UNREACHABLE, MissClient, OutageCounts
from pindb.cache.options import CLUSTER_OPTIONS, CacheOptions, is_name, read_options
from pindb.conf import on_change
from pindb.redis import ClusterConfigError, RoutingClient, connections
from pindb.redis.backends.redis import Redis

__all__ = ["Shards", "get_shards"]

#: The options that `Shards` depend on.
RELEVANT = CLUSTER_OPTIONS | {"ON_DOWN", "RETRY_TIMEOUT"}


class Shards:
    """Servers of a cache, and its policy for servers that are down. Safe under threads and after a fork.

    Arguments:
        options: the cache's settings.

    Attributes:
        cluster: the servers.
        client: a client that sends each command to the server of its key.
        on_down: ``"error"``, ``"miss"`` or ``"rehash"``.
        losses: counters of reads and writes lost to servers that were down, with ``"miss"``.

    Raises:
        ImproperlyConfigured: a setting is invalid, or the servers do not suit the router.
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

    def handle_failure(self, error: RedisError, command: str, number: int = 1) -> None:
        """Count a failed command as lost if servers that are down are misses; otherwise raise its error.

        Arguments:
            error: the error.
            command: the name of the command.
            number: how many keys the command has.
        """
        if self.on_down != "miss" or not isinstance(error, UNREACHABLE):
            raise error
        self.losses.count(command, number)

    def send_to_all(self, *words: Any) -> dict[int, Any]:
        """Send a command to all servers at once.

        Returns:
            The replies by host id. Without the servers that are down, unless ``ON_DOWN`` is ``"error"``.

        Raises:
            redis.RedisError: the first error; with ``"rehash"`` also if all servers are down.
        """
        return self.send_to(dict.fromkeys(self.cluster.hosts, words))

    def send_to(self, commands: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """Send commands to servers by host id, all at once; see `send_to_all` for the rest."""
        replies: dict[int, Any] = {}
        outage = None
        for host_id, reply in zip(commands, send_to_hosts(self.cluster, commands.items()), strict=True):
            if not isinstance(reply, RedisError):
                replies[host_id] = reply
            elif self.on_down != "error" and isinstance(reply, UNREACHABLE):
                outage = reply
            else:
                raise reply
        went_to_all = len(commands) == len(self.cluster.hosts)
        if outage is not None and not replies and self.on_down == "rehash" and went_to_all:
            raise outage
        return replies


_shards: dict[str, Shards] = {}
_lock = Lock()


def get_shards(location: Any, options: Mapping[str, Any]) -> Shards:
    """Return the servers for the ``LOCATION`` and ``OPTIONS`` of a cache. Same settings, same object.

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
    with _lock.get():
        if settings not in _shards:
            _shards[settings] = Shards(read_options(location, options))
        return _shards[settings]


@on_change
def _forget(setting: str) -> None:
    if setting in ("CACHES", "PINDB_CLUSTERS"):
        with _lock.get():
            forgotten = list(_shards.values())
            _shards.clear()
        for shards in forgotten:
            shards.cluster.disconnect_pools()
