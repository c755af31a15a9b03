"""Routers that pass over hosts which refuse connections, until it is time to try them again."""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

from pindb._forks import Lock
from pindb.redis import exceptions
from pindb.redis.exceptions import ClusterConfigError
from pindb.redis.routers.base import BaseRouter
from pindb.redis.routers.calls import RoutedHosts
from pindb.redis.topology.hosts import no_such_host

__all__ = ["RetryableRouter"]


class RetryableRouter(BaseRouter):
    """A router that knows another host for a command whose own one refuses the connection.

    A cluster with ``max_connection_retries`` marks hosts down and up; without, nothing is marked. When a host
    has been down for `retry_timeout`, one thread gets to try it, while all others still pass it over: a dead
    host costs one of them a connection's timeout, not all. Safe under threads.

    Arguments:
        cluster: the cluster whose commands it routes.
        hash_tags: see `BaseRouter`.
        retry_timeout: after how many seconds a host that is down is tried again.
        attempt_reconnect_threshold: while hosts are down, the clock is asked for every command, or once for
            all commands that are routed together, but then for so many of them at the most.

    Attributes:
        down_connections: the hosts that are down, by id, and when each is to be tried (`time.monotonic`).

    Raises:
        ClusterConfigError: an argument is not what it should be.
    """

    HostListExhausted = exceptions.HostListExhausted

    retryable: ClassVar[bool] = True
    retry_timeout: float = 30.0
    attempt_reconnect_threshold: int = 100_000

    def __init__(
        self,
        cluster: RoutedHosts,
        hash_tags: bool = False,
        retry_timeout: float | None = None,
        attempt_reconnect_threshold: int | None = None,
    ) -> None:
        super().__init__(cluster, hash_tags)
        if retry_timeout is not None:
            self.retry_timeout = retry_timeout
        if attempt_reconnect_threshold is not None:
            self.attempt_reconnect_threshold = attempt_reconnect_threshold
        _check_number("retry_timeout", self.retry_timeout, "seconds, 0 or more", (int, float), 0)
        _check_number(
            "attempt_reconnect_threshold", self.attempt_reconnect_threshold, "commands, 1 or more", int, 1
        )
        self.down_connections: dict[int, float] = {}
        # Who is trying a host whose time has come, by the ids of host and thread.
        self._trials: dict[int, int] = {}
        self._marking = Lock()

    def mark_connection_down(self, host_id: int) -> None:
        """Pass a host over for the next `retry_timeout` seconds.

        Raises:
            ClusterConfigError: there is no such host.
        """
        if host_id not in self.cluster.hosts:
            raise no_such_host(host_id, self.cluster.hosts)
        with self._marking.get():
            self._trials.pop(host_id, None)
            self.down_connections[host_id] = time.monotonic() + self.retry_timeout

    def mark_connection_up(self, host_id: int) -> None:
        """Use a host again. Does nothing to one that is not down."""
        with self._marking.get():
            self._trials.pop(host_id, None)
            self.down_connections.pop(host_id, None)

    def flush_down_connections(self) -> None:
        """Use all hosts again."""
        with self._marking.get():
            self._trials.clear()
            self.down_connections.clear()

    def check_down_connections(self) -> frozenset[int]:
        """The hosts that this thread is to pass over. It gets to try those whose time has come."""
        now, thread = time.monotonic(), threading.get_ident()
        with self._marking.get():
            for host_id, until in self.down_connections.items():
                if now >= until:
                    # The others wait once more, in case this one is never heard of again.
                    self._trials[host_id] = thread
                    self.down_connections[host_id] = now + self.retry_timeout
            trials = self._trials
            return frozenset(host for host in self.down_connections if trials.get(host) != thread)

    def exhausted(self) -> exceptions.HostListExhausted:
        """The error for a command when all hosts are down."""
        return exceptions.HostListExhausted(
            f"All {len(self.cluster.hosts)} hosts refused connections; each is tried again "
            f"{self.retry_timeout:g} s after it did, or after flush_down_connections()."
        )


def _check_number(name: str, value: Any, wanted: str, kind: Any, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, kind) or not value >= least:
        raise ClusterConfigError(f"{name} is {value!r}. Write a number of {wanted}.")
