"""valkey-glide's synchronous client, whose core is written in Rust."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.map.cluster.jobs import GET, MGET, SET, SINGLE_GET
from benchmarks.map.jobs import Job, Load, single_get
from benchmarks.peers import Unavailable

__all__ = ["glide_started"]

#: How many keys an MGET has: 500 are faster than 200 and than 1,000. More than some thousand fill the queue
#: of a connection, which then closes. (A batch is fastest with all keys at once.)
MGET_KEYS = 500

#: In milliseconds: its default of a quarter of a second is too short for 10,000 commands on a busy machine.
TIMEOUT = 60_000


@contextmanager
def glide_started(nodes: Sequence[Mapping[str, Any]], load: Load) -> Iterator[dict[str, Job]]:
    """By the name of the case, what valkey-glide does, until the context ends.

    Arguments:
        nodes: ``host`` and ``port`` of nodes of the cluster.
        load: what to write and read.

    Raises:
        Unavailable: the client is not installed.
    """
    try:
        glide = import_module("glide_sync")
    except ImportError as error:
        raise Unavailable(f"{error} (of the extra `benchmarks`)") from error
    addresses = [glide.NodeAddress(node["host"], node["port"]) for node in nodes]
    configuration = glide.GlideClusterClientConfiguration(addresses, request_timeout=TIMEOUT)
    client = glide.GlideClusterClient.create(configuration)
    batch = partial(glide.ClusterBatch, is_atomic=False)
    try:
        yield {
            SET: partial(_set, client, batch, load),
            GET: partial(_get, client, batch, load),
            MGET: partial(_mget, client, load),
            SINGLE_GET: partial(single_get, client, load),
        }
    finally:
        client.close()


def _get(client: Any, new_batch: Any, load: Load) -> list[Any]:
    batch = new_batch()
    for key in load.keys:
        batch.get(key)
    return list(client.exec(batch, raise_on_error=True))


def _set(client: Any, new_batch: Any, load: Load) -> list[Any]:
    batch = new_batch()
    for key, value in zip(load.keys, load.values, strict=True):
        batch.set(key, value)
    return list(client.exec(batch, raise_on_error=True))


def _mget(client: Any, load: Load) -> list[Any]:
    values: list[Any] = []
    for start in range(0, len(load.keys), MGET_KEYS):
        values += client.mget(load.keys[start : start + MGET_KEYS])
    return values
