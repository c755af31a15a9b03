"""Pending commands of a map, for Redis clusters of `create_cluster`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from redis.commands.helpers import list_or_args

from pindb.redis.clients.base import refused
from pindb.redis.clients.mapping import MappingClient
from pindb.redis.cluster import Cluster
from pindb.redis.core.keys import KEY_FIRST
from pindb.redis.core.merging import Entry
from pindb.redis.core.names import read_word, with_plain_name
from pindb.redis.core.pending import Command
from pindb.redis.core.promises import Promise
from pindb.redis.core.splitting import can_split
from pindb.redis.exceptions import Call, HostListExhausted, UnroutableCommand
from pindb.redis.facade.redis_client import ONE_HOST, SCRIPT, find_called_command, find_hosts
from pindb.redis.facade.results import Result, get_value, get_values

__all__ = ["RedisBatch"]

BATCHED = "call get(), set() or delete() for each key; the map sends all of them together"


class TargetedCommand(Command):
    """Command whose hosts the router has chosen by the call of a method; see `BaseRouter.get_dbs`.

    Attributes:
        call: the call; None if the command goes to several hosts, and so cannot move to another one.
    """

    __slots__ = ("call",)

    def __init__(self, *command: Any, call: Call | None) -> None:
        super().__init__(*command)
        self.call = call


class RedisBatch(MappingClient):
    """Pending commands of a `ResultMap`: a `MappingClient` whose methods return `Result` objects.

    Arguments:
        cluster: the cluster.
        workers: how many hosts are used at once; None: all.
    """

    ONE_HOST = ONE_HOST
    register_script = SCRIPT

    def __init__(self, cluster: Cluster, workers: int | None = None) -> None:
        super().__init__(cluster, workers, split_multi_key=True)
        self.settled: list[Promise | list[Promise]] | None = None
        # Functions that return calls with their promises. Only failed maps need them: making a `Call` for
        # each of thousands of keys takes time.
        self._calls: list[Callable[[], Iterator[tuple[Call, Promise]]]] = []
        self._uses_runs = self._router.goes_by_key and not self._router.routes_calls

    def call(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a method on the hosts that the router chooses by `BaseRouter.get_dbs`."""
        call = Call(path, *get_values(args, kwargs))
        try:
            hosts = self._router.get_dbs(*call)
        except HostListExhausted as error:
            return Result(self._reject(call, error))
        command = find_called_command(*call)
        if command is None:
            return getattr(self, path)(*call.args, **call.kwargs)
        words, options = command
        return self._issue_call(words, self._keep_for(hosts, words, options, call))

    # These methods and their arguments are named as in MappingClient.

    def get(self, name: Any) -> Any:
        """Add a GET, and return its `Result`."""
        if not self._uses_runs or type(name) is Result:
            return self.execute_command("GET", name)
        # A copy of MappingClient.get(): calling that would cost too much with thousands of keys.
        if self._values:
            self._gather()
        promise = Promise()
        self._add_key(name)
        self._add_promise(promise)
        return Result(promise)

    def set(self, name: Any, value: Any, *args: Any, **options: Any) -> Any:
        """Add a SET, and return its `Result`; see redis-py's method for the options."""
        if args or options:
            return super().set(name, value, *args, **options)
        if not self._uses_runs or type(name) is Result or type(value) is Result:
            return self.execute_command("SET", name, value)
        if not self._values and self._keys:
            self._gather()
        promise = Promise()
        self._add_key(name)
        self._add_value(value)
        self._add_promise(promise)
        return Result(promise)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Add a command, and return its `Result`.

        Raises:
            UnroutableCommand: the command has several keys, or is unknown.
        """
        if Result in map(type, args):
            args = tuple(map(get_value, args))
        if type(args[0]) is not str:
            args = with_plain_name(args)
        try:
            promise = self._keep(args, options)
        except HostListExhausted as error:
            return Result(self._reject(_call(args), error))
        return self._issue_call(args, promise)

    def _issue_call(self, words: Sequence[Any], promise: Promise) -> Result:
        self._calls.append(lambda: iter([(_call(words), promise)]))
        return Result(promise)

    def _keep(self, args: tuple[Any, ...], options: dict[str, Any]) -> Promise:
        router = self._router
        is_single = router.cuts_by_host and (args[0] in KEY_FIRST or can_split(args[0]))
        hosts = None if is_single else find_hosts(router, args)
        if hosts is None:
            return super().execute_command(*args, **options)
        return self._keep_for(hosts, args, options)

    def _keep_for(
        self, hosts: Sequence[int], args: Sequence[Any], options: dict[str, Any], call: Call | None = None
    ) -> Promise:
        """Keep a command for hosts that are given; `call`: the method call that the router has seen."""
        promises = [Promise() for _ in hosts]
        if self._run:
            self._gather()
        for host_id, promise in zip(hosts, promises, strict=True):
            command = Command(args, dict(options), promise)
            if call is not None:
                command = TargetedCommand(
                    args, dict(options), promise, call=call if len(hosts) == 1 else None
                )
            self._buffers.add(host_id, command)
        together = promises[0] if len(promises) == 1 else Promise.all(promises)
        self._issued.append(together)
        return together

    def mget(self, keys: Any, *args: Any) -> Any:
        """Add an MGET, and return its `Result`: the list of values, in the order of the keys."""
        names = list_or_args(get_value(keys), args)
        return self.execute_command("MGET", *names) if names else Result(Promise.resolved([]))

    def mset(self, mapping: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None = None, **pairs: Any) -> Any:
        """Add an MSET, and return its `Result`. It is atomic on each host, but not across hosts."""
        values = {**dict(mapping or ()), **pairs}
        words = [word for pair in values.items() for word in pair]
        return self.execute_command("MSET", *words) if words else Result(Promise.resolved(True))

    def _reject(self, call: Call, error: BaseException) -> Promise:
        if self._run:
            self._gather()
        promise = Promise.rejected(error)
        self._has_refused = True
        self._issued.append(promise)
        self._calls.append(lambda: iter([(call, promise)]))
        return promise

    def _gather(self) -> bool:
        keys, values, run = self._keys, self._values, self._run
        if run:
            self._calls.append(lambda: _calls_of_run(keys, values, run))
        return super()._gather()

    def _route_again(self, entry: Entry) -> None:
        if not isinstance(entry, TargetedCommand):
            super()._route_again(entry)
        elif entry.call is None:
            raise UnroutableCommand("The command is for each of several hosts.")
        else:
            self._buffers.add(self._router.get_dbs(*entry.call)[0], entry)

    def _forget(self) -> None:
        self.settled = self._sent + self._issued
        if self._run:
            # The block was cancelled before this run was gathered.
            self.settled.append(self._run)
        super()._forget()
        self._calls = []

    # The interface of `Batch`.

    def send(self, timeout: float | None) -> bool:
        try:
            return self._send(timeout)
        except BaseException:
            self._interrupted()
            raise

    def calls(self) -> Iterator[tuple[Call, Promise]]:
        return (pair for calls in self._calls for pair in calls())

    forget = _forget

    get_many = refused("get_many", BATCHED)
    set_many = refused("set_many", BATCHED)
    delete_many = refused("delete_many", BATCHED)


def _call(words: Sequence[Any]) -> Call:
    return Call(read_word(words[0]), tuple(words[1:]), {})


def _calls_of_run(
    keys: Sequence[Any], values: Sequence[Any], promises: Sequence[Promise]
) -> Iterator[tuple[Call, Promise]]:
    for i, (key, promise) in enumerate(zip(keys, promises, strict=True)):
        yield (Call("SET", (key, values[i]), {}) if values else Call("GET", (key,), {})), promise
