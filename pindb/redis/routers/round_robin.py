"""Router that uses hosts in turn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice
from typing import Any, ClassVar

from pindb.redis.exceptions import BadHostSetup
from pindb.redis.routers.failover import RetryableRouter

__all__ = ["RoundRobinRouter"]


class RoundRobinRouter(RetryableRouter):
    """Router that sends each command to the next host in turn, for hosts with the same data.

    FLUSHDB and FLUSHALL go to all hosts of a cluster of `create_cluster`.

    Arguments:
        cluster: the cluster whose commands it routes.
        hash_tags: has no effect.
        retry_timeout, attempt_reconnect_threshold: see `RetryableRouter`.

    Raises:
        BadHostSetup: there is no host.
        HostListExhausted: (raised by methods) all hosts are down.
    """

    by_key: ClassVar[bool] = False

    def _prepare(self) -> None:
        self._hosts = list(self.cluster.hosts)
        if not self._hosts:
            raise BadHostSetup("The cluster has no hosts. Add at least one.")
        # next() of a count is atomic, so threads need no lock.
        self._turns = count()
        self._empties_all = type(self).get_any_hosts is RoundRobinRouter.get_any_hosts

    def get_host_for_key(self, key: Any) -> int:
        """Return the id of the next host, for any key."""
        if not self.down_connections:
            return self._hosts[next(self._turns) % len(self._hosts)]
        return self._next_up(self.check_down_connections())

    def get_hosts_for_keys(self, keys: Sequence[Any]) -> list[int]:
        """Return the ids of the next hosts, one per key."""
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
