"""Clients of the Redis clusters of `create_cluster`: for single commands, and for those of a map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from redis.commands.helpers import list_or_args

from pindb.redis.clients.base import BaseClient, refused
from pindb.redis.clients.mapping import MappingClient
from pindb.redis.clients.routing import RoutingClient
from pindb.redis.cluster import Cluster
from pindb.redis.core.keys import KEY_FIRST, check_command
from pindb.redis.core.merging import CommandRun, Entry
from pindb.redis.core.methods import find_command
from pindb.redis.core.names import read_word, with_plain_name
from pindb.redis.core.pending import Command
from pindb.redis.core.promises import Promise, get_settled
from pindb.redis.core.splitting import can_split
from pindb.redis.exceptions import Call, HostListExhausted, UnroutableCommand
from pindb.redis.facade.results import Result, get_value
from pindb.redis.routers import BaseRouter

__all__ = ["MultiHostClient", "RedisBatch", "find_called_command"]

BATCHED = "call get(), set() or delete() for each key; the map sends all of them together"


class MultiHostClient(BaseClient):
    """Client that sends each command at once, to all hosts that the router chooses.

    Has redis-py's methods. They return the reply of the host, or a list of replies if there are several
    hosts, in their order. Commands with several keys are split by host if possible. Safe under threads, and
    in forked processes.
    """

    ONE_HOST = "use cluster[host_id] or cluster.get_conn(key)"
    register_script = refused("register_script", f"call eval(lua, 1, key), or {ONE_HOST}")
    _cluster: Cluster

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._routing = cluster.get_routing_client(split_multi_key=True)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, and return its reply, or the list of its replies.

        Raises:
            UnroutableCommand: the command has several keys, or is unknown.
            redis.RedisError: an error reply, or a connection error.
        """
        words = read_words(args)
        hosts = find_hosts(self._cluster.get_router(), words)
        if hosts is None:
            return self._routing.execute_command(*words, **options)
        return self.send_to(hosts, words, options)

    scan_iter: Any = RoutingClient.scan_iter

    def send_to(
        self,
        hosts: Sequence[int],
        args: Sequence[Any],
        options: Mapping[str, Any],
        choose: Callable[[], int] | None = None,
    ) -> Any:
        """Send a command to the given hosts, all at once; see `RoutingClient.send_to` for the arguments."""
        if len(hosts) == 1:
            return self._routing.send_to(hosts[0], args, options, choose)
        with self._cluster.fanout(hosts) as client:
            promise = client.execute_command(*args, **options)
        replies = get_settled(promise)
        return [replies[host_id] for host_id in hosts]


class RedisBatch(MappingClient):
    """Pending commands of a `ResultMap`: a `MappingClient` whose methods return `Result` objects.

    Arguments:
        cluster: the cluster.
        workers: how many hosts are used at once; None: all.
    """

    ONE_HOST = MultiHostClient.ONE_HOST
    register_script = MultiHostClient.register_script

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
        return self._send(timeout)

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

    get_many = refused("get_many", BATCHED)
    set_many = refused("set_many", BATCHED)
    delete_many = refused("delete_many", BATCHED)


def read_words(words: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a command with a plain name, and with values in place of results."""
    if Result in map(type, words):
        words = tuple(map(get_value, words))
    return words if type(words[0]) is str else with_plain_name(words)


def find_hosts(router: BaseRouter, words: Sequence[Any]) -> list[int] | None:
    """Return the ids of a command's hosts; None if only its keys decide, by which it may have to be split."""
    if router.cuts_by_host and (words[0] in KEY_FIRST or can_split(words[0])):
        return None
    if router.goes_by_command:
        # A custom router need not refuse commands that change the state of a connection.
        check_command(words[0], words[1:])
    try:
        return router.get_hosts_for_command(words[0], words[1:])
    except UnroutableCommand:
        if router.by_key and can_split(words[0]):
            return None
        raise


def find_called_command(
    path: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]] | None:
    """Return the command of a method call whose hosts the router has chosen by the call.

    Returns:
        The words, with values in place of results, and redis-py's options for the reply; None if the method
        sends no command.

    Raises:
        UnroutableCommand: the command changes its connection, which is shared. The router has not seen the
            command, so it could not refuse it.
    """
    command = find_command(path, args, kwargs)
    if command is None:
        return None
    words = tuple(map(get_value, command[0]))
    check_command(words[0], words[1:])
    return words, command[1]
