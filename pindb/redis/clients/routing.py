"""Client that sends each command at once to the host of its key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from pindb.redis.clients.base import BaseClient, ClientsCluster, find_host
from pindb.redis.clients.fanout import FanoutClient
from pindb.redis.clients.locks import RoutedLock
from pindb.redis.clients.mapping import MappingClient
from pindb.redis.core.errors import explained
from pindb.redis.core.names import with_plain_name
from pindb.redis.core.outages import BLOCKING
from pindb.redis.core.promises import get_settled
from pindb.redis.core.redirects import find_redirect
from pindb.redis.core.retries import LOST, Retries, reads_only
from pindb.redis.core.splitting import can_split
from pindb.redis.exceptions import HostTimeoutError, HostUnavailableError, UnroutableCommand
from pindb.redis.topology.slots import SlotHosts

__all__ = ["RoutingClient"]


class RoutingClient(BaseClient):
    """Client that sends each command at once to the host of its key, and returns the reply.

    Has redis-py's methods for commands. `keys`, `scan_iter`, `dbsize`, `flushdb`, `flushall` and `ping` work
    on the whole cluster; all other commands without a key, or with several keys, are refused. Safe under
    threads, and in forked processes.

    Idle connections that the server has closed are replaced before a command is sent. A command that may have
    run is not retried, with two exceptions: if the pools have a ``retry`` of redis-py; and read-only
    commands, with ``max_connection_retries`` of the cluster.

    Arguments:
        cluster: the cluster.
        auto_batch: merge commands in `map` and `fanout`.
        split_multi_key: split MGET, MSET, DEL, UNLINK, EXISTS and TOUCH with several keys by host, instead of
            refusing them.
    """

    def __init__(
        self, cluster: ClientsCluster, auto_batch: bool = True, split_multi_key: bool = False
    ) -> None:
        super().__init__(cluster)
        self.auto_batch = auto_batch
        self.split_multi_key = split_multi_key

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the host of its key, and return the reply.

        Raises:
            UnroutableCommand: the command does not belong to exactly one host.
            redis.RedisError: an error reply, or a connection error.
        """
        if type(args[0]) is not str:
            args = with_plain_name(args)
        cluster = self._cluster
        router = cluster.get_router()
        if self.split_multi_key and router.by_key and can_split(args[0]):
            with self.map(split_multi_key=True) as client:
                promise = client.execute_command(*args, **options)
            return get_settled(promise)
        return self.send_to(find_host(router, args), args, options)

    def send_to(
        self,
        host_id: int,
        args: Sequence[Any],
        options: Mapping[str, Any],
        choose: Callable[[], int] | None = None,
    ) -> Any:
        """Send a command to a host, or to another if that host refuses the connection. Return the reply.

        Arguments:
            host_id: the host that the router has chosen.
            args: the words of the command.
            options: redis-py's options for parsing the reply.
            choose: returns the id of another host; None: the router chooses one for the command.

        Raises:
            redis.RedisError: see `execute_command`.
        """
        try:
            return self._send(host_id, args, options)
        except RedisError as error:
            return self._elsewhere(error, host_id, args, options, choose)

    def _send(self, host_id: int, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        client: Any = self._cluster.get_local_client(host_id)
        reply = client.execute_command(*args, **options)
        router = self._cluster.get_router()
        if router.down_connections:
            router.heard_from(host_id)
        return reply

    def get(self, name: Any) -> Any:
        """Return the value at key `name`; None if there is no such key."""
        # The most frequent command, without the checks of execute_command().
        cluster = self._cluster
        router = cluster.get_router()
        if not router.goes_by_key:
            return self.execute_command("GET", name)
        host_id = router.get_host_for_key(name)
        try:
            value = cluster.get_local_client(host_id).get(name)
        except RedisError as error:
            return self._elsewhere(error, host_id, ("GET", name), {})
        if router.down_connections:
            router.heard_from(host_id)
        return value

    def _elsewhere(
        self,
        error: RedisError,
        host_id: int,
        args: Sequence[Any],
        options: Mapping[str, Any],
        choose: Callable[[], int] | None = None,
    ) -> Any:
        """Send a failed command to another host if it may be retried there; otherwise raise the error."""
        cluster, router = self._cluster, self._cluster.get_router()
        if isinstance(cluster, SlotHosts):
            if not isinstance(error, HostUnavailableError) and not find_redirect(error):
                error = explained(error, cluster.get_endpoint(host_id)[0], args)
            return self.map().send_again(host_id, args, options, error)
        retries = Retries(router, cluster.max_connection_retries)
        while True:
            error = explained(error, cluster.get_endpoint(host_id)[0], args)
            if router.down_connections and not isinstance(error, LOST):
                router.heard_from(host_id)
            may_wait = isinstance(error, HostTimeoutError) and error.sent and args[0] in BLOCKING
            is_out = not may_wait and cluster.note_outage(host_id, error)
            may_repeat = reads_only(args[0]) or not getattr(error, "sent", True)
            end = retries.end(host_id, error, may_repeat, is_out)
            if end is not None:
                raise end from end.__cause__
            host_id = router.get_host_for_command(args[0], args[1:]) if choose is None else choose()
            try:
                return self._send(host_id, args, options)
            except RedisError as again:
                error = again

    def close(self) -> None:
        """Do nothing, for code that closes redis-py's clients. The connections belong to the cluster."""

    # Clients for many commands at once.

    def get_mapping_client(
        self,
        max_concurrency: int | None = 64,
        auto_batch: bool | None = None,
        split_multi_key: bool | None = None,
    ) -> MappingClient:
        """Return a `MappingClient`, whose commands are sent by `MappingClient.join`; see `map`."""
        return MappingClient(
            self._cluster,
            max_concurrency=max_concurrency,
            auto_batch=self.auto_batch if auto_batch is None else auto_batch,
            split_multi_key=self.split_multi_key if split_multi_key is None else split_multi_key,
        )

    def get_fanout_client(
        self,
        hosts: Iterable[int] | str | None = None,
        max_concurrency: int | None = 64,
        auto_batch: bool | None = None,
    ) -> FanoutClient:
        """Return a `FanoutClient`, whose commands are sent by `FanoutClient.join`; see `fanout`."""
        return FanoutClient(
            self._cluster,
            hosts,
            max_concurrency=max_concurrency,
            auto_batch=self.auto_batch if auto_batch is None else auto_batch,
        )

    def map(
        self,
        timeout: float | None = None,
        max_concurrency: int | None = 64,
        auto_batch: bool | None = None,
        split_multi_key: bool | None = None,
    ) -> MappingClient:
        """Return a block whose commands return promises, and are sent all at once at its end.

        Arguments:
            timeout: the time limit for all commands together, in seconds.
            max_concurrency: how many hosts are used at once; None: all.
            auto_batch: merge consecutive GETs into an MGET, and SETs into an MSET.
            split_multi_key: split commands with several keys by host.
        """
        client = self.get_mapping_client(max_concurrency, auto_batch, split_multi_key)
        client.timeout = timeout
        return client

    def fanout(
        self,
        hosts: Iterable[int] | str | None = None,
        timeout: float | None = None,
        max_concurrency: int | None = 64,
        auto_batch: bool | None = None,
    ) -> FanoutClient:
        """Return a block whose commands go to the given hosts. Promises have dicts of replies by host id.

        Arguments:
            hosts: ids of hosts, or ``"all"``; None: name the hosts of each command with ``target``.
            timeout, max_concurrency, auto_batch: see `map`.
        """
        client = self.get_fanout_client(hosts, max_concurrency, auto_batch)
        client.timeout = timeout
        return client

    def pipeline(self, transaction: bool = False, shard_hint: Any = None) -> MappingClient:
        """Return a client that queues commands until ``execute()``, which returns the list of their results.

        Raises:
            UnroutableCommand: `transaction` is True, but a transaction cannot span servers.
        """
        if transaction:
            raise UnroutableCommand(
                "A transaction runs on one server. Use cluster.get_local_client_for_key(key).pipeline(), "
                "or pipeline(transaction=False) for commands to many servers."
            )
        return self.get_mapping_client()

    # Commands for the whole cluster.

    def _send_to_all(self, *args: Any, **options: Any) -> dict[int, Any]:
        """Send a command to all databases, once if hosts have the same address. Return replies by host id."""
        with self.fanout(self._cluster.one_for_each_database()) as client:
            promise = client.execute_command(*args, **options)
        return get_settled(promise)  # type: ignore[no-any-return]

    def keys(self, pattern: Any = "*", **kwargs: Any) -> list[Any]:
        """Return the keys of all hosts that match `pattern`, in no particular order."""
        return [key for keys in self._send_to_all("KEYS", pattern, **kwargs).values() for key in keys]

    def dbsize(self, **kwargs: Any) -> int:
        """Return the number of keys on all hosts. Hosts with the same address count once."""
        return sum(self._send_to_all("DBSIZE", **kwargs).values())

    def ping(self, **kwargs: Any) -> bool:
        """Ping all hosts. Return True if all of them answer."""
        return all(self._send_to_all("PING", **kwargs).values())

    def flushdb(self, asynchronous: bool = False, **kwargs: Any) -> bool:
        """Empty the databases of all hosts."""
        args = ("ASYNC",) if asynchronous else ()
        return all(self._send_to_all("FLUSHDB", *args, **kwargs).values())

    def flushall(self, asynchronous: bool = False, **kwargs: Any) -> bool:
        """Empty all databases of all servers, including databases that are not part of the cluster."""
        args = ("ASYNC",) if asynchronous else ()
        return all(self._send_to_all("FLUSHALL", *args, **kwargs).values())

    def scan_iter(
        self, match: Any = None, count: int | None = None, _type: str | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Iterate over the keys of all hosts, one host after the other; see redis-py's method."""
        for host_id in self._cluster.one_for_each_database():
            yield from self._cluster.get_local_client(host_id).scan_iter(match, count, _type, **kwargs)

    def lock(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """Return a lock on the host that has the key `name`; see redis-py's method."""
        options = {"lock_class": RoutedLock, **kwargs}
        lock = self._cluster.get_local_client_for_key(name).lock(name, *args, **options)
        if isinstance(lock, RoutedLock) and self._cluster.get_router().by_key:
            lock.redis = self
        return lock

    def __enter__(self) -> RoutingClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Do nothing. The connections belong to the cluster."""
