"""Routers that pass over hosts that are down."""

from __future__ import annotations

from typing import Any, ClassVar

from pindb.redis import exceptions
from pindb.redis.exceptions import ClusterConfigError
from pindb.redis.routers.base import BaseRouter, RoutedHosts
from pindb.redis.topology.breakers import RETRY_TIMEOUT, breakers_of
from pindb.redis.topology.hosts import no_such_host

__all__ = ["RetryableRouter"]


class RetryableRouter(BaseRouter):
    """A router that knows another host for a command whose own host is down.

    A cluster with ``max_connection_retries`` marks hosts down and up; without, none is marked. When a host
    has been down for `retry_timeout`, one thread gets to try it, while all others still pass it over: a host
    that is gone costs one thread the time of a connection, not all. Safe under threads.

    The marks are those of the cluster's circuit breakers, which its connections ask too.

    Arguments:
        cluster: the cluster whose commands it routes.
        hash_tags: see `BaseRouter`.
        retry_timeout: after how many seconds a host that is down is tried again; that of the cluster where
            None, or else 5.
        attempt_reconnect_threshold: while hosts are down, the clock is read for every command, or once for
            all commands that are routed together, but then for so many of them at the most.

    Attributes:
        down_connections: the hosts that are down, by id, and when each is to be tried (`time.monotonic`).

    Raises:
        ClusterConfigError: an argument is invalid.
    """

    HostListExhausted = exceptions.HostListExhausted

    retryable: ClassVar[bool] = True
    retry_timeout: float = RETRY_TIMEOUT
    attempt_reconnect_threshold: int = 100_000

    def __init__(
        self,
        cluster: RoutedHosts,
        hash_tags: bool = False,
        retry_timeout: float | None = None,
        attempt_reconnect_threshold: int | None = None,
    ) -> None:
        super().__init__(cluster, hash_tags)
        self._breakers = breakers = breakers_of(cluster)
        if retry_timeout is not None:
            self.retry_timeout = retry_timeout
        elif breakers.fail_fast:
            self.retry_timeout = breakers.retry_timeout
        if attempt_reconnect_threshold is not None:
            self.attempt_reconnect_threshold = attempt_reconnect_threshold
        _check_number("retry_timeout", self.retry_timeout, "seconds, 0 or more", (int, float), 0)
        _check_number(
            "attempt_reconnect_threshold", self.attempt_reconnect_threshold, "commands, 1 or more", int, 1
        )
        if breakers.fail_fast and self.retry_timeout != breakers.retry_timeout:
            raise ClusterConfigError(
                f"retry_timeout is {self.retry_timeout:g} for the router and {breakers.retry_timeout:g} for "
                "the cluster. Leave it out of the router's options."
            )
        breakers.retry_timeout = self.retry_timeout
        # The breakers' own dict: to see that no host is down costs one look at it.
        self.down_connections: dict[int, float] = breakers.down

    def mark_connection_down(self, host_id: int) -> None:
        """Pass a host over for the next `retry_timeout` seconds.

        Raises:
            ClusterConfigError: there is no such host.
        """
        if host_id not in self.cluster.hosts:
            raise no_such_host(host_id, self.cluster.hosts)
        self._breakers[host_id].pass_over()

    def mark_connection_up(self, host_id: int) -> None:
        """Use a host again. Does nothing to a host that is not down."""
        if host_id in self.cluster.hosts:
            self._breakers[host_id].close()

    def heard_from(self, host_id: int) -> None:
        if self.down_connections and self._breakers[host_id].has_answered():
            self.mark_connection_up(host_id)

    def flush_down_connections(self) -> None:
        """Use all hosts again."""
        self._breakers.close()

    def check_down_connections(self) -> frozenset[int]:
        """Return the hosts that this thread is to pass over. It gets to try those whose time has come."""
        return self._breakers.check()

    def exhausted(self) -> exceptions.HostListExhausted:
        """Return the error for a command when all hosts are down."""
        return exceptions.HostListExhausted(
            f"All {len(self.cluster.hosts)} hosts refused connections; each is tried again "
            f"{self.retry_timeout:g} s after it did, or after flush_down_connections()."
        )


def _check_number(name: str, value: Any, wanted: str, kind: Any, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, kind) or not value >= least:
        raise ClusterConfigError(f"{name} is {value!r}. Write a number of {wanted}.")
