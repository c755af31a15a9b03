"""Processes of clients, which send commands at a steady pace and check every reply."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from random import Random
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from benchmarks.redis_chaos.checks import Counter, Findings, Text, check_foreign
from pindb.redis import Cluster

__all__ = ["CONTROL", "MAPS", "Call", "Loop", "Seen", "Task", "work"]

#: The name of clients of a server apart, to which nothing happens.
CONTROL = "a server apart"

#: The name of clients that send maps.
MAPS = "maps over all shards"

#: Seconds from one command to the next, and from one map to the next. Clients that had to wait send no more
#: afterwards, so that a pause is seen in their number.
PACE, MAP_PACE = 0.01, 0.04


class Call(NamedTuple):
    """A command, or all commands of a map for a shard.

    Attributes:
        began, ended: when.
        shard: where.
        error: the kind of error; empty if there was none.
        text: what the error says.
    """

    began: float
    ended: float
    shard: int
    error: str
    text: str


@dataclass(frozen=True)
class Loop:
    """A thread of a process.

    Attributes:
        name: what it does.
        writer: its number.
        keys: the keys and the counters that it writes, by shard; several shards are used in maps.
        foreign: keys that others write.
    """

    name: str
    writer: int
    keys: Mapping[int, tuple[Sequence[str], Sequence[str]]]
    foreign: Sequence[str]


@dataclass(frozen=True)
class Task:
    """A process.

    Attributes:
        make: how a cluster is made: ``plain`` or ``cluster``.
        hosts: the hosts, or start-up nodes.
        options: options of the cluster.
        loops: what runs in it, all with the same cluster.
    """

    make: str
    hosts: Any
    options: Mapping[str, Any]
    loops: Sequence[Loop]


@dataclass
class Seen:
    """What a thread has seen.

    Attributes:
        name: what it did.
        findings: what was wrong.
        calls: its calls, in order.
        commands: the number of commands.
    """

    name: str
    findings: Findings = field(default_factory=Findings)
    calls: list[Call] = field(default_factory=list)
    commands: int = 0


def work(task: Task, ready: Any, stop: Event, outcome: Connection) -> None:
    """Run all threads of a process until they are told to stop, or nobody waits for them any more."""
    parent = os.getppid()
    make: Callable[..., Cluster] = Cluster if task.make == "plain" else Cluster.from_redis_cluster
    cluster = make(task.hosts, **task.options)

    def is_over() -> bool:
        return stop.is_set() or os.getppid() != parent

    loops = [(_Maps if len(loop.keys) > 1 else _Singles)(cluster, loop) for loop in task.loops]
    ready.release()
    with ThreadPoolExecutor(len(loops)) as pool:
        for done in [pool.submit(loop.run, is_over) for loop in loops]:
            done.result()
    cluster.disconnect_pools()
    outcome.send([loop.seen for loop in loops])


class _Load:
    pace: float

    def __init__(self, cluster: Cluster, loop: Loop) -> None:
        self.seen = Seen(loop.name)
        self.random = Random(loop.writer)
        self.foreign = loop.foreign
        findings = self.seen.findings
        self.texts = [
            Text(key, shard, loop.writer, findings) for shard, (keys, _) in loop.keys.items() for key in keys
        ]
        self.counters = [
            Counter(key, shard, findings) for shard, (_, keys) in loop.keys.items() for key in keys
        ]
        self.shards = list(loop.keys)
        self.cluster = cluster

    def run(self, is_over: Callable[[], bool]) -> None:
        at = time.monotonic()
        while not is_over():
            self.step()
            at = max(at + self.pace, time.monotonic())
            time.sleep(max(0.0, at - time.monotonic()))

    def step(self) -> None:
        raise NotImplementedError

    def note(self, began: float, shard: int, error: BaseException | None) -> None:
        kind, text = ("", "") if error is None else (type(error).__name__.strip("_"), str(error))
        self.seen.calls.append(Call(began, time.monotonic(), shard, kind, text))


class _Singles(_Load):
    """Commands one by one, all of them for one shard."""

    pace = PACE

    def __init__(self, cluster: Cluster, loop: Loop) -> None:
        super().__init__(cluster, loop)
        self.client = cluster.get_routing_client()

    def step(self) -> None:
        began, error = time.monotonic(), None
        self.seen.commands += 1
        choice = self.random.random()
        try:
            if choice < 0.4:
                text = self.random.choice(self.texts)
                text.check(self.client.get(text.key))
            elif choice < 0.7:
                self._set(self.random.choice(self.texts))
            elif choice < 0.9:
                self._increment(self.random.choice(self.counters))
            else:
                key = self.random.choice(self.foreign)
                check_foreign(key, self.client.get(key), self.seen.findings)
        except RedisError as reason:
            error = reason
        self.note(began, self.shards[0], error)

    def _set(self, text: Text) -> None:
        number, value = text.issue()
        error: BaseException | None = None
        try:
            self.client.set(text.key, value)
        except RedisError as reason:
            error = reason
            raise
        finally:
            text.note_written(number, error)

    def _increment(self, counter: Counter) -> None:
        value = None
        try:
            value = self.client.incr(counter.key)
        finally:
            counter.note(value)


class _Maps(_Load):
    """Maps over all shards. Each reads, writes, and reads again, so that the order per key is checked too."""

    pace = MAP_PACE

    def __init__(self, cluster: Cluster, loop: Loop) -> None:
        super().__init__(cluster, loop)
        self.turns = cycle(range(4))

    def step(self) -> None:
        began, turn = time.monotonic(), next(self.turns)
        texts, counters = self.texts[turn::4], self.counters[turn % 2 :: 2]
        foreign = self.random.sample(self.foreign, min(8, len(self.foreign)))
        reads: list[tuple[Text, int, Any]] = []
        writes: list[tuple[Text, int, Any]] = []
        with self.cluster.map() as batch:
            for _ in range(2):
                reads += [(text, text.mark, batch.get(text.key)) for text in texts]
                for text in texts:
                    number, value = text.issue()
                    writes.append((text, number, batch.set(text.key, value)))
            reads += [(text, text.mark, batch.get(text.key)) for text in texts]
            numbers = [(counter, batch.incr(counter.key)) for counter in counters for _ in range(2)]
            others = [(key, batch.get(key)) for key in foreign]
            for _, promise in (*((text, each) for text, _, each in (*reads, *writes)), *numbers, *others):
                # So that the end of the block raises nothing.
                promise.done(None, lambda error: None)
        self.seen.commands += len(reads) + len(writes) + len(numbers) + len(others)
        self._check(reads, writes, texts)
        for counter, promise in numbers:
            counter.note(None if promise.is_rejected else promise.value)
        for key, promise in others:
            if not promise.is_rejected:
                check_foreign(key, promise.value, self.seen.findings)
        errors: dict[int, BaseException | None] = dict.fromkeys(self.shards)
        for text, _, promise in (*reads, *writes):
            if promise.is_rejected:
                errors[text.shard] = promise.reason
        for counter, promise in numbers:
            if promise.is_rejected:
                errors[counter.shard] = promise.reason
        for shard, error in errors.items():
            self.note(began, shard, error)

    def _check(
        self,
        reads: Sequence[tuple[Text, int, Any]],
        writes: Sequence[tuple[Text, int, Any]],
        texts: Sequence[Text],
    ) -> None:
        """Check reads and note writes, in the order in which a server runs them."""
        width = len(texts)
        for part in range(3):
            for text, mark, promise in reads[part * width : (part + 1) * width]:
                if not promise.is_rejected:
                    text.check(promise.value, mark)
            for text, number, promise in writes[part * width : (part + 1) * width]:
                text.note_written(number, promise.reason if promise.is_rejected else None)
