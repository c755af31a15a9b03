"""Commands for hosts that are named, all at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from pindb.redis.clients.base import ClientsCluster
from pindb.redis.clients.promising import PromisingClient, each
from pindb.redis.core.keys import check_command
from pindb.redis.core.names import with_plain_name
from pindb.redis.core.pending import Command
from pindb.redis.core.promises import Promise
from pindb.redis.exceptions import UnroutableCommand

__all__ = ["FanoutClient", "NoHostsNamed"]


class NoHostsNamed(UnroutableCommand, RuntimeError):
    """A command of a fan-out was not told its hosts. rb raises a RuntimeError."""


class FanoutClient(PromisingClient):
    """Sends each command to the hosts that are named, all at once; promises are dicts by host id.

    Use with care: nothing keeps it from writing keys to hosts where no router looks for them.

    Arguments:
        cluster: the cluster.
        hosts: ids of hosts, or ``"all"``; None: each command names its own with `target` or `target_key`.
        max_concurrency: how many hosts are talked to at once; None: all.
        auto_batch: as in `MappingClient`; fanned-out commands are sent as they are.

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
        """This client for other hosts: ``client.target([0, 1]).set("key", "value")``."""
        return self._aimed(self._cluster.resolve_hosts(hosts), None)

    def target_key(self, key: Any) -> FanoutClient:
        """This client for the one host that has `key`, whose reply is promised as it is, not in a dict."""
        host_id = self._cluster.get_router().find_host(key)
        return self._aimed([host_id], host_id)

    def _aimed(self, hosts: Sequence[int], single: int | None) -> FanoutClient:
        client = FanoutClient.__new__(type(self))
        # It shares the buffers: what is called on it is sent with all the rest.
        client.__dict__.update(self.__dict__, _hosts=hosts, _single=single, _is_owner=False, _owner=self)
        return client

    def execute_command(self, *args: Any, **options: Any) -> Promise:
        """Keep a command for each of the hosts, and promise their replies by host id."""
        if type(args[0]) is not str:
            args = with_plain_name(args)
        check_command(args[0], args[1:])
        if self._hosts is None:
            raise NoHostsNamed(
                f"No hosts were named for {args[0]}: write fanout(hosts=[...]) or fanout('all'), or "
                "client.target([...]) for one command."
            )
        promises = {}
        for host_id in self._hosts:
            promises[host_id] = Promise()
            self._buffers.add(host_id, Command(args, dict(options), promises[host_id]))
        together = promises[self._single] if self._single is not None else Promise.all(promises)
        self._issued.append(together)
        return together

    def _send(self, timeout: float | None) -> bool:
        fine = super()._send(timeout)
        # What puts the replies of several hosts together may be struck by a soft time limit.
        return fine and not any(promise.is_rejected for promise in chain(each(self._sent), self._promises()))
