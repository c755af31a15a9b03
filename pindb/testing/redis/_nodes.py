"""Nodes of a Redis Cluster: their roles and slots, and waiting until they agree."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any

from pindb.hashing import slot
from pindb.testing.redis._replication import ReplicatedServers
from pindb.testing.redis._views import TROUBLE, View, newest, owners

SLOTS = 16384


class ClusterNodes(ReplicatedServers[int]):
    """The servers of a Redis Cluster by number. Subclasses start them, and change what they do."""

    #: The numbers of the servers.
    _servers: list[int]
    #: The shard of each server: the number of its first master.
    _shards: dict[int, int]
    #: The id that each server has in the cluster.
    _ids: dict[int, str]

    def _names(self) -> list[str]:
        return [str(server) for server in self._servers]

    def _name(self, server: int) -> str:
        if server not in self._servers:
            numbers = ", ".join(map(str, self._servers))
            raise ValueError(f"There is no server {server!r}. Write one of {numbers}.")
        return str(server)

    # ---- addresses -----------------------------------------------------------------------------

    @property
    def nodes(self) -> dict[int, dict[str, Any]]:
        """The settings of all servers by number, running or not: host, port, TLS and login."""
        return {server: self.host(server) for server in self._servers}

    @property
    def start_up_nodes(self) -> list[dict[str, Any]]:
        """The same as a list: the nodes by which a client finds the cluster."""
        return list(self.nodes.values())

    # ---- state ---------------------------------------------------------------------------------

    @property
    def masters(self) -> list[int]:
        """The numbers of the masters now, down or not; a master that was replaced is none."""
        view = self._newest()
        masters = [server for server in self._servers if self._seen(view, server, "master")]
        owners = [server for server in masters if view.nodes[self._ids[server]].ranges]
        shards = {self._shards[server] for server in owners}
        # A master that was replaced has no slots, and keeps the role for as long as it is away.
        return [server for server in masters if server in owners or self._shards[server] not in shards]

    @property
    def replicas(self) -> list[int]:
        """The numbers of the replicas now, down or not."""
        view = self._newest()
        return [server for server in self._servers if self._seen(view, server, "slave")]

    def owner(self, key: int | str | bytes) -> int:
        """Return the number of the master that has a slot now, down or not.

        Arguments:
            key: a key; an integer is a slot.

        Raises:
            RuntimeError: no server has the slot.
        """
        number = self._slot(key)
        found = self._owners().get(number)
        if found is None:
            raise RuntimeError(f"No server has slot {number}.")
        return found

    def slots(self, server: int) -> list[int]:
        """Return the slots that a server has now, in order."""
        self._name(server)
        node = self._newest().nodes.get(self._ids[server])
        return node.slots if node else []

    def wait_until_ok(self, timeout: float | None = None) -> None:
        """Wait until the cluster is well.

        That is: all servers that run and are not paused say ``cluster_state:ok`` and agree on each other's
        roles, slots and epochs; each slot has a master among them; replicas are connected to their masters.

        Arguments:
            timeout: the time limit in seconds; None: the setup's.

        Raises:
            TimeoutError: it was not well in time; the message says why.
        """

        def trouble() -> str:
            found = self._trouble()
            if found:
                self._mend()
            return found

        self._wait_while(trouble, "the cluster to be ok", timeout)

    def wait_for_new_master(self, server: int, timeout: float | None = None) -> int:
        """Wait until a replica has taken the place of a master, and the cluster is well.

        Returns at once if that has happened before.

        Arguments:
            server: the number of the master that was killed, stopped or paused.
            timeout: the time limit in seconds; None: the setup's.

        Returns:
            The number of the new master.

        Raises:
            TimeoutError: there was no new master in time.
        """
        self._name(server)

        def waiting() -> str:
            return "" if self._master_of(server) != server else "no other server of its shard is a master"

        self._wait_while(waiting, f"a new master in the place of server {server}", timeout)
        self.wait_until_ok(timeout)
        return self._master_of(server)

    def _mend(self) -> None:
        """Do what an operator would have to do for the cluster to become well; called again and again."""

    # ---- what the servers say ------------------------------------------------------------------

    def _views(self) -> dict[str, View]:
        replies = self._ask(self._names(), ("CLUSTER", "NODES"))
        return {name: View.of(nodes) for name, (nodes,) in replies.items()}

    def _newest(self) -> View:
        return newest(self._views().values())

    def _owners(self) -> dict[int, int]:
        """Return the number of each slot's master."""
        servers = {node: server for server, node in self._ids.items()}
        found = owners(self._views().values())
        return {number: servers[node] for number, node in found.items() if node in servers}

    def _leftover(self) -> dict[int, int]:
        """Return masters that answer and were replaced, with the numbers of those that have their slots."""
        view = self._newest()
        masters = [server for server in self._servers if self._seen(view, server, "master")]
        owners = {self._shards[server]: server for server in masters if view.nodes[self._ids[server]].ranges}
        return {
            server: owners[self._shards[server]]
            for server in map(int, self._answering())
            if server in masters and owners.get(self._shards[server], server) != server
        }

    def _demote(self) -> None:
        """Make replicas of masters that were replaced."""
        # They become replicas by themselves, but not if slots have been moved while they were away. A server
        # with keys refuses to, and the new master has the keys.
        for server, master in self._leftover().items():
            with contextlib.suppress(RuntimeError):
                self._tell(server, ("FLUSHALL",), ("CLUSTER", "REPLICATE", self._ids[master]))

    def _seen(self, view: View, server: int, role: str, of: str | None = None) -> bool:
        node = view.nodes.get(self._ids[server])
        return node is not None and role in node.flags and of in (None, node.master)

    def _trouble(self) -> str:
        """Return why the cluster is not well; an empty text if it is."""
        answering = self._answering()
        replies = self._ask(answering, ("CLUSTER", "INFO"), ("CLUSTER", "NODES"), ("ROLE",))
        views = {name: View.of(nodes) for name, (_, nodes, _) in replies.items()}
        alive = {self._ids[int(name)]: name for name in replies}
        facts = [view.facts(alive) for view in views.values()]
        for name in answering:
            if name not in replies:
                return f"server {name} does not answer"
            info, _, role = replies[name]
            view = views[name]
            if b"cluster_state:ok" not in info:
                return f"server {name} says that the cluster is down"
            for node, other in alive.items():
                if node not in view.nodes or view.nodes[node].flags & TROUBLE:
                    return f"server {name} does not reach server {other}"
            if role[0] == b"slave" and role[3] != b"connected":
                return f"replica {name} is not connected to its master"
            if view.facts(alive) != facts[0]:
                return f"servers {next(iter(views))} and {name} do not agree"
        for server, master in self._leftover().items():
            return f"server {server} is no replica of server {master} yet"
        slots = sum(len(view.nodes[node].slots) for node in alive) if replies else 0
        return "" if slots == SLOTS else f"{SLOTS - slots} slots have no master that answers"

    def _wait_for_state(self, server: int) -> None:
        """Wait a little until a server says that the cluster is up; RuntimeError if it does not."""

        def down() -> str:
            (info,) = self._tell(server, ("CLUSTER", "INFO"))
            return "" if b"cluster_state:ok" in info else "it says that the cluster is down"

        try:
            self._wait_while(down, f"server {server} to be ok", min(self.timeout, 1))
        except TimeoutError as error:
            raise RuntimeError(str(error)) from error

    def _ignorant(self, slots: Collection[int], owner: int) -> str:
        """Return which server does not say that a master has some slots; an empty text if all say so."""
        for name, view in self._views().items():
            node = view.nodes.get(self._ids[owner])
            if not node or not {*slots} <= {*node.slots}:
                return f"server {name} does not know that server {owner} has them"
        return ""

    def _master_of(self, server: int) -> int:
        """Return the number of the master of a server's shard: of two, the one that has slots."""
        shard = [master for master in self.masters if self._shards[master] == self._shards[server]]
        return shard[0] if shard and server not in shard else server

    @staticmethod
    def _slot(key: int | str | bytes) -> int:
        if not isinstance(key, int):
            return slot(key)
        if key not in range(SLOTS):
            raise ValueError(f"There is no slot {key}. Write a number from 0 to {SLOTS - 1}, or a key.")
        return key
