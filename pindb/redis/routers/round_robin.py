"""Every command to the next host."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice
from typing import Any, ClassVar

from pindb.redis.exceptions import BadHostSetup
from pindb.redis.routers.calls import RoutedHosts
from pindb.redis.routers.failover import RetryableRouter

__all__ = ["RoundRobinRouter"]


class RoundRobinRouter(RetryableRouter):
    """Sends every command to the next host in turn, whatever its keys: for hosts that hold the same data.

    Only FLUSHDB and FLUSHALL, of a cluster that `create_cluster` made, go to all hosts.

    Arguments:
        cluster: the cluster whose commands it routes.
        hash_tags: has no effect here.
        retry_timeout, attempt_reconnect_threshold: see `RetryableRouter`.

    Raises:
        BadHostSetup: there is no host.
        HostListExhausted: (by its methods) all hosts are down.
    """

    by_key: ClassVar[bool] = False

    def __init__(
        self,
        cluster: RoutedHosts,
        hash_tags: bool = False,
        retry_timeout: float | None = None,
        attempt_reconnect_threshold: int | None = None,
    ) -> None:
        super().__init__(cluster, hash_tags, retry_timeout, attempt_reconnect_threshold)
        self._hosts = list(cluster.hosts)
        if not self._hosts:
            raise BadHostSetup("The cluster has no hosts. Add one.")
        # Its next() is one step of the interpreter, so that threads take turns without a lock.
        self._turns = count()
        self._empties_all = type(self).get_any_hosts is RoundRobinRouter.get_any_hosts

    def get_host_for_key(self, key: Any) -> int:
        """The next host, for any key."""
        if not self.down_connections:
            return self._hosts[next(self._turns) % len(self._hosts)]
        return self._next_up(self.check_down_connections())

    def get_hosts_for_keys(self, keys: Sequence[Any]) -> list[int]:
        """The next hosts, one for each of the keys."""
        hosts, found = self._hosts, list[int]()
        for start in range(0, len(keys), self.attempt_reconnect_threshold):
            length = min(len(keys) - start, self.attempt_reconnect_threshold)
            if not self.down_connections:
                found += [hosts[turn % len(hosts)] for turn in islice(self._turns, length)]
            else:
                down = self.check_down_connections()
                found += [self._next_up(down) for _ in range(length)]
        return found

    def get_any_hosts(self) -> list[int]:
        return [self.get_host_for_key(None)]

    def _next_up(self, down: frozenset[int]) -> int:
        for turn in islice(self._turns, len(self._hosts)):
            host_id = self._hosts[turn % len(self._hosts)]
            if host_id not in down:
                return host_id
        raise self.exhausted()
