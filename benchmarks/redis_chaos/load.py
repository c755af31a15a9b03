"""The load and the events, stage by stage."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

from benchmarks.redis_chaos.clients import CONTROL, MAPS, Loop, Seen, Task, work
from benchmarks.redis_chaos.events import make_events
from benchmarks.redis_chaos.figures import Outcome, make_report
from benchmarks.redis_chaos.stages import ClusterStage, Done, PlainStage, Stage
from benchmarks.report import Report
from pindb.testing.redis import TestSetup

__all__ = ["SEED", "unleash"]

SEED = 1

STAGES = (PlainStage, ClusterStage)

#: How many keys and counters a client writes on each shard, and how many keys of others it reads.
TEXTS, COUNTERS, FOREIGN = 12, 4, 24

#: Seconds of load before the first event, by which throughput is judged, and after the last one.
BEFORE, AFTER = 3.0, 2.0

#: The number of the server apart, among shards.
APART = -1

#: How long processes may take to start and to end, in seconds.
PATIENCE = 60


def unleash(quick: bool, seed: int) -> Report:
    """Let the events of `seed` happen to the servers of each stage under load."""
    return make_report([_run(make(), quick, seed) for make in STAGES], seed)


def _run(stage: Stage, quick: bool, seed: int) -> Outcome:
    events = make_events(stage.name, stage.shards, seed, quick)
    with stage, TestSetup(1, databases_each=1, tcp=True) as apart:
        tasks = _tasks(stage)
        keys = {
            shard: [
                key
                for task in tasks
                for loop in task.loops
                for key in (*loop.keys.get(shard, ((), ()))[0], *loop.keys.get(shard, ((), ()))[1])
            ]
            for shard in range(stage.shards)
        }
        with _clients([*tasks, _control(apart)]) as clients:
            began = time.monotonic()
            time.sleep(BEFORE / 2 if quick else BEFORE)
            quiet = time.monotonic()
            done: list[Done] = []
            for event in events:
                time.sleep(event.seconds)
                done += stage.happen(event, keys[event.shard])
            time.sleep(AFTER / 2 if quick else AFTER)
            seen = clients.stop()
        return Outcome(stage.name, seen, done, began, quiet, time.monotonic())


def _tasks(stage: Stage) -> list[Task]:
    """Return a process for each shard, one with a thread for each shard, and one with maps over all."""
    shards = range(stage.shards)
    plan = [
        *(("a process for the shard", [[shard]]) for shard in shards),
        ("threads of a process", [[shard] for shard in shards]),
        (MAPS, [[*shards]]),
    ]
    finders: dict[int, Iterator[str]] = {}
    writers = count()
    names = [
        (name, [(next(writers), {shard: _names(stage, shard, finders) for shard in some}) for some in loops])
        for name, loops in plan
    ]
    texts = {
        shard: [key for _, loops in names for _, keys in loops for key in keys.get(shard, ((), ()))[0]]
        for shard in shards
    }
    tasks = []
    for name, loops in names:
        made = []
        for writer, keys in loops:
            own = {key for some, _ in keys.values() for key in some}
            foreign = [key for shard in keys for key in texts[shard] if key not in own]
            made.append(Loop(name, writer, keys, foreign[:FOREIGN]))
        tasks.append(Task(stage.name, stage.hosts, stage.options, made))
    return tasks


def _control(setup: TestSetup) -> Task:
    """Return a process that does the same with a server to which nothing happens."""
    names = [f"control:{number}" for number in range(TEXTS + COUNTERS)]
    loop = Loop(CONTROL, 0, {APART: (names[:TEXTS], names[TEXTS:])}, names[:TEXTS])
    return Task("plain", setup.hosts, PlainStage.options, [loop])


def _names(
    stage: Stage, shard: int, finders: dict[int, Iterator[str]]
) -> tuple[Sequence[str], Sequence[str]]:
    """Return keys of a shard that nobody has yet: for texts, and for counters."""
    if shard not in finders:
        finders[shard] = (f"chaos:{n}" for n in count() if stage.shard_of(f"chaos:{n}") == shard)
    found = [next(finders[shard]) for _ in range(TEXTS + COUNTERS)]
    return found[:TEXTS], found[TEXTS:]


class _Clients(NamedTuple):
    """Processes of clients."""

    processes: Sequence[Any]
    pipes: Sequence[Any]
    over: Any

    def stop(self) -> list[Seen]:
        """End the load, and return what its threads have seen."""
        self.over.set()
        seen = []
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            if not pipe.poll(PATIENCE):
                raise TimeoutError("A process of clients does not end.")
            seen += pipe.recv()
            process.join(PATIENCE)
        return seen


@contextmanager
def _clients(tasks: Sequence[Task]) -> Iterator[_Clients]:
    """Start processes, and wait until they send; end them in any case."""
    # What all of them import is imported once. They end with this process, however that ends.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.redis_chaos.clients"])
    ready, over = context.Semaphore(0), context.Event()
    pipes = [context.Pipe(duplex=False) for _ in tasks]
    processes = [
        context.Process(target=work, args=(task, ready, over, end), daemon=True)
        for task, (_, end) in zip(tasks, pipes, strict=True)
    ]
    try:
        for process in processes:
            process.start()
        for _ in processes:
            if not ready.acquire(timeout=PATIENCE):
                raise TimeoutError("A process of clients does not start.")
        yield _Clients(processes, [pipe for pipe, _ in pipes], over)
    finally:
        over.set()
        for process in processes:
            if process.pid is not None:
                process.join(5)
                process.kill()
