"""Client that sends commands to given hosts, all at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pindb.redis.clients.base import ClientsCluster
from pindb.redis.clients.queueing import QueueingClient
from pindb.redis.core.keys import check_command
from pindb.redis.core.names import with_plain_name
from pindb.redis.core.pending import Command, FixedCommand
from pindb.redis.core.promises import Promise
from pindb.redis.exceptions import UnroutableCommand

__all__ = ["FanoutClient", "NoHostsNamed"]


class NoHostsNamed(UnroutableCommand, RuntimeError):
    """A command of a fan-out without hosts. Also a `RuntimeError`, as in rb."""


class FanoutClient(QueueingClient):
    """Client that sends each command to the given hosts, all at once. Promises have replies by host id.

    Use it with care: it can write keys to hosts where the router does not look for them.

    Arguments:
        cluster: the cluster.
        hosts: ids of hosts, or ``"all"``; None: name the hosts of each command with `target` or `target_key`.
        max_concurrency: how many hosts are used at once; None: all.
        auto_batch: for the sake of `MappingClient`'s interface; commands of a fan-out are never merged.

    Raises:
        ClusterConfigError: there is no such host.
    """

    def __init__(
        self,
        cluster: ClientsCluster,
        hosts: Iterable[int] | str | None = None,
        max_concurrency: int | None = None,
        auto_batch: bool = True,
    ) -> None:
        super().__init__(cluster, max_concurrency, auto_batch)
        self._hosts = None if hosts is None else cluster.resolve_hosts(hosts)
        self._single: int | None = None

    def target(self, hosts: Iterable[int] | str) -> FanoutClient:
        """Return this client for other hosts: ``client.target([0, 1]).set("key", "value")``."""
        return self._targeting(self._cluster.resolve_hosts(hosts), None)

    def target_key(self, key: Any) -> FanoutClient:
        """Return this client for the host that has `key`. Its promises have the reply itself, not a dict."""
        host_id = self._cluster.get_router().find_host(key)
        return self._targeting([host_id], host_id)

    def _targeting(self, hosts: Sequence[int], single: int | None) -> FanoutClient:
        client = FanoutClient.__new__(type(self))
        # It shares the buffers, so that its commands are sent together with all others.
        client.__dict__.update(self.__dict__, _hosts=hosts, _single=single, _is_owner=False, _owner=self)
        return client

    def execute_command(self, *args: Any, **options: Any) -> Promise:
        """Queue a command for each of the hosts, and return a promise of their replies by host id."""
        if type(args[0]) is not str:
            args = with_plain_name(args)
        check_command(args[0], args[1:])
        if self._hosts is None:
            raise NoHostsNamed(
                f"No hosts were named for {args[0]}. Write fanout(hosts=[...]) or fanout('all'), or "
                "client.target([...]) for a single command."
            )
        promises = {}
        kind = FixedCommand if self._single is None else Command
        for host_id in self._hosts:
            promises[host_id] = Promise()
            self._buffers.add(host_id, kind(args, dict(options), promises[host_id]))
        together = promises[self._single] if self._single is not None else Promise.all(promises)
        self._issued.append(together)
        return together

    def _send(self, timeout: float | None) -> bool:
        fine = super()._send(timeout)
        # A soft time limit may interrupt Promise.all(), which rejects the promise of replies that all
        # succeeded.
        return fine and not any(promise.is_rejected for promise in self._everything())
