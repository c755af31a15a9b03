"""The nodes of a Redis Cluster: which of them has which hash slots, and how that is learned.

Any node that answers is asked, the known ones before the start-up nodes, each in random order. Nobody asks in
the background: whoever finds the knowledge out of date asks again, one caller at a time.
"""

from __future__ import annotations

import _thread
import random
import time
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from redis.exceptions import RedisError, ResponseError

from pindb._forks import Lock
from pindb._jitter import jitter
from pindb.hashing.slots import SLOTS
from pindb.redis.core.batches import HostBatch
from pindb.redis.core.pending import Command
from pindb.redis.core.promises import Promise, get_settled
from pindb.redis.core.redirects import Redirect
from pindb.redis.core.retries import is_callers
from pindb.redis.core.slot_tables import Address, Shard, read_shards, read_slots
from pindb.redis.exceptions import (
    ClusterConfigError,
    HostConnectionError,
    HostTimeoutError,
    HostUnavailableError,
)
from pindb.redis.io.exchange import exchange
from pindb.redis.io.pools import close_pool
from pindb.redis.topology.hosts import Host, no_such_host
from pindb.redis.topology.nodes import Node, StartUpNodes
from pindb.redis.topology.readers import Readers
from pindb.redis.topology.static import StaticHosts
from pindb.redis.topology.trials import Trials

__all__ = ["NOBODY", "SlotHosts"]

#: After a redirect, which says itself where its slot is, the rest is learned again at most this often; after
#: an error, at most this often. In seconds, with jitter.
AFTER_REDIRECT, AFTER_ERROR = 1.0, 0.1

#: How often the state of replicas is learned again if they serve reads, in seconds.
READERS = 2.0

#: How long a node may take to say which slots it knows, in seconds; then the next one is asked.
PATIENCE = 1.0

#: The host of a slot that no node serves.
NOBODY = -1


