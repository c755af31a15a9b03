"""Pending commands of a map, for Redis clusters of `create_cluster`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from redis.commands.helpers import list_or_args

from pindb.redis.clients.base import refused
from pindb.redis.clients.mapping import MappingClient
from pindb.redis.cluster import Cluster
from pindb.redis.core.merging import CommandRun, Entry
from pindb.redis.core.names import read_word
from pindb.redis.core.pending import Command
from pindb.redis.core.promises import Promise
from pindb.redis.exceptions import Call, HostListExhausted, UnroutableCommand
from pindb.redis.facade.redis_client import ONE_HOST, SCRIPT, find_called_command, find_hosts, read_words
from pindb.redis.facade.results import Result, get_value

__all__ = ["RedisBatch"]

BATCHED = "call get(), set() or delete() for each key; the map sends all of them together"


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
        #: The promises of the last block, as in `_issued`; a pending one before its end.
        self.settled: list[Promise | list[Promise]] = [Promise()]
        # The words of each command with its promise. For a run: the name, the keys and the values, with the
        # promises. Only failed maps need a `Call` of each, and thousands of them take time.
        self._calls: list[tuple[Sequence[Any], Promise | list[Promise]]] = []
        # The call of each command whose hosts the router has chosen by the call of a method; None if it goes
        # to several hosts, and so cannot move to another one.
        self._seen: dict[Command, Call | None] = {}
        self.has_methods = not self._router.routes_calls
        self._uses_runs = self._router.goes_by_key and self.has_methods

    def call(self, call: Call) -> Any:
        """Call a method on the hosts that the router chooses by `BaseRouter.get_dbs`."""
        try:
            hosts = self._router.get_dbs(*call)
        except HostListExhausted as error:
            return self._note(call, self._refuse(error))
        command = find_called_command(*call)
        if command is None:
            return getattr(self, call.name)(*call.args, **call.kwargs)
        return self._note(command[0], self._keep_for(hosts, *command, call))

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
        words = read_words(args)
        try:
            hosts = find_hosts(self._router, words)
            if hosts is None:
                promise = super().execute_command(*words, **options)
            else:
                promise = self._keep_for(hosts, words, options)
        except HostListExhausted as error:
            promise = self._refuse(error)
        return self._note(words, promise)

    def _note(self, words: Sequence[Any], promise: Promise) -> Result:
        self._calls.append((words, promise))
        return Result(promise)

    def _refuse(self, error: BaseException) -> Promise:
        self._has_refused = True
        return self._issue(Promise.rejected(error))

    def _keep_for(
        self, hosts: Sequence[int], words: Sequence[Any], options: dict[str, Any], call: Call | None = None
    ) -> Promise:
        """Keep a command for hosts that are given; `call`: the method call that the router has seen."""
        if self._run:
            self._gather()
        promises = [Promise() for _ in hosts]
        for host_id, promise in zip(hosts, promises, strict=True):
            command = Command(words, dict(options), promise)
            if call is not None:
                self._seen[command] = call if len(hosts) == 1 else None
            self._buffers.add(host_id, command)
        return self._issue(promises[0] if len(promises) == 1 else Promise.all(promises))

    def mget(self, keys: Any, *args: Any) -> Any:
        """Add an MGET, and return its `Result`: the list of values, in the order of the keys."""
        names = list_or_args(get_value(keys), args)
        return self.execute_command("MGET", *names) if names else Result(Promise.resolved([]))

    def mset(self, mapping: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None = None, **pairs: Any) -> Any:
        """Add an MSET, and return its `Result`. It is atomic on each host, but not across hosts."""
        values = {**dict(mapping or ()), **pairs}
        words = [word for pair in values.items() for word in pair]
        return self.execute_command("MSET", *words) if words else Result(Promise.resolved(True))

    def _add_run(self, run: CommandRun) -> None:
        self._calls.append((("SET", run.keys, run.values) if run.values else ("GET", run.keys), run.promises))
        super()._add_run(run)

    def _route_again(self, entry: Entry) -> None:
        if not (isinstance(entry, Command) and entry in self._seen):
            super()._route_again(entry)
            return
        call = self._seen[entry]
        if call is None:
            raise UnroutableCommand("The command is for each of several hosts.")
        self._buffers.add(self._router.get_dbs(*call)[0], entry)

    def _forget(self) -> None:
        # The run is empty, unless the block was cancelled before it was gathered.
        self.settled = [*self._sent, *self._issued, self._run]
        self._calls, self._seen = [], {}
        super()._forget()

    # For `ResultMap`.

    def send(self, timeout: float | None) -> bool:
        """Send all commands, settle their promises, and return whether all have succeeded."""
        try:
            return self._send(timeout)
        except BaseException:
            self._interrupted()
            raise

    @property
    def calls(self) -> Iterator[tuple[Call, Promise]]:
        """The calls of this block with their promises, in order."""
        for words, promise in self._calls:
            if isinstance(promise, list):
                name, *columns = words
                for *args, one in zip(*columns, promise, strict=True):
                    yield Call(name, tuple(args), {}), one
            elif isinstance(words, Call):
                yield words, promise
            else:
                yield Call(read_word(words[0]), tuple(words[1:]), {}), promise

    forget = _forget

    get_many = refused("get_many", BATCHED)
    set_many = refused("set_many", BATCHED)
    delete_many = refused("delete_many", BATCHED)
