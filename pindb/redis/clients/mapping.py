"""Client that sends many commands, each to the host of its key, to all hosts at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from redis.commands.helpers import list_or_args
from redis.exceptions import DataError, RedisError

from pindb.redis.clients.base import ClientsCluster, find_host
from pindb.redis.clients.queueing import QueueingClient
from pindb.redis.core.joints import Joint
from pindb.redis.core.merging import CommandRun, Entry
from pindb.redis.core.names import read_word, with_plain_name
from pindb.redis.core.pending import AskingCommand, Command
from pindb.redis.core.promises import Promise, get_settled, reject_all
from pindb.redis.core.redirects import find_redirect
from pindb.redis.core.retries import Retries, reads_only
from pindb.redis.core.splitting import Part, can_split, check_length, check_words, group, merge_replies, split
from pindb.redis.exceptions import HostConnectionError

__all__ = ["MappingClient"]


class MappingClient(QueueingClient):
    """Client that queues commands, each for the host of its key, sends all at once, and returns promises.

    Consecutive GETs for the same host are merged into an MGET, and consecutive plain SETs into an MSET. (A
    merged GET of a key with another type than string returns None, like MGET, instead of raising WRONGTYPE.)

    Arguments:
        cluster: the cluster.
        max_concurrency: how many hosts are used at once; None: all.
        auto_batch: merge GETs and SETs.
        split_multi_key: split DEL, UNLINK, EXISTS and TOUCH with several keys by host, instead of refusing
            them; `mget` and `mset` are always split.
    """

    def __init__(
        self,
        cluster: ClientsCluster,
        max_concurrency: int | None = None,
        auto_batch: bool = True,
        split_multi_key: bool = False,
    ) -> None:
        self._router = cluster.get_router()
        super().__init__(cluster, max_concurrency, auto_batch and self._router.merges)
        self.split_multi_key = split_multi_key
        self._has_refused = False
        # Commands with many keys, of which each key has a command of its own.
        self._joints: list[Joint] = []
        # The current run of GETs or plain SETs: it is routed as a whole, which is faster than key by key.
        self._start_run()

    def _start_run(self) -> None:
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._run: list[Promise] = []
        self._add_key = self._keys.append
        self._add_value = self._values.append
        self._add_promise = self._run.append

    def get(self, name: Any) -> Promise:
        """Queue a GET, and return a promise of the value; of None if there is no such key."""
        if self._values:
            self._gather()
        promise = Promise()
        self._add_key(name)
        self._add_promise(promise)
        return promise

    def set(self, name: Any, value: Any, *args: Any, **options: Any) -> Promise:
        """Queue a SET, and return a promise; see redis-py's method for the options."""
        if args or options:
            return super().set(name, value, *args, **options)  # type: ignore[misc,no-any-return]
        if not self._values and self._keys:
            self._gather()
        promise = Promise()
        self._add_key(name)
        self._add_value(value)
        self._add_promise(promise)
        return promise

    def get_many(self, keys: Sequence[Any]) -> list[Promise]:
        """Queue a GET for each key, and return their promises. Faster than calls of `get`."""
        return self._issue_run(keys, ())

    def set_many(self, keys: Sequence[Any], values: Sequence[Any], px: int | None = None) -> list[Promise]:
        """Queue a SET for each key, and return their promises. Faster than calls of `set`.

        Arguments:
            keys: the keys.
            values: the values, in the order of the keys.
            px: the time to live, in milliseconds; None: no expiry.
        """
        return self._issue_run(keys, values, () if px is None else ("PX", px)) if keys else []

    def delete_many(self, keys: Sequence[Any]) -> list[tuple[Part, Promise]]:
        """Queue DELs of up to 1,000 keys each for the hosts of the keys.

        Returns:
            The parts of `keys`, each with a promise of the number of keys that existed.
        """
        if self._run:
            self._gather()
        keep = self._keep_parts if self._router.merges else self._keep_joints
        pairs = keep("DEL", keys) if keys else []
        self._issued.append([promise for _, promise in pairs])
        return pairs

    def _issue_run(
        self, keys: Sequence[Any], values: Sequence[Any], tail: tuple[Any, ...] = ()
    ) -> list[Promise]:
        self._gather()
        run = [Promise() for _ in keys]
        self._add_run(CommandRun(list(keys), list(values), run, self.auto_batch, tail))
        return run

    def _gather(self) -> bool:
        keys, values, run = self._keys, self._values, self._run
        if run:
            if len(keys) > len(run):
                # An exception, for example of a signal handler, interrupted get() or set() before it returned
                # a promise.
                del keys[len(run) :], values[len(run) :]
            self._add_run(CommandRun(keys, values, run, self.auto_batch))
            self._start_run()
        if self._joints:
            outcomes = [(joint, joint.settle()) for joint in self._joints]
            self._joints = [joint for joint, is_fine in outcomes if is_fine is None]
            self._has_refused |= any(is_fine is False for _, is_fine in outcomes)
        return not self._has_refused

    def _promises(self) -> Iterator[Promise]:
        return chain(super()._promises(), self._run)

    def _add_run(self, run: CommandRun) -> None:
        self._issued.append(run.promises)
        self._buffer_all(run)

    def _buffer_all(self, run: CommandRun) -> None:
        if self._redirecting is not None:
            self._follow_moves()
        try:
            groups = self._group(run)
        except Exception:
            # The router refuses keys: reject the promises of only these.
            for place, promise in enumerate(run.promises):
                single = run.at([place])
                try:
                    groups = self._group(single)
                except Exception as error:
                    self._has_refused = True
                    promise.reject(error)
                else:
                    self._buffers.add_run(groups, single)
        else:
            self._buffers.add_run(groups, run)

    def _group(self, run: CommandRun) -> Mapping[int, list[int]]:
        return group(self._router, run.name, run.keys, run.arguments())

    def _forget(self) -> None:
        super()._forget()
        self._start_run()
        self._has_refused = False
        self._joints = []

    def execute_command(self, *args: Any, **options: Any) -> Promise:
        """Queue a command for the host of its key, and return a promise of its reply.

        Raises:
            UnroutableCommand: the command does not belong to exactly one host.
        """
        if type(args[0]) is not str:
            args = with_plain_name(args)
        router = self._router
        if self.split_multi_key and router.by_key and can_split(args[0]):
            return self._issue_split(read_word(args[0]).upper(), args[1:])
        if self._redirecting is not None:
            self._follow_moves()
        host_id = find_host(router, args)
        if self._run:
            self._gather()
        promise = Promise()
        self._buffers.add(host_id, Command(args, options, promise))
        self._issued.append(promise)
        return promise

    def mget(self, keys: Any, *args: Any) -> Promise:
        """Queue an MGET, split by host, and return a promise of the list of values in the keys' order."""
        return self._issue_split("MGET", list_or_args(keys, args))

    def mset(
        self, mapping: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None = None, **pairs: Any
    ) -> Promise:
        """Queue an MSET, split by host, and return a promise. Atomic on each host, but not across hosts.

        Arguments:
            mapping: values by key, or pairs of key and value.
            pairs: more values by key.
        """
        values = {**dict(mapping or ()), **pairs}
        if not values:
            return self._issue(Promise.resolved(True))
        return self._issue_split("MSET", [word for pair in values.items() for word in pair])

    def _issue_split(self, name: str, args: Sequence[Any]) -> Promise:
        if self._run:
            self._gather()
        if name == "MGET" and not args:
            # Like redis-py's mget().
            return self._issue(Promise.resolved([]))
        if not self._router.by_key:
            return self.execute_command(name, *args)
        try:
            check_words(name, args, self._cluster.encoder)
        except DataError as error:
            self._has_refused = True
            return self._issue(Promise.rejected(error))
        return self._issue(self._split(name, args) if self._router.merges else self._join(name, args))

    def _join(self, name: str, args: Sequence[Any]) -> Promise:
        """Queue a command for each key of a command with many, and return a promise of the whole reply."""
        width = check_length(name, args)
        joint = Joint(name, list(args[::width]), list(args[1::2]) if width == 2 else [])
        self._joints.append(joint)
        self._buffer_all(joint.run)
        return joint.promise

    def _split(self, name: str, args: Sequence[Any]) -> Promise:
        """Queue the parts of a command for their hosts, and return a promise of the merged reply."""
        pairs = self._keep_parts(name, args)
        parts = [part for part, _ in pairs]
        promise = Promise.all([promise for _, promise in pairs])

        def merge(replies: list[Any]) -> Any:
            try:
                return merge_replies(name, parts, replies)
            except BaseException:
                # No command has failed, but join() has to raise this error.
                self._has_refused = True
                raise

        return promise.then(merge)

    def _keep_joints(self, name: str, keys: Sequence[Any]) -> list[tuple[Part, Promise]]:
        self._follow_moves()
        pairs = []
        for host_id, places in self._router.group_keys(keys).items():
            part = Part(host_id, [keys[place] for place in places], places)
            joint = Joint(name, part.words, [])
            self._joints.append(joint)
            self._buffers.add_run({host_id: list(range(len(places)))}, joint.run)
            pairs.append((part, joint.promise))
        return pairs

    def _keep_parts(self, name: str, args: Sequence[Any]) -> list[tuple[Part, Promise]]:
        pairs = [(part, Promise()) for part in split(self._router, name, args)]
        for part, promise in pairs:
            self._buffers.add(part.host_id, Command((name, *part.words), {}, promise))
        return pairs

    def _issue(self, promise: Promise) -> Promise:
        if self._run:
            self._gather()
        self._issued.append(promise)
        return promise

    # Retries on other hosts.

    def _send(self, timeout: float | None) -> bool:
        if not self._sending.is_under_way:
            self._retries = Retries(self._router, self._cluster.max_connection_retries)
        return super()._send(timeout)

    def _take_back(self, host_id: int, entries: list[Entry], error: RedisError) -> RedisError | None:
        if self._redirecting is not None:
            return super()._take_back(host_id, entries, error)
        is_out = self._cluster.note_outage(host_id, error)
        end = self._retries.end(host_id, error, bool(entries), is_out, self._round)
        if end is not None:
            return end
        self._route_all_again(entries, error)
        return None

    def _route_all_again(self, entries: list[Entry], error: RedisError) -> None:
        for entry in entries:
            try:
                self._route_again(entry)
            except RedisError as reason:
                # No other host may run the command, or no other host is up, which has an error of its own.
                reject_all(entry.promises, reason if isinstance(reason, HostConnectionError) else error)
                self._has_refused = True

    def send_again(
        self, host_id: int, words: Sequence[Any], options: Mapping[str, Any], error: RedisError
    ) -> Any:
        """Send a command that a node of a Redis Cluster did not run to where it belongs. Return the reply.

        Arguments:
            host_id: the node.
            words: the words of the command.
            options: redis-py's options for parsing the reply.
            error: the node's reply, or why there is none.

        Raises:
            redis.RedisError: the command cannot be sent again, or failed.
        """
        promise = Promise()
        may_repeat = (
            find_redirect(error)
            or not getattr(error, "sent", True)
            or (isinstance(error, HostConnectionError) and reads_only(words[0]))
        )
        entries: list[Entry] = [Command(words, dict(options), promise)] if may_repeat else []
        end = self._take_back(host_id, entries, error)
        if end is not None or not may_repeat:
            raise end or error
        self._issued.append(promise)
        self.join()
        return get_settled(promise)

    def _route_again(self, entry: Entry) -> None:
        if isinstance(entry, CommandRun):
            self._buffers.add_run(self._group(entry), entry)
            return
        name, args = entry.words[0], entry.words[1:]
        if len(args) > 1 and self._router.by_key and self._router.merges and can_split(name):
            # The keys were on one host, and may be on several other hosts now.
            entry.promise.resolve(self._split(read_word(name).upper(), args))
        else:
            self._buffers.add(self._router.get_host_for_command(name, args), entry)

    def _follow_moves(self) -> None:
        """Let queued commands go where those that are queued from now on go, if slots have moved.

        On two nodes, the commands of one key would run in any order.
        """
        if self._redirecting is None or not (self._redirecting.has_moved() and self._buffers):
            return
        moved: list[tuple[Mapping[int, list[int]], CommandRun] | Command] = []
        for host_id, entries in self._buffers.take():
            for entry in entries:
                if isinstance(entry, CommandRun):
                    groups = dict(self._group(entry))
                    if host_id in groups:
                        self._buffers.add_run({host_id: groups.pop(host_id)}, entry)
                    moved.append((groups, entry))
                elif isinstance(entry, AskingCommand) or self._find_now(entry) == host_id:
                    self._buffers.add(host_id, entry)
                else:
                    moved.append(entry)
        # Later, since what a redirect has brought to a node is older.
        for some in moved:
            if isinstance(some, Command):
                self._buffers.add(self._find_now(some), some)
            else:
                self._buffers.add_run(*some)

    def _find_now(self, command: Command) -> int:
        return self._router.get_host_for_command(command.words[0], command.words[1:])

    def _heard_from(self, host_id: int) -> None:
        if self._router.down_connections:
            self._router.heard_from(host_id)
