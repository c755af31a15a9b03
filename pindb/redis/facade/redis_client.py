"""Commands of a cluster that `create_cluster` made: now, and in a map whose results become their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from redis.commands.helpers import list_or_args

from pindb.redis.clients.base import BaseClient, refused
from pindb.redis.clients.mapping import MappingClient
from pindb.redis.cluster import Cluster
from pindb.redis.core.batches import Command, Entry
from pindb.redis.core.keys import KEY_FIRST, check_command
from pindb.redis.core.names import read_word, with_plain_name
from pindb.redis.core.promises import Promise, get_settled
from pindb.redis.core.splitting import can_split
from pindb.redis.exceptions import Call, CommandError, HostListExhausted, UnroutableCommand
from pindb.redis.facade.results import Result, get_value, get_values, results_of
from pindb.redis.routers import BaseRouter

__all__ = ["AimedClient", "CallingClient", "ResultsClient"]

ONE_HOST = "use cluster[host_id] or cluster.get_conn(key)"
SCRIPT = refused("register_script", f"call eval(lua, 1, key), or {ONE_HOST}")
BATCHED = "call what takes one key for each of them, and the map sends them together"


class CallingClient(BaseClient):
    """Sends each command to the hosts that the router names, now.

    Its methods are redis-py's, and return the reply where one host answered, else a list of replies in the
    hosts' order. Commands with several keys are cut by host where that can be. Safe under threads, and in
    forked processes.
    """

    ONE_HOST = ONE_HOST
    register_script = SCRIPT
    _cluster: Cluster

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._routing = cluster.get_routing_client(split_multi_key=True)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, and return its reply, or the list of its replies.

        Raises:
            UnroutableCommand: it has several keys, or is not known.
            redis.RedisError: the error reply, or what became of the connection.
        """
        if Result in map(type, args):
            args = tuple(map(get_value, args))
        if type(args[0]) is not str:
            args = with_plain_name(args)
        router = self._cluster.get_router()
        if router.cuts_by_host and (args[0] in KEY_FIRST or can_split(args[0])):
            return self._routing.execute_command(*args, **options)
        hosts = _find_hosts(router, args)
        if hosts is None:
            return self._routing.execute_command(*args, **options)
        return self.send_to(hosts, args, options)

    def scan_iter(
        self, match: Any = None, count: int | None = None, _type: str | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """The keys of all hosts, one host after the other; see redis-py's method."""
        return self._routing.scan_iter(match, count, _type, **kwargs)

    def send_to(
        self,
        hosts: Sequence[int],
        args: Sequence[Any],
        options: Mapping[str, Any],
        choose: Callable[[], int] | None = None,
    ) -> Any:
        """Send a command to hosts that are named, all at once; see `RoutingClient.send_to` for the rest."""
        if len(hosts) == 1:
            return self._routing.send_to(hosts[0], args, options, choose)
        with self._cluster.fanout(hosts) as client:
            promise = client.execute_command(*args, **options)
        replies = get_settled(promise)
        return [replies[host_id] for host_id in hosts]


class AimedClient(BaseClient):
    """Has redis-py's methods, and sends what they send to hosts that are named.

    Arguments:
        client: sends it.
        hosts: the ids of the hosts.
        choose: see `RoutingClient.send_to`.
    """

    ONE_HOST = ONE_HOST
    register_script = SCRIPT

    def __init__(self, client: CallingClient, hosts: Sequence[int], choose: Callable[[], int]) -> None:
        super().__init__(client._cluster)
        self._client = client
        self._hosts = hosts
        self._choose = choose

    def execute_command(self, *args: Any, **options: Any) -> Any:
        words = tuple(map(get_value, args))
        # The router has seen the call of a method, not the command.
        check_command(words[0], words[1:])
        return self._client.send_to(self._hosts, words, options, self._choose)


class AimedCommand(Command):
    """A command that goes where the router has sent the call of a method.

    Attributes:
        call: the call; None where several hosts have it, so that none may take another's place.
    """

    __slots__ = ("call",)

    def __init__(self, *command: Any, call: Call | None) -> None:
        super().__init__(*command)
        self.call = call


class ResultsClient(MappingClient):
    """Keeps commands until its block ends, and sends them to all hosts at once; see `MappingClient`.

    Its methods return `Result` objects. Not safe under threads; a map for each of them costs next to nothing.

    Arguments:
        cluster: the cluster.
        workers: how many hosts are talked to at once; None: all.
        fail_silently: leave errors as values, and in `get_errors`, instead of raising `CommandError`.
    """

    ONE_HOST = ONE_HOST
    register_script = SCRIPT

    def __init__(self, cluster: Cluster, workers: int | None = None, fail_silently: bool = False) -> None:
        super().__init__(cluster, workers, split_multi_key=True)
        self.fail_silently = fail_silently
        self._errors: list[tuple[Call, BaseException]] = []
        # What was called before the last join, as `_issued` has it; None before the first.
        self._returned: list[Promise | list[Promise]] | None = None
        # What was called: the keys and values of runs, and the words of other commands, with their promises.
        self._log: list[Callable[[], Iterator[tuple[Call, Promise]]]] = []
        #: The method that is being called, and its hosts, if the router has looked at the call.
        self._aim: tuple[Call, list[int]] | None = None
        self._in_runs = self._router.goes_by_key and not self._router.routes_calls

    def call(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method whose hosts the router names by `BaseRouter.get_dbs`."""
        call = Call(path, *get_values(args, kwargs))
        try:
            self._aim = call, self._router.get_dbs(*call)
        except HostListExhausted as error:
            return Result(self._refused(call, error))
        try:
            return getattr(self, path)(*call.args, **call.kwargs)
        finally:
            self._aim = None

    # The names of these, and of their arguments, are MappingClient's.

    def get(self, name: Any) -> Any:
        """The result-to-be of GET."""
        if not self._in_runs or type(name) is Result:
            return self.execute_command("GET", name)
        # MappingClient's method, without a call of it for each of ten thousand keys.
        if self._values:
            self._gather()
        promise = Promise()
        self._add_key(name)
        self._add_promise(promise)
        return Result(promise)

    def set(self, name: Any, value: Any, *args: Any, **options: Any) -> Any:
        """The result-to-be of SET; see redis-py's method for the options."""
        if args or options:
            return super().set(name, value, *args, **options)
        if not self._in_runs or type(name) is Result or type(value) is Result:
            return self.execute_command("SET", name, value)
        if not self._values and self._keys:
            self._gather()
        promise = Promise()
        self._add_key(name)
        self._add_value(value)
        self._add_promise(promise)
        return Result(promise)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """The result-to-be of a command.

        Raises:
            UnroutableCommand: it has several keys, or is not known.
        """
        if Result in map(type, args):
            args = tuple(map(get_value, args))
        if type(args[0]) is not str:
            args = with_plain_name(args)
        try:
            promise = self._keep(args, options)
        except HostListExhausted as error:
            return Result(self._refused(_call(args), error))
        self._log.append(lambda: iter([(_call(args), promise)]))
        return Result(promise)

    def _keep(self, args: tuple[Any, ...], options: dict[str, Any]) -> Promise:
        if self._aim is None:
            router = self._router
            if router.cuts_by_host and (args[0] in KEY_FIRST or can_split(args[0])):
                return super().execute_command(*args, **options)
            found = _find_hosts(router, args)
            if found is None:
                return super().execute_command(*args, **options)
            call, hosts = None, found
        else:
            check_command(args[0], args[1:])
            call, hosts = self._aim
        promises = [Promise() for _ in hosts]
        if self._run:
            self._gather()
        for host_id, promise in zip(hosts, promises, strict=True):
            command = Command(args, dict(options), promise)
            if call is not None:
                command = AimedCommand(args, dict(options), promise, call=call if len(hosts) == 1 else None)
            self._buffers.add(host_id, command)
        together = promises[0] if len(promises) == 1 else Promise.all(promises)
        self._issued.append(together)
        return together

    def mget(self, keys: Any, *args: Any) -> Any:
        """The result-to-be of MGET: the values at all of the keys, as a list in their order."""
        names = list_or_args(get_value(keys), args)
        return self.execute_command("MGET", *names) if names else Result(Promise.resolved([]))

    def mset(self, mapping: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None = None, **pairs: Any) -> Any:
        """The result-to-be of MSET: atomic on each host, but not over all of them."""
        together = {**dict(mapping or ()), **pairs}
        words = [word for pair in together.items() for word in pair]
        return self.execute_command("MSET", *words) if words else Result(Promise.resolved(True))

    def _refused(self, call: Call, error: BaseException) -> Promise:
        if self._run:
            self._gather()
        promise = Promise.rejected(error)
        self._has_refused = True
        self._issued.append(promise)
        self._log.append(lambda: iter([(call, promise)]))
        return promise

    def _gather(self) -> bool:
        keys, values, run = self._keys, self._values, self._run
        if run:
            self._log.append(lambda: _calls_of_run(keys, values, run))
        return super()._gather()

    def _route_again(self, entry: Entry) -> None:
        if not isinstance(entry, AimedCommand):
            super()._route_again(entry)
        elif entry.call is None:
            raise UnroutableCommand("It is for each of several hosts.")
        else:
            self._buffers.add(self._router.get_dbs(*entry.call)[0], entry)

    def _forget(self) -> None:
        self._returned = self._sent + self._issued
        if self._run:
            # Cancelled before it was gathered.
            self._returned.append(self._run)
        super()._forget()
        self._log = []

    # What comes of it.

    get_many = refused("get_many", BATCHED)
    set_many = refused("set_many", BATCHED)
    delete_many = refused("delete_many", BATCHED)
    execute = refused("execute", "the end of the block sends what was called, and join() does")

    def join(self, timeout: float | None = None) -> None:
        """Send all commands that wait; their results are there then.

        Arguments:
            timeout: for all of it, in seconds.

        Raises:
            CommandError: some failed, after all that could run has run; not with `fail_silently`.
        """
        fine = False
        try:
            fine = self._send(timeout)
        except BaseException:
            self._interrupted()
            raise
        finally:
            called = [] if fine else [pair for calls in self._log for pair in calls()]
            self._forget()
            self._errors = [(call, promise.reason) for call, promise in called if promise.is_rejected]
        if self._errors and not self.fail_silently:
            raise CommandError(self._errors)

    def get_errors(self) -> list[tuple[Call, BaseException]]:
        """What failed, in the order of the calls; empty before the end of the block."""
        return list(self._errors)

    def get_results(self) -> list[Any]:
        """The values of all calls, in their order; exceptions in place of those that failed.

        Raises:
            ResultPending: before the end of the block.
            CommandCancelled: the block was left with an exception.
        """
        return results_of(self._returned)


def _find_hosts(router: BaseRouter, words: Sequence[Any]) -> list[int] | None:
    """The hosts that a command is for; None where it has several keys and is cut by their hosts."""
    if router.goes_by_command:
        # A router of a site's own need not refuse what changes connections.
        check_command(words[0], words[1:])
    try:
        return router.get_hosts_for_command(words[0], words[1:])
    except UnroutableCommand:
        if router.by_key and can_split(words[0]):
            return None
        raise


def _call(words: Sequence[Any]) -> Call:
    return Call(read_word(words[0]), tuple(words[1:]), {})


def _calls_of_run(
    keys: Sequence[Any], values: Sequence[Any], promises: Sequence[Promise]
) -> Iterator[tuple[Call, Promise]]:
    for i, (key, promise) in enumerate(zip(keys, promises, strict=True)):
        yield (Call("SET", (key, values[i]), {}) if values else Call("GET", (key,), {})), promise
