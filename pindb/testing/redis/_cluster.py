"""Redis Clusters: masters with hash slots, their replicas, and what happens to them."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import ClassVar

from pindb.testing.redis._moves import BATCH, SlotMove, finish, go_on, move
from pindb.testing.redis._nodes import SLOTS, ClusterNodes


class RedisClusterSetup(ClusterNodes):
    """A Redis Cluster on free ports of 127.0.0.1: masters with hash slots, and their replicas.

    Creating the object starts the servers and waits until the cluster is up: two to three seconds, two of
    which are a pause that each master makes before it serves. They end with `close`, with the ``with`` block
    of the object, or with the process, however that ends. Any number of setups can run at once.

    Servers are numbered from 0: first the masters, each with an equal part of the slots, then the replicas.
    Server 3 of three masters and three replicas is a replica of server 0, server 4 of server 1, and so on. A
    server keeps its number when it changes its role. Data are in memory only: a server that restarts comes
    back with its slots and without keys, which a replica then fetches from its master.

    A master that is killed or paused is replaced by its replica after about two seconds, if there are three
    masters or more: fewer have no majority. Meanwhile the cluster serves no slot, unless `configuration` has
    ``"cluster-require-full-coverage": "no"``.

    Several threads may use a setup, as long as they do not change the same server.

    Arguments:
        masters: the number of masters.
        replicas: the number of replicas of each master.
        server_executable: the path of a ``redis-server`` or ``valkey-server``; None: see `find_server`.
        tls: listen with TLS, also between servers. Makes a certificate with the program ``openssl``.
        username: the only user who can log in. Needs a password.
        password: the password of this user; without `username`, the password of the servers.
        configuration: additional directives for the servers' configuration file, by name.
        node_timeout: how long a server may be silent before others take it for failed, in seconds. On a very
            busy machine, shorter times lead to failovers that no test asked for.
        timeout: the time limit for a server to start or stop and for the cluster to agree, in seconds.

    Attributes:
        executable: the path of the server program.
        version: the version of the server, for example ``(7, 0, 15)``.
        node_timeout: as the argument.

    Raises:
        ValueError: an argument is invalid.
        RuntimeError: there is no server program, it was built without TLS, or it did not start.
        TimeoutError: the cluster was not up in time.
    """

    _not_running = "This RedisClusterSetup is closed."
    _defaults: ClassVar[Mapping[str, str]] = {
        **ClusterNodes._defaults,
        "cluster-announce-ip": "127.0.0.1",
        # However long a replica was away, it may become the master.
        "cluster-replica-validity-factor": "0",
        # Replicas stay with their masters.
        "cluster-allow-replica-migration": "no",
    }

    def __init__(
        self,
        masters: int = 3,
        replicas: int = 1,
        server_executable: str | os.PathLike[str] | None = None,
        *,
        tls: bool = False,
        username: str | None = None,
        password: str | None = None,
        configuration: Mapping[str, str] | None = None,
        node_timeout: float = 1.0,
        timeout: float = 20,
    ) -> None:
        if masters < 1:
            raise ValueError(f"masters is {masters}. Write 1 or more.")
        if replicas < 0:
            raise ValueError(f"replicas is {replicas}. Write 0 or more.")
        if node_timeout <= 0:
            raise ValueError(f"node_timeout is {node_timeout}. Write seconds, more than 0.")
        self.node_timeout = node_timeout
        self._servers = list(range(masters * (1 + replicas)))
        self._next = len(self._servers)
        self._shards = {server: server % masters for server in self._servers}
        self._ids = {}
        #: Slots that are being moved in blocks.
        self._moves: set[SlotMove] = set()
        #: The targets of other slots that are being moved, or whose move has failed. Used under the lock.
        self._unfinished: dict[int, int] = {}
        self._moving = threading.Lock()
        #: When `fail_over` last had each replica elected, and each master replaced.
        self._elected: dict[int, float] = {}
        self._replaced: dict[int, float] = {}
        super().__init__(
            server_executable,
            tcp=True,
            tls=tls,
            username=username,
            password=password,
            configuration=configuration,
            timeout=timeout,
        )
        self._open_folder()

    def __repr__(self) -> str:
        where = "closed" if self._folder is None else str(self._folder.path)
        return f"<RedisClusterSetup servers={self._servers} {where}>"

    # ---- life ----------------------------------------------------------------------------------

    def _start_all(self) -> None:
        self._start_new(self._names())
        for server in self._servers:
            self._ids[server] = self._ask_id(str(server))
        masters = [server for server in self._servers if server == self._shards[server]]
        for master in masters:
            first, end = (round(SLOTS * number / len(masters)) for number in (master, master + 1))
            # Different from the start, so that masters need not settle it among themselves.
            self._tell(master, ("CLUSTER", "SET-CONFIG-EPOCH", master + 1))
            self._tell(master, ("CLUSTER", "ADDSLOTS", *range(first, end)))
        # Each pair, rather than one server with all others: they need not hear of each other by gossip.
        self._introduce(combinations(self._servers, 2))
        for replica in self._servers[len(masters) :]:
            self._tell(replica, ("CLUSTER", "REPLICATE", self._ids[self._shards[replica]]))
        self.wait_until_ok()

    def _ask_id(self, name: str) -> str:
        with self._control(name) as control:
            control.send(("CLUSTER", "MYID"))
            node: bytes = control.receive()
        return node.decode()

    def _introduce(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Let pairs of servers meet, and wait until all servers know each other."""
        for server, other in pairs:
            self._tell(server, ("CLUSTER", "MEET", "127.0.0.1", self._ports[str(other)]))

        def strangers() -> str:
            views = self._views()
            known = {self._ids[int(name)] for name in views}
            for name, view in views.items():
                missing = known - view.nodes.keys()
                if missing:
                    return f"server {name} does not know {len(missing)} of {len(known)}"
            return ""

        self._wait_while(strangers, "the servers to know each other")

    def _lines(self, name: str) -> list[str]:
        return [
            "cluster-enabled yes",
            "cluster-config-file nodes.conf",
            f"cluster-node-timeout {round(self.node_timeout * 1000)}",
            *(["tls-cluster yes"] if self._tls else []),
            *self._replication_lines(),
        ]

    def _mend(self) -> None:
        self._demote()
        for slot_move in list(self._moves):
            with contextlib.suppress(RuntimeError):
                slot_move._follow()
        if self._unfinished and self._moving.acquire(blocking=False):
            try:
                for target in {*self._unfinished.values()}:
                    slots = [number for number, to in self._unfinished.items() if to == target]
                    if not go_on(self, slots, target):
                        self._forget(slots)
            finally:
                self._moving.release()

    # ---- changes -------------------------------------------------------------------------------

    def fail_over(self, server: int, *, force: bool = False) -> int:
        """Make a replica the master of its shard, and wait until the cluster is well.

        Without `force` no write is lost: the master waits until the replica has all of its data. The same
        replica can become a master once in 4 seconds, or in 4 node timeouts; this method waits for that.

        Arguments:
            server: the number of the replica; or that of a master, for its first replica that answers.
            force: do not ask the master, which may be down.

        Returns:
            The number of the new master.

        Raises:
            RuntimeError: there is no such replica, or it refuses.
            TimeoutError: it did not become the master in time.
        """
        replica = self._replica(server)
        command = ("CLUSTER", "FAILOVER", *(["FORCE"] if force else []))
        # The master takes no writes while it waits for the replica. So what would keep the replica from being
        # elected at once has to be over before.
        master = self._master_of(replica)
        self._wait_for_election(replica, master)
        # A failover that was asked for ends after 5 seconds, elected or not.
        attempts = max(1, round(self.timeout / 5))
        for attempts_left in reversed(range(attempts)):
            if replica not in self.masters:
                self._tell(replica, command)
            try:
                self._wait_while(
                    lambda: "" if replica in self.masters else "it is a replica",
                    f"server {replica} to become a master",
                    self.timeout / attempts,
                )
                break
            except TimeoutError:
                if not attempts_left:
                    raise
        self._elected[replica] = self._replaced[master] = time.monotonic()
        self.wait_until_ok()
        return replica

    def move_slots(self, slots: int | Iterable[int], to: int) -> int:
        """Move slots with their keys to a master, while clients may use them, and wait until all nodes know.

        Slots that the master has already stay there.

        Arguments:
            slots: the slots, or one of them.
            to: the number of the master.

        Returns:
            The number of slots that were moved.

        Raises:
            ValueError: `to` is no master, or one of `slots` is invalid.
            RuntimeError: no server has one of `slots`.
            TimeoutError: it could not be done in time; the message says why. `wait_until_ok` tries again.
        """
        wanted = [self._slot(number) for number in ([slots] if isinstance(slots, int) else slots)]
        self._check_master(to)
        owners, masters = self._owners(), self.masters
        missing = [number for number in wanted if number not in owners]
        if missing:
            raise RuntimeError(f"No server has slot {missing[0]}.")
        by_source: dict[int, list[int]] = {}
        for number in wanted:
            by_source.setdefault(owners[number], []).append(number)
        by_source.pop(to, None)
        moved = [number for numbers in by_source.values() for number in numbers]
        with self._moving:
            self._unfinished |= dict.fromkeys(moved, to)
            for source, numbers in by_source.items():
                for start in range(0, len(numbers), BATCH):
                    # If a server fails over, or is away for a moment, the rest follows below.
                    with contextlib.suppress(RuntimeError):
                        move(self, numbers[start : start + BATCH], source, to, masters)
            finish(self, moved, to)
            self._forget(moved)
        return len(moved)

    def _forget(self, slots: Iterable[int]) -> None:
        for number in slots:
            self._unfinished.pop(number, None)

    def moving(self, slot: int | str | bytes, to: int) -> SlotMove:
        """Begin to move a slot; the end of the ``with`` block moves the rest.

            with setup.moving("user:1", to=2) as move:
                move.keys(1)

        Arguments:
            slot: the slot, or a key in it.
            to: the number of the master that gets the slot.

        Raises:
            ValueError: `to` is no master, or has the slot already.
        """
        self._check_master(to)
        number = self._slot(slot)
        source = self.owner(number)
        if source == to:
            raise ValueError(f"Server {to} has slot {number} already. Write the number of another master.")
        return SlotMove(self, number, source, to, self._moves)

    def add_node(self, as_replica_of: int | None = None) -> int:
        """Start another server in the cluster, and wait until the cluster is well.

        Arguments:
            as_replica_of: the number of its master; None: a master without slots, to which `move_slots` may
                move some.

        Returns:
            The number of the new server: one that no server had before.

        Raises:
            ValueError: `as_replica_of` is no master.
            RuntimeError: the server did not start.
            TimeoutError: the cluster was not well in time.
        """
        if as_replica_of is not None:
            self._check_master(as_replica_of)
        others = [int(name) for name in self._answering()]
        server, self._next = self._next, self._next + 1
        name = str(server)
        try:
            self._start_new([name])
            # Other threads must not see a server without an id.
            self._ids[server] = self._ask_id(name)
        except BaseException:
            self._running_folder().stop(name, signal.SIGKILL)
            raise
        self._shards[server] = server if as_replica_of is None else self._shards[as_replica_of]
        self._servers.append(server)
        self._introduce((other, server) for other in others)
        if as_replica_of is not None:
            self._tell(server, ("CLUSTER", "REPLICATE", self._ids[as_replica_of]))
        self.wait_until_ok()
        return server

    def remove_node(self, server: int) -> None:
        """Let all other servers forget a server, and stop it. It may be down already.

        Arguments:
            server: the number of a replica, or of a master that has no slots and no replicas any more.

        Raises:
            ValueError: the server has slots or replicas.
            TimeoutError: the cluster was not well in time.
        """
        name = self._name(server)
        number = len(self.slots(server))
        if number:
            raise ValueError(
                f"Server {server} has {number} slots. "
                f"Move them first: setup.move_slots(setup.slots({server}), to=...)."
            )
        node, view = self._ids[server], self._newest()
        replicas = [other for other in self._servers if self._seen(view, other, "slave", of=node)]
        if replicas:
            raise ValueError(f"Server {server} has replicas: {replicas}. Remove them first.")
        for other in self._answering():
            if other != name:
                self._tell(int(other), ("CLUSTER", "FORGET", node))
        self.stop(server)
        self._servers.remove(server)
        self.wait_until_ok()

    def _replica(self, server: int) -> int:
        """Return a replica; for the number of a master, its first one that answers."""
        name, view = self._name(server), self._newest()
        if self._seen(view, server, "slave"):
            return server
        for other in map(int, self._answering()):
            if self._seen(view, other, "slave", of=self._ids[server]):
                return other
        raise RuntimeError(
            f"Server {name} has no replica that answers. Start one, or add one: add_node({name})."
        )

    def _wait_for_election(self, replica: int, master: int) -> None:
        """Wait until the last failovers of `fail_over` keep no master from voting for a replica."""
        # Masters vote once in two node timeouts for replicas of the same master, and a replica asks them once
        # in four, or in 4 seconds.
        asks = self._elected.get(replica, -math.inf) + 4 * max(self.node_timeout, 1)
        votes = self._replaced.get(master, -math.inf) + 2 * self.node_timeout
        time.sleep(max(0, max(asks, votes) - time.monotonic()))

    def _check_master(self, server: int) -> None:
        self._name(server)
        masters = self.masters
        if server not in masters:
            raise ValueError(f"Server {server} is no master. Write one of {', '.join(map(str, masters))}.")
