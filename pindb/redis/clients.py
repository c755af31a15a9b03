"""The clients of a cluster: one command now, many commands at once, and commands for hosts by name."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from redis.commands import CoreCommands
from redis.commands.helpers import list_or_args
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pindb.redis.buffers import Buffers, Command, located
from pindb.redis.exceptions import ClusterConfigError, CommandCancelled, UnroutableCommand
from pindb.redis.exchange import at_host
from pindb.redis.multikey import can_split, merge_replies, split
from pindb.redis.promise import Promise, reject_all
from pindb.redis.routers import KEY_FIRST, check_command

if TYPE_CHECKING:
    from pindb.redis.cluster import Cluster

    class Commands:
        """redis-py's commands. Their types are those of its own client, which do not hold here."""

        def __getattr__(self, name: str) -> Any: ...

else:
    Commands = CoreCommands

__all__ = ["FanoutClient", "MappingClient", "RoutingClient"]

ONE_HOST = "use cluster.get_local_client(host_id) or cluster.get_local_client_for_key(key)"


def _refused(name: str, why: str) -> Any:
    """A method that is refused."""

    def method(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise UnroutableCommand(f"{type(self).__name__} has no {name}(): {why}.")

    method.__name__ = name
    method.__doc__ = f"Refused: {why}."
    return method


class BaseClient(Commands):
    """What the clients share: redis-py's methods for all commands, and what is refused in all of them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._cluster!r}>"

    # What redis-py's methods ask of their client.

    def get_encoder(self) -> Any:
        """redis-py's encoder, as the connections have it."""
        return self._cluster.encoder

    def get_connection_kwargs(self) -> dict[str, Any]:
        """The options of the connections."""
        return dict(self._cluster.pool_options)

    # What belongs to one server, and would be half right here.

    pubsub = _refused("pubsub", f"a channel lives on one server: {ONE_HOST}")
    monitor = _refused("monitor", f"it watches one server: {ONE_HOST}")
    transaction = _refused("transaction", f"a transaction runs on one server: {ONE_HOST}")
    unwatch = _refused("unwatch", f"a transaction runs on one server: {ONE_HOST}")
    watch = _refused("watch", f"a transaction runs on one server: {ONE_HOST}")
    client = _refused("client", f"it holds a connection to one server: {ONE_HOST}")
    scan = _refused("scan", f"a cursor is one server's: {ONE_HOST}, or scan_iter() of a routing client")
    shutdown = _refused("shutdown", f"shut down servers one by one: {ONE_HOST}")
    register_script = _refused(
        "register_script",
        "pass the script to cluster.execute_commands({key: [(Script(client, lua), keys, args)]})",
    )
    json = _refused("json", f"modules have clients of their own: {ONE_HOST}")
    ft = _refused("ft", f"modules have clients of their own: {ONE_HOST}")
    ts = _refused("ts", f"modules have clients of their own: {ONE_HOST}")
    bf = _refused("bf", f"modules have clients of their own: {ONE_HOST}")
    cf = _refused("cf", f"modules have clients of their own: {ONE_HOST}")
    cms = _refused("cms", f"modules have clients of their own: {ONE_HOST}")
    topk = _refused("topk", f"modules have clients of their own: {ONE_HOST}")
    tdigest = _refused("tdigest", f"modules have clients of their own: {ONE_HOST}")
    vset = _refused("vset", f"modules have clients of their own: {ONE_HOST}")


class RoutingClient(BaseClient):
    """Sends each command to the one host that has its key, at once, and returns the reply.

    Has redis-py's methods for all commands. What concerns all servers in a natural way works over the
    cluster (`keys`, `scan_iter`, `dbsize`, `flushdb`, `flushall`, `ping`); other commands without a key, or
    with several, are refused. Safe under threads, and in forked processes.

    A stale connection from the pool is replaced before anything is sent on it. A command that may have run is
    never sent again, unless the pools were given a ``retry`` of redis-py's.

    Arguments:
        cluster: the cluster.
        auto_batch: whether its `map` and `fanout` merge commands.
        split_multi_key: cut MGET, MSET, DEL, UNLINK, EXISTS and TOUCH by host, where several keys would be
            refused.
    """

    def __init__(self, cluster: Cluster, auto_batch: bool = True, split_multi_key: bool = False) -> None:
        super().__init__(cluster)
        self.auto_batch = auto_batch
        self.split_multi_key = split_multi_key

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the host that has its key, and return its reply.

        Raises:
            UnroutableCommand: it does not belong to exactly one host.
            redis.RedisError: the error reply, or what became of the connection.
        """
        cluster = self._cluster
        router = cluster.get_router()
        if args[0] in KEY_FIRST and len(args) > 1 and router.goes_by_key:
            host_id = router.get_host_for_key(args[1])
        elif self.split_multi_key and can_split(args[0]):
            with self.map(split_multi_key=True) as client:
                promise = client.execute_command(*args, **options)
            return promise.value
        else:
            host_id = router.get_host_for_command(args[0], args[1:])
        try:
            return cluster.get_local_client(host_id).execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except RedisError as error:
            raise self._explained(error, host_id, args) from error.__cause__

    def get(self, name: Any) -> Any:
        """The value at key `name`, or None where there is none."""
        # The command that counts, with no more between it and its host than there must be.
        cluster = self._cluster
        router = cluster.get_router()
        if not router.goes_by_key:
            return self.execute_command("GET", name)
        host_id = router.get_host_for_key(name)
        try:
            return cluster.get_local_client(host_id).get(name)
        except RedisError as error:
            raise self._explained(error, host_id, ("GET", name)) from error.__cause__

    def _explained(self, error: RedisError, host_id: int, words: Sequence[Any]) -> RedisError:
        """redis-py's error with the host in it."""
        host = self._cluster.get_endpoint(host_id)[0]
        if isinstance(error, (RedisConnectionError, RedisTimeoutError)):
            return at_host(error, host)
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
        with self.fanout("all") as client:
            promise = client.execute_command(*args, **options)
        return promise.value  # type: ignore[no-any-return]

    def keys(self, pattern: Any = "*", **kwargs: Any) -> list[Any]:
        """The keys of all hosts that match `pattern`, in no order."""
        return [key for keys in self._everywhere("KEYS", pattern, **kwargs).values() for key in keys]

    def dbsize(self, **kwargs: Any) -> int:
        """The number of keys on all hosts together."""
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
        for host_id in self._cluster.hosts:
            yield from self._cluster.get_local_client(host_id).scan_iter(match, count, _type, **kwargs)

    def lock(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """A lock on the host that has the key `name`; see redis-py's method."""
        return self._cluster.get_local_client_for_key(name).lock(name, *args, **kwargs)

    def __enter__(self) -> RoutingClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Nothing: the pools are the cluster's."""


class PromisingClient(BaseClient):
    """What `MappingClient` and `FanoutClient` share: `join`, or the end of a block, sends what was called.

    Not safe under threads; a client for each of them costs next to nothing.
    """

    def __init__(self, cluster: Cluster, max_concurrency: int | None = None, auto_batch: bool = True) -> None:
        super().__init__(cluster)
        if max_concurrency is not None and max_concurrency < 1:
            raise ClusterConfigError(
                f"max_concurrency is {max_concurrency!r}. Write how many hosts are talked to at once: 1 or "
                "more, or None for all."
            )
        self.max_concurrency = max_concurrency
        self.auto_batch = auto_batch
        self.timeout: float | None = None
        self._buffers = Buffers()
        # What was returned since the last join, in order: promises, and lists of them.
        self._issued: list[Promise | list[Promise]] = []

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.join(self.timeout)
        else:
            self.cancel()

    def __len__(self) -> int:
        """How many commands wait."""
        self._gather()
        return sum(len(issued) if isinstance(issued, list) else 1 for issued in self._issued)

    def __bool__(self) -> bool:
        return True

    def _gather(self) -> bool:
        """Move what is kept elsewhere into the buffers; whether nothing has failed since the last join."""
        return True

    def _forget(self) -> None:
        """What was issued is settled."""
        self._issued.clear()

    def _promises(self) -> Iterator[Promise]:
        for issued in self._issued:
            if isinstance(issued, list):
                yield from issued
            else:
                yield issued

    def cancel(self) -> None:
        """Drop all commands that wait; their promises are rejected with `CommandCancelled`."""
        self._gather()
        issued = list(self._promises())
        self._forget()
        try:
            self._buffers.cancel()
        finally:
            reject_all(issued, CommandCancelled("The command was cancelled before it was sent."))

    def join(self, timeout: float | None = None) -> None:
        """Send all commands that wait, and settle all promises. What callbacks call meanwhile is sent too.

        Arguments:
            timeout: for all of it, in seconds: what has no reply by then is rejected with `HostTimeoutError`.

        Raises:
            redis.RedisError: the reason of the first command, in their order, that failed and whose promise
                has nobody to handle that. All others were settled before.
        """
        first = None
        try:
            if not self._send(timeout):
                first = next((promise for promise in self._promises() if promise.is_unhandled), None)
        finally:
            self._forget()
        if first is not None:
            raise first.reason

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send all commands that wait, as a pipeline does. What callbacks call meanwhile is sent too.

        Arguments:
            raise_on_error: raise the first error; otherwise errors stand in the list.

        Returns:
            The results of what waited, in the commands' order.
        """
        self._gather()
        promises = list(self._promises())
        try:
            self._send(self.timeout)
        finally:
            self._forget()
        if raise_on_error:
            for promise in promises:
                if promise.is_rejected:
                    raise promise.reason
        return [promise.reason if promise.is_rejected else promise.value for promise in promises]

    def _send(self, timeout: float | None) -> bool:
        """Send what waits, and what callbacks call meanwhile; whether nothing failed."""
        end = None if timeout is None else time.monotonic() + timeout
        fine = self._gather()
        while self._buffers:
            fine &= self._buffers.send(self._cluster.get_endpoint, end, self.max_concurrency)
            fine &= self._gather()
        return fine

    scan_iter = _refused("scan_iter", "it needs replies one after the other; a routing client has it")
    hscan_iter = _refused("hscan_iter", "it needs replies one after the other; a routing client has it")
    sscan_iter = _refused("sscan_iter", "it needs replies one after the other; a routing client has it")
    zscan_iter = _refused("zscan_iter", "it needs replies one after the other; a routing client has it")
    lock = _refused("lock", "it needs replies one after the other; a routing client has it")
    pipeline = _refused("pipeline", "it is one: call the commands, then execute()")
    __contains__ = _refused("__contains__", "whether a key is there is not known yet; use exists()")
    __getitem__ = _refused("__getitem__", "whether a key is there is not known yet; use get()")


class MappingClient(PromisingClient):
    """Sends each command to the host that has its key, all of them at once; commands return promises.

    Runs of GET become MGET and runs of plain SET become MSET, where nothing on the same host stands between
    them. (A merged GET of a key that holds no string gives None, as MGET does, and no error.)

    Arguments:
        cluster: the cluster.
        max_concurrency: how many hosts are talked to at once; None: all.
        auto_batch: whether runs are merged.
        split_multi_key: cut DEL, UNLINK, EXISTS and TOUCH by host, where several keys would be refused;
            `mget` and `mset` always are.
    """

    def __init__(
        self,
        cluster: Cluster,
        max_concurrency: int | None = None,
        auto_batch: bool = True,
        split_multi_key: bool = False,
    ) -> None:
        super().__init__(cluster, max_concurrency, auto_batch)
        self.split_multi_key = split_multi_key
        self._router = cluster.get_router()
        self._has_refused = False
        # The run of plain GETs or SETs that is going on: they are routed together when it ends.
        self._start_run()

    def _start_run(self) -> None:
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._run: list[Promise] = []
        self._add_key = self._keys.append
        self._add_value = self._values.append
        self._add_promise = self._run.append

    def get(self, name: Any) -> Promise:
        """Promise the value at key `name`, or None where there is none."""
        if self._values:
            self._gather()
        promise = Promise()
        self._add_key(name)
        self._add_promise(promise)
        return promise

    def set(self, name: Any, value: Any, *args: Any, **options: Any) -> Promise:
        """Set the value at key `name`; see redis-py's method for the options."""
        if args or options:
            return super().set(name, value, *args, **options)  # type: ignore[misc,no-any-return]
        if not self._values and self._keys:
            self._gather()
        promise = Promise()
        self._add_key(name)
        self._add_value(value)
        self._add_promise(promise)
        return promise

    def _gather(self) -> bool:
        keys, values, run = self._keys, self._values, self._run
        if not run:
            return not self._has_refused
        self._start_run()
        self._issued.append(run)
        try:
            groups = self._router.group_keys(keys)
        except Exception:
            self._gather_singly(keys, values, run)
        else:
            self._buffers.add_run(groups, keys, values, run, self.auto_batch)
        return not self._has_refused

    def _forget(self) -> None:
        super()._forget()
        self._has_refused = False

    def _gather_singly(self, keys: list[Any], values: list[Any], run: list[Promise]) -> None:
        """A run with a key that the router refuses: only that key's promise is rejected."""
        for i, (key, promise) in enumerate(zip(keys, run, strict=True)):
            try:
                host_id = self._router.get_host_for_key(key)
            except Exception as error:
                self._has_refused = True
                promise.reject(error)
            else:
                self._buffers.add_run({host_id: [0]}, [key], values[i : i + 1], [promise], self.auto_batch)

    def execute_command(self, *args: Any, **options: Any) -> Promise:
        """Keep a command for the host that has its key, and promise its reply.

        Raises:
            UnroutableCommand: it does not belong to exactly one host.
        """
        if self.split_multi_key and can_split(args[0]):
            return self._split(args[0].upper(), args[1:])
        router = self._router
        if args[0] in KEY_FIRST and len(args) > 1 and router.goes_by_key:
            host_id = router.get_host_for_key(args[1])
        else:
            host_id = router.get_host_for_command(args[0], args[1:])
        if self._run:
            self._gather()
        promise = Promise()
        self._buffers.add(host_id, Command(args, options, promise))
        self._issued.append(promise)
        return promise

    def mget(self, keys: Any, *args: Any) -> Promise:
        """Promise the values at all of the keys, as a list in their order."""
        return self._split("MGET", list_or_args(keys, args))

    def mset(self, mapping: Mapping[Any, Any] | None = None, **pairs: Any) -> Promise:
        """Set all keys of `mapping` to their values: atomically on each host, but not over all of them."""
        together = {**(mapping or {}), **pairs}
        if not together:
            return self._issue(Promise.resolved(True))
        return self._split("MSET", [word for pair in together.items() for word in pair])

    def _split(self, name: str, args: Sequence[Any]) -> Promise:
        if self._run:
            self._gather()
        if name == "MGET" and not args:
            # As redis-py's mget() has it.
            return self._issue(Promise.resolved([]))
        parts = split(self._router, name, args)
        promises = []
        for part in parts:
            promise = Promise()
            self._buffers.add(part.host_id, Command((name, *part.words), {}, promise))
            promises.append(promise)
        return self._issue(Promise.all(promises).then(lambda replies: merge_replies(name, parts, replies)))

    def _issue(self, promise: Promise) -> Promise:
        if self._run:
            self._gather()
        self._issued.append(promise)
        return promise


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
        cluster: Cluster,
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
        host_id = self._cluster.get_router().get_host_for_key(key)
        return self._aimed([host_id], host_id)

    def _aimed(self, hosts: Sequence[int], single: int | None) -> FanoutClient:
        client = FanoutClient.__new__(type(self))
        # It shares the buffers: what is called on it is sent with all the rest.
        client.__dict__.update(self.__dict__, _hosts=hosts, _single=single)
        return client

    def execute_command(self, *args: Any, **options: Any) -> Promise:
        """Keep a command for each of the hosts, and promise their replies by host id."""
        check_command(args[0], args[1:])
        if self._hosts is None:
            raise UnroutableCommand(
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