class SlotHosts(StaticHosts):
    """Base class of clusters that are a Redis Cluster: its nodes, and which of them has which slots.

    Each address that was ever seen has an id of its own. `hosts` are the masters that have slots. Safe under
    threads, and in forked processes.

    Attributes:
        owners: the id of the master of each slot, `NOBODY` where none serves it; empty before they are
            learned.
        replicas: the ids of the replicas of each master.
        version: a number that changes when slots have moved.
        wait_timeout: see `StartUpNodes`.
        unserved_since: since when slots have no master, by `time.monotonic`; infinite while all have one.
    """

    def _start(self, start_up: StartUpNodes, defaults: Mapping[str, Any]) -> None:
        """Begin with the nodes of the settings, without asking them.

        Raises:
            ClusterConfigError: an option is invalid.
        """
        self._start_up = start_up.hosts(defaults)
        self._remap = start_up.address_remap
        self._ids: dict[Address, int] = {}
        self._nodes: dict[int, Node] = {}
        self._masters: dict[int, Host] = {}
        self.owners: list[int] = []
        self.replicas: dict[int, list[int]] = {}
        self.version = 0
        self.wait_timeout = start_up.wait_timeout
        self.unserved_since = inf
        self._refreshed_at = -inf
        self._refreshing = Lock()
        self._trials = Trials(self.breakers, self._ping, 2 * PATIENCE)
        self._readers: Readers | None = None
        #: Whether a thread learns the state of replicas.
        self._is_renewing = False
        if start_up.read_from != "master":
            self._readers = Readers(start_up.read_from, self._send)
        for node in self._start_up:
            self._id_of((node.host, node.port))

    def _after_fork(self) -> None:
        super()._after_fork()
        # Threads are not inherited.
        self._is_renewing = False
        self._trials = Trials(self.breakers, self._ping, 2 * PATIENCE)

    # ---- which nodes there are -----------------------------------------------------------------

    @property
    def hosts(self) -> dict[int, Host]:
        self.get_owners()
        return self._masters

    @hosts.setter
    def hosts(self, hosts: dict[int, Host]) -> None:
        """Do nothing: the base class begins without hosts."""

    def _add(self, host: Host) -> None:
        raise ClusterConfigError(
            "The nodes of a Redis Cluster come and go by themselves. Use redis-cli to add one."
        )

    def _remove(self, host_id: int) -> None:
        raise ClusterConfigError(
            "The nodes of a Redis Cluster come and go by themselves. Use redis-cli to remove one."
        )

    def _find(self, host_id: int) -> Host:
        node = self._nodes.get(host_id)
        if node is not None:
            return node
        if host_id == NOBODY:
            error = HostUnavailableError(
                "No node of the Redis Cluster serves the hash slot of the key: its master is down, and no "
                "replica has taken its place."
            )
            error.code = "CLUSTERDOWN"
            raise error
        raise no_such_host(host_id, self._nodes)

    def check_pools(self) -> None:
        # Of the nodes of the settings: to know others, one has to be asked.
        for host_id in list(self._nodes):
            self.get_pool_for_host(host_id)

    def _id_of(self, address: Address) -> int:
        """Return the id of a node, new or known."""
        host_id = self._ids.get(address)
        if host_id is None:
            with self._lock.get():
                host_id = self._ids.get(address, len(self._ids))
                if host_id not in self._nodes:
                    self._nodes[host_id] = self._make_node(host_id, address)
                # Last, since other threads look here without the lock.
                self._ids[address] = host_id
        return host_id

    def _make_node(self, host_id: int, address: Address) -> Node:
        known = vars(self._start_up[0])
        return Node(
            **{**known, "host_id": host_id, "host": address[0], "port": address[1], "name": None},
            is_reader=self._readers is not None,
        )

    def _reachable(self, address: Address) -> Address:
        """Return the address at which a node can be reached."""
        if self._remap is None:
            return address
        if isinstance(self._remap, Mapping):
            return self._remap.get(address, address)
        return self._remap(address)

    # ---- learning ------------------------------------------------------------------------------

    def get_owners(self) -> list[int]:
        """Return the id of the master of each slot; `NOBODY` where none serves it. Learned at the first use.

        Raises:
            HostConnectionError: no node answers.
            ClusterConfigError: the nodes are not in cluster mode.
        """
        if not self.owners:
            with self._refreshing.get():
                if not self.owners:
                    self._learn()
        return self.owners

    def get_readers(self) -> list[int]:
        """Return the id of the node that serves the next reads of each slot.

        Raises:
            HostConnectionError, ClusterConfigError: see `get_owners`.
        """
        owners = self.get_owners()
        if time.monotonic() > self._refreshed_at + READERS and not self._is_renewing:
            # In a thread: a replica that hangs must not take its time from reads of other shards.
            self._is_renewing = True
            try:
                _thread.start_new_thread(self._renew, ())
            except RuntimeError:
                # The process can have no more threads.
                self._renew()
        return owners if self._readers is None else self._readers.next()

    def _renew(self) -> None:
        try:
            self.refresh(READERS)
        finally:
            self._is_renewing = False

    def refresh(self, pause: float = AFTER_ERROR) -> None:
        """Learn it again, unless it is fresh. If another thread is learning it, wait for that.

        Arguments:
            pause: nothing is asked if nodes were asked less than so many seconds ago.
        """
        before = self._refreshed_at
        if time.monotonic() < before + jitter(pause):
            return
        with self._refreshing.get():
            if self._refreshed_at is not before:
                return
            try:
                self._refreshed_at = time.monotonic()
                self._learn()
            except RedisError:
                # What is known stays: it may be good enough for other slots.
                pass

    def _learn(self) -> None:
        errors: list[RedisError] = []
        for host_id in self._candidates():
            host = self._find(host_id)
            try:
                self._adopt(self._ask(host))
            except (RedisError, ValueError) as error:
                errors.append(
                    error if isinstance(error, RedisError) else HostConnectionError(f"{host}: {error}")
                )
            else:
                return
        raise errors[-1]

    def _candidates(self) -> list[int]:
        """Return the nodes to ask, in order: known masters, their replicas, start-up nodes."""
        groups = [
            list(self._masters),
            [replica for replicas in self.replicas.values() for replica in replicas],
            [self._id_of((node.host, node.port)) for node in self._start_up],
        ]
        for group in groups:
            random.shuffle(group)
        everything = dict.fromkeys(host_id for group in groups for host_id in group)
        return sorted(everything, key=lambda host_id: self.breakers[host_id].is_open)

    def _ask(self, host: Host) -> list[Shard]:
        asked = (host.host, host.port)
        try:
            return read_shards(self._send(host.host_id, "CLUSTER", "SHARDS"), asked, host.ssl)
        except ResponseError as error:
            if "cluster support disabled" in str(error):
                raise ClusterConfigError(
                    f"{host} is no node of a Redis Cluster: its cluster-enabled is no. Use Cluster(hosts)."
                ) from error
            # Before Redis 7.
            return read_slots(self._send(host.host_id, "CLUSTER", "SLOTS"), asked)

    def _send(self, host_id: int, *words: str) -> Any:
        """Send a command to a node, and return the reply. A node that hangs costs `PATIENCE`."""
        host, pool, _ = self.get_endpoint(host_id)
        return self._send_by(host, pool, words)

    def _ping(self, host_id: int) -> Any:
        """Send a PING to a node, whatever its circuit breaker says."""
        host = self._find(host_id)
        pool = host.make_pool(self._pool_kind, self.pool_options, None)
        try:
            return self._send_by(host, pool, ("PING",))
        finally:
            close_pool(pool, idle_only=False)

    @staticmethod
    def _send_by(host: Host, pool: Any, words: tuple[str, ...]) -> Any:
        promise = Promise()
        end = time.monotonic() + PATIENCE
        batch = HostBatch([Command(words, {}, promise)], host, {}, end)
        try:
            exchange([(batch, pool)], end)
        finally:
            batch.settle()
            for returned in batch.returned:
                batch.reject(returned, returned.error)
        return get_settled(promise)

    def _adopt(self, shards: Iterable[Shard]) -> None:
        owners = [NOBODY] * SLOTS
        masters: dict[int, Host] = {}
        replicas: dict[int, list[int]] = {}
        for shard in shards:
            host_id = self._id_of(self._reachable(shard.master))
            masters[host_id] = self._nodes[host_id]
            replicas[host_id] = [self._id_of(self._reachable(address)) for address in shard.replicas]
            for first, last in shard.slots:
                owners[first : last + 1] = [host_id] * (last + 1 - first)
        if not masters:
            raise ValueError("no node has slots")
        # In the same order whichever node was asked.
        masters = dict(sorted(masters.items()))
        # In this order: whoever reads in between finds nodes that exist, and learns the rest by redirects.
        if owners != self.owners:
            self._masters, self.replicas, self.owners = masters, replicas, owners
            self.version += 1
        else:
            self._masters, self.replicas = masters, replicas
        if NOBODY not in owners:
            self.unserved_since = inf
        elif self.unserved_since == inf:
            self.unserved_since = time.monotonic()
        for host_id in masters:
            if self.breakers[host_id].is_open:
                self._trials.begin(host_id)
        if self._readers is not None:
            self._readers.adopt(owners, replicas, lambda host_id: not self.breakers[host_id].is_open)

    # ---- whether they are up -------------------------------------------------------------------

    def note_outage(self, host_id: int, error: BaseException) -> bool:
        if isinstance(error, HostUnavailableError) and error.code == "CLUSTERDOWN":
            # It is the cluster that is down, not the node.
            return True
        is_out = super().note_outage(host_id, error)
        if is_out or (isinstance(error, (HostConnectionError, HostTimeoutError)) and not is_callers(error)):
            if self._readers is not None and self._readers.drop(host_id, self.replicas):
                # A replica is not missed: its master has the slots.
                self.version += 1
            else:
                self.refresh()
        return is_out

    def note_redirect(self, redirect: Redirect, host_id: int) -> int:
        """Note what a redirect says. Return the id of the node to which it points.

        Arguments:
            redirect: MOVED or ASK.
            host_id: the node that replied.
        """
        host = self._nodes[host_id]
        name, port = redirect.address or ("", host.port)
        target = self._id_of(self._reachable((name or host.host, port)))
        if self.breakers[target].is_open:
            # It may have been down a moment ago, but another node says that it is the one to ask now.
            self.breakers[target].close()
        if redirect.code == "MOVED":
            if self.owners:
                self.owners[redirect.slot] = target
            if target not in self._masters:
                self._masters = {**self._masters, target: self._nodes[target]}
            self.version += 1
            self.refresh(AFTER_REDIRECT)
        return target
