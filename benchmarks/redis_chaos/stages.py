"""Servers to which events happen: plain ones, and those of a Redis Cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from benchmarks.redis_chaos.events import PLANNED, Event
from pindb.hashing import slot
from pindb.redis import Cluster
from pindb.testing.redis import RedisClusterSetup, TestSetup

__all__ = ["ClusterStage", "Done", "PlainStage", "Stage"]

#: Timeouts of a site whose commands are short, as the documentation recommends.
TIMEOUTS = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}

#: Seconds of a pause of a plain server, and of one that is too short for an election.
PAUSE, HICCUP = 2.5, 0.3

#: The slots that move beside those of the keys that are used.
MORE_SLOTS = 50

#: How often it is asked whether there is a new master, in seconds.
PAUSE_BETWEEN = 0.02


class Done(NamedTuple):
    """An event that has happened.

    Attributes:
        kind: its kind.
        shards: the shards that something was done to.
        began, ended: when it began, and when all servers were well again.
        well: when its shards could be used again: all nodes that run said ``cluster_state:ok`` and named a
            master that serves; at planned events, when they began.
    """

    kind: str
    shards: tuple[int, ...]
    began: float
    ended: float
    well: float

    @property
    def is_planned(self) -> bool:
        """Whether an operator did it on purpose."""
        return self.kind in PLANNED


class Stage:
    """Servers under load. A context manager.

    Attributes:
        name: ``plain`` or ``cluster``.
        shards: the number of shards.
        hosts, options: how clients make their cluster.
    """

    name: str
    shards = 3
    hosts: Any
    options: Mapping[str, Any] = {"pool_options": TIMEOUTS}
    setup: Any

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.setup.close()

    def shard_of(self, key: str) -> int:
        """Return the shard of a key, as the servers were at the start."""
        raise NotImplementedError

    def happen(self, event: Event, keys: Sequence[str]) -> Iterator[Done]:
        """Let an event happen, and wait until all is well again.

        Arguments:
            event: the event.
            keys: the keys of its shard.
        """
        raise NotImplementedError


class PlainStage(Stage):
    """Plain servers. What is on one that is killed is gone."""

    name = "plain"
    #: So that a server that is back is used again within a second.
    options: Mapping[str, Any] = {"pool_options": TIMEOUTS, "retry_timeout": 0.5}

    def __init__(self) -> None:
        self.setup = TestSetup(self.shards, databases_each=1, tcp=True)
        self.hosts = self.setup.hosts
        self._cluster = Cluster(self.hosts)

    def shard_of(self, key: str) -> int:
        found: int = self._cluster.get_router().get_host_for_key(key)
        return found

    def happen(self, event: Event, keys: Sequence[str]) -> Iterator[Done]:
        server, began = event.shard, time.monotonic()
        if event.kind in ("pause", "hiccup"):
            self.setup.pause(server)
            time.sleep(PAUSE if event.kind == "pause" else HICCUP)
            self.setup.resume(server)
        else:
            getattr(self.setup, "kill" if event.kind == "kill" else "stop")(server)
            time.sleep(HICCUP if event.kind == "restart" else PAUSE)
            self.setup.start(server)
        well = time.monotonic()
        yield Done(event.kind, (server,), began, well, well)


class ClusterStage(Stage):
    """A Redis Cluster: three masters, a replica each. Shards that are well serve while another one is not."""

    name = "cluster"

    def __init__(self) -> None:
        setup = self.setup = RedisClusterSetup(
            masters=self.shards, replicas=1, configuration={"cluster-require-full-coverage": "no"}
        )
        self.hosts = setup.start_up_nodes
        self._slots = {number: shard for shard in range(self.shards) for number in setup.slots(shard)}
        # A slot of each shard that never moves.
        self._fixed = {shard: setup.slots(shard)[-1] for shard in range(self.shards)}
        self._clients = {
            server: setup.client(server, socket_timeout=0.3, socket_connect_timeout=0.3)
            for server in setup.nodes
        }
        self._events: dict[str, Callable[[Event, Sequence[str]], Iterator[Done]]] = {
            "kill": self._kill,
            "pause": self._pause,
            "hiccup": self._hiccup,
            "restart": self._restart,
            "fail over": self._fail_over,
            "fail back": self._fail_back,
            "reshard": self._reshard,
        }

    def __exit__(self, *exc_info: object) -> None:
        for client in self._clients.values():
            client.close()
        super().__exit__(*exc_info)

    def shard_of(self, key: str) -> int:
        return self._slots[slot(key)]

    def happen(self, event: Event, keys: Sequence[str]) -> Iterator[Done]:
        self.setup.wait_until_caught_up()
        return self._events[event.kind](event, keys)

    def _master(self, shard: int) -> int:
        found: int = self.setup.owner(self._fixed[shard])
        return found

    def _end(self, event: Event, began: float, well: float, kind: str = "") -> Done:
        self.setup.wait_until_ok()
        return Done(kind or event.kind, (event.shard,), began, time.monotonic(), well)

    def _kill(self, event: Event, keys: Sequence[str]) -> Iterator[Done]:
        master, began = self._master(event.shard), time.monotonic()
        self.setup.kill(master)
        well = self._wait_for_new_master(event.shard, master)
        time.sleep(1)
        self.setup.start(master)
        yield self._end(event, began, well)

    def _pause(self, event: Event, keys: Sequence[str]) -> Iterator[Done]:
        master, began = self._master(event.shard), time.monotonic()
        self.setup.pause(master)
        well = self._wait_for_new_master(event.shard, master)
        time.sleep(1)
        self.setup.resume(master)
        yield self._end(event, began, well)

    def _hiccup(self, event: Event, keys: Sequence[str]) -> Iterator[Done]:
        master, began = self._master(event.shard), time.monotonic()
        self.setup.pause(master)
        time.sleep(HICCUP)
        self.setup.resume(master)
        yield self._end(event, began, time.monotonic())

    def _restart(self, event: Event, keys: Sequence[str]) -> Iterator[Done]:
        master, began = self._master(event.shard), time.monotonic()
        self.setup.stop(master)
        time.sleep(HICCUP)
        self.setup.start(master)
        well = self._wait_for_new_master(event.shard, None)
        yield self._end(event, began, well)

    def _fail_over(self, event: Event, keys: Sequence[str]) -> Iterator[Done]:
        began = time.monotonic()
        self.setup.fail_over(self._master(event.shard))
        yield self._end(event, began, began)

    def _fail_back(self, event: Event, keys: Sequence[str]) -> Iterator[Done]:
        master, began = self._master(event.shard), time.monotonic()
        self.setup.kill(master)
        well = self._wait_for_new_master(event.shard, master)
        self.setup.start(master)
        yield self._end(event, began, well, "kill")
        time.sleep(max(0.0, well + 1.2 - time.monotonic()))
        self.setup.wait_until_caught_up()
        began = time.monotonic()
        self.setup.fail_over(master)
        yield self._end(event, began, began)

    def _reshard(self, event: Event, keys: Sequence[str]) -> Iterator[Done]:
        here, there, began = self._master(event.shard), self._master(event.other), time.monotonic()
        own = {slot(key) for key in keys[::2]} - {self._fixed[event.shard]}
        slots = own | set(self.setup.slots(here)[:MORE_SLOTS])
        self.setup.move_slots(slots, there)
        time.sleep(0.5)
        self.setup.move_slots(slots, here)
        self.setup.wait_until_ok()
        yield Done(event.kind, (event.shard, event.other), began, time.monotonic(), began)

    def _wait_for_new_master(self, shard: int, old: int | None) -> float:
        """Return when all nodes but `old` were first seen to name a new master, and to say ok."""
        taken = None if old is None else self.setup.nodes[old]["port"]
        limit = time.monotonic() + 30
        while time.monotonic() < limit:
            if all(
                self._names_other(client, self._fixed[shard], taken)
                for server, client in self._clients.items()
                if server != old
            ):
                return time.monotonic()
            time.sleep(PAUSE_BETWEEN)
        raise TimeoutError(f"There is no new master in shard {shard}.")

    @staticmethod
    def _names_other(client: Any, number: int, taken: int | None) -> bool:
        try:
            # As two words, so that redis-py leaves the replies as they are.
            if b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                return False
            ranges = client.execute_command("CLUSTER", "SLOTS")
        except RedisError:
            return False
        return any(first <= number <= last and nodes[0][1] != taken for first, last, *nodes in ranges)
