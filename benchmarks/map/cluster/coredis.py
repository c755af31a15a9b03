"""coredis, a client for asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from benchmarks.map.cluster.jobs import GET, SET, SINGLE_GET
from benchmarks.map.jobs import Job, Load
from benchmarks.peers import Unavailable

__all__ = ["coredis_started"]


@contextmanager
def coredis_started(nodes: Sequence[Mapping[str, Any]], load: Load) -> Iterator[dict[str, Job]]:
    """By the name of the case, what coredis does, until the context ends.

    Its pipeline is several times as fast as many calls that are awaited together, and as its `mget`, which
    sends a command for each slot and waits. So there is nothing of its own for MGET.

    Arguments:
        nodes: ``host`` and ``port`` of nodes of the cluster.
        load: what to write and read.

    Raises:
        Unavailable: the client is not installed.
    """
    # Its checks of types at run time are off.
    os.environ.setdefault("COREDIS_OPTIMIZED", "true")
    try:
        coredis = import_module("coredis")
        location = import_module("coredis.connection").TCPLocation
    except (ImportError, AttributeError) as error:
        raise Unavailable(f"{error} (of the extra `benchmarks`)") from error
    client = coredis.RedisCluster(startup_nodes=[location(node["host"], node["port"]) for node in nodes])
    loop = asyncio.new_event_loop()
    ready, end = asyncio.Event(), asyncio.Event()
    # The task that opens the client has to close it.
    holding = loop.create_task(_hold(client, ready, end))

    def job(work: Callable[[Any, Load], Awaitable[list[Any]]]) -> Job:
        async def run() -> list[Any]:
            return await work(client, load)

        return lambda: loop.run_until_complete(run())

    try:
        loop.run_until_complete(_either(ready.wait(), holding))
        yield {SET: job(_set), GET: job(_get), SINGLE_GET: job(_single_get)}
    finally:
        end.set()
        loop.run_until_complete(holding)
        loop.close()


async def _hold(client: Any, ready: asyncio.Event, end: asyncio.Event) -> None:
    async with client:
        ready.set()
        await end.wait()


async def _either(ready: Any, holding: asyncio.Task[None]) -> None:
    """Wait until the client is open; raise why it is not."""
    opening = asyncio.ensure_future(ready)
    await asyncio.wait({opening, holding}, return_when=asyncio.FIRST_COMPLETED)
    if holding.done():
        opening.cancel()
        holding.result()


async def _get(client: Any, load: Load) -> list[Any]:
    async with client.pipeline() as pipeline:
        replies = [pipeline.get(key) for key in load.keys]
    return [await reply for reply in replies]


async def _set(client: Any, load: Load) -> list[Any]:
    async with client.pipeline() as pipeline:
        replies = [pipeline.set(key, value) for key, value in zip(load.keys, load.values, strict=True)]
    return [await reply for reply in replies]


async def _single_get(client: Any, load: Load) -> list[Any]:
    return [await client.get(key) for key in load.single_keys]
