"""One command, to the host that has its key, now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pindb.redis.clients.base import BaseClient, ClientsCluster
from pindb.redis.clients.fanout import FanoutClient
from pindb.redis.clients.locks import RoutedLock
from pindb.redis.clients.mapping import MappingClient
from pindb.redis.core.errors import at_host, located
from pindb.redis.core.keys import KEY_FIRST, check_command
from pindb.redis.core.names import with_plain_name
from pindb.redis.core.outages import BLOCKING, find_outage
from pindb.redis.core.promises import get_settled
from pindb.redis.core.retries import may_retry, reads_only, too_many_retries, was_refused
from pindb.redis.core.splitting import can_split
from pindb.redis.exceptions import HostConnectionError, HostTimeoutError, UnroutableCommand

__all__ = ["RoutingClient"]


class RoutingClient(BaseClient):
    """Sends each command to the one host that has its key, at once, and returns the reply.

    Has redis-py's methods for all commands. What concerns all servers in a natural way works over the
    cluster (`keys`, `scan_iter`, `dbsize`, `flushdb`, `flushall`, `ping`); other commands without a key, or
    with several, are refused. Safe under threads, and in forked processes.

    A stale connection from the pool is replaced before anything is sent on it. A command that may have run is
    never sent again, unless the pools were given a ``retry`` of redis-py's; but with
    ``max_connection_retries`` of the cluster, one that only reads is.

    Arguments:
        cluster: the cluster.
        auto_batch: whether its `map` and `fanout` merge commands.
        split_multi_key: cut MGET, MSET, DEL, UNLINK, EXISTS and TOUCH by host, where several keys would be
            refused.
    """

    def __init__(
        self, cluster: ClientsCluster, auto_batch: bool = True, split_multi_key: bool = False
    ) -> None:
        super().__init__(cluster)
        self.auto_batch = auto_batch
        self.split_multi_key = split_multi_key

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the host that has its key, and return its reply.

        Raises:
            UnroutableCommand: it does not belong to exactly one host.
            redis.RedisError: the error reply, or what became of the connection.
        """
        if type(args[0]) is not str:
            args = with_plain_name(args)
        cluster = self._cluster
        router = cluster.get_router()
        if args[0] in KEY_FIRST and len(args) > 1 and router.goes_by_key:
            host_id = router.get_host_for_key(args[1])
        elif self.split_multi_key and router.by_key and can_split(args[0]):
            with self.map(split_multi_key=True) as client:
                promise = client.execute_command(*args, **options)
            return get_settled(promise)
        else:
            if args[0] not in KEY_FIRST:
                check_command(args[0], args[1:])
            host_id = router.get_host_for_command(args[0], args[1:])
        return self.send_to(host_id, args, options)

    def send_to(
        self,
        host_id: int,
        args: Sequence[Any],
        options: Mapping[str, Any],
        choose: Callable[[], int] | None = None,
    ) -> Any:
        """Send a command to a host, or to another where that refuses the connection, and return its reply.

        Arguments:
            host_id: the host that the router has chosen.
            args: the command's words.
            options: redis-py's options for the reply.
            choose: asks the router for another host; None: it is asked for that of the command.

        Raises:
            redis.RedisError: see `execute_command`.
        """
        client: Any = self._cluster.get_local_client(host_id)
        try:
            reply = client.execute_command(*args, **options)
        except RedisError as error:
            return self._elsewhere(error, host_id, args, options, choose)
        router = self._cluster.get_router()
        if router.down_connections:
            router.heard_from(host_id)
        return reply

    def get(self, name: Any) -> Any:
        """The value at key `name`, or None where there is none."""
        # The command that counts, with no more between it and its host than there must be.
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
        """The reply of another host, where one may be asked; else raise the error, with its host."""
        cluster, router = self._cluster, self._cluster.get_router()
        retries = cluster.max_connection_retries if router.retryable else 0
        has_waited = False
        for retries_left in reversed(range(retries + 1)):
            cause, error = error.__cause__, self._explained(error, host_id, args)
            is_late = isinstance(error, HostTimeoutError) and error.sent
            is_out = not (is_late and args[0] in BLOCKING) and cluster.note_outage(host_id, error)
            if not isinstance(error, (HostConnectionError, HostTimeoutError)) and router.down_connections:
                router.heard_from(host_id)
            if retries and (is_out or was_refused(error)):
                router.mark_connection_down(host_id)
            # What took too long twice is not tried a third time.
            is_read_again = is_late and is_out and not has_waited and reads_only(args[0])
            if not retries or not (is_read_again or may_retry(error, args[0])):
                raise error from cause
            has_waited |= is_late
            if not retries_left:
                break
            host_id = router.get_host_for_command(args[0], args[1:]) if choose is None else choose()
            client: Any = cluster.get_local_client(host_id)
            try:
                reply = client.execute_command(*args, **options)
            except RedisError as again:
                error = again
            else:
                if router.down_connections:
                    router.heard_from(host_id)
                return reply
        raise too_many_retries(retries, error) from error

    def _explained(self, error: RedisError, host_id: int, words: Sequence[Any]) -> RedisError:
        """redis-py's error with the host in it."""
        host = self._cluster.get_endpoint(host_id)[0]
        if find_outage(error) or isinstance(error, (RedisConnectionError, RedisTimeoutError)):
            return at_host(error, host)
        if isinstance(error, InvalidResponse):
            # As in maps: nobody knows where in the stream the connection is.
            return at_host(RedisConnectionError(str(error)), host)
        return located(error, host, words[:2]) if isinstance(error, ResponseError) else error

    def close(self) -> None:
        """Nothing, for code that closes redis-py's clients: the connections are the cluster's."""

    # Many commands at once.

    def get_mapping_client(
        self,
        max_concurrency: int | None = 64,
        auto_batch: bool | None = None,
        split_multi_key: bool | None = None,
    ) -> MappingClient:
        """A `MappingClient` that has to be joined by hand; see `map`."""
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
        """A `FanoutClient` that has to be joined by hand; see `fanout`."""
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
        """A block whose commands return promises and go out all at once, at its end.

        Arguments:
            timeout: for all of it, in seconds.
            max_concurrency: how many hosts are talked to at once; None: all.
            auto_batch: merge runs of GET into MGET and of SET into MSET.
            split_multi_key: cut commands with several keys by host.
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
        """A block whose commands go to the hosts that are named; their promises are dicts by host id.

        Arguments:
            hosts: ids, or ``"all"``; None: those that each command names with ``target``.
            timeout, max_concurrency, auto_batch: see `map`.
        """
        client = self.get_fanout_client(hosts, max_concurrency, auto_batch)
        client.timeout = timeout
        return client

    def pipeline(self, transaction: bool = False, shard_hint: Any = None) -> MappingClient:
        """A client whose commands are kept until ``execute()`` returns the list of their results.

        Raises:
            UnroutableCommand: a transaction is asked for, which cannot span servers.
        """
        if transaction:
            raise UnroutableCommand(
                "A transaction runs on one server: use cluster.get_local_client_for_key(key).pipeline(), "
                "or pipeline(transaction=False) for commands to many servers."
            )
        return self.get_mapping_client()

    # What has a natural meaning over all servers.

    def _everywhere(self, *args: Any, **options: Any) -> dict[int, Any]:
        """The replies of all databases: hosts with the same address are asked once."""
        with self.fanout(self._cluster.one_for_each_database()) as client:
            promise = client.execute_command(*args, **options)
        return get_settled(promise)  # type: ignore[no-any-return]

    def keys(self, pattern: Any = "*", **kwargs: Any) -> list[Any]:
        """The keys of all hosts that match `pattern`, in no order."""
        return [key for keys in self._everywhere("KEYS", pattern, **kwargs).values() for key in keys]

    def dbsize(self, **kwargs: Any) -> int:
        """The number of keys on all hosts together; keys of hosts with the same address count once."""
        return sum(self._everywhere("DBSIZE", **kwargs).values())

    def ping(self, **kwargs: Any) -> bool:
        """True when all hosts answer."""
        return all(self._everywhere("PING", **kwargs).values())

    def flushdb(self, asynchronous: bool = False, **kwargs: Any) -> bool:
        """Empty the databases of all hosts."""
        args = ("ASYNC",) if asynchronous else ()
        return all(self._everywhere("FLUSHDB", *args, **kwargs).values())

    def flushall(self, asynchronous: bool = False, **kwargs: Any) -> bool:
        """Empty all databases of all servers, also those that are not the cluster's."""
        args = ("ASYNC",) if asynchronous else ()
        return all(self._everywhere("FLUSHALL", *args, **kwargs).values())

    def scan_iter(
        self, match: Any = None, count: int | None = None, _type: str | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """The keys of all hosts, one host after the other; see redis-py's method."""
        for host_id in self._cluster.one_for_each_database():
            yield from self._cluster.get_local_client(host_id).scan_iter(match, count, _type, **kwargs)

    def lock(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """A lock on the host that has the key `name`; see redis-py's method."""
        options = {"lock_class": RoutedLock, **kwargs}
        lock = self._cluster.get_local_client_for_key(name).lock(name, *args, **options)
        if isinstance(lock, RoutedLock) and self._cluster.get_router().by_key:
            lock.redis = self
        return lock

    def __enter__(self) -> RoutingClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing: the pools are the cluster's."""
