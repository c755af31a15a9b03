"""Which node of a Redis Cluster has which hash slots: the replies to CLUSTER SHARDS and CLUSTER SLOTS.

Source: the pages of these commands in Redis' documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from pindb.hashing.slots import SLOTS
from pindb.redis.core.names import read_word

__all__ = ["Address", "Shard", "read_shards", "read_slots"]

#: Host and port.
Address = tuple[str, int]


class Shard(NamedTuple):
    """A master with its slots and its replicas.

    Attributes:
        master: its address.
        slots: the first and the last slot of each range.
        replicas: the addresses of its replicas that serve reads.
    """

    master: Address
    slots: list[tuple[int, int]]
    replicas: list[Address]


def read_shards(reply: Any, asked: Address, tls: bool) -> list[Shard]:
    """Read a reply to CLUSTER SHARDS.

    Arguments:
        reply: the reply, of RESP2 or RESP3.
        asked: the address of the node that replied, which may not know its own name.
        tls: whether to use the ports for TLS.

    Raises:
        ValueError: the reply is no list of shards.
    """
    with _refusing_garbage():
        return list(_read_shards(reply, asked, "tls-port" if tls else "port"))


@contextmanager
def _refusing_garbage() -> Iterator[None]:
    """Raise `ValueError` for what goes wrong when a reply is no table of slots."""
    try:
        yield
    except (AttributeError, LookupError, OverflowError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _read_shards(reply: Any, asked: Address, port: str) -> Iterator[Shard]:
    for shard in map(_as_dict, reply):
        nodes = [node for node in map(_as_dict, shard["nodes"]) if read_word(node["health"]) == "online"]
        masters = [_node_address(node, port, asked) for node in nodes if _is_master(node)]
        bounds = list(shard["slots"])
        if masters and bounds:
            yield Shard(
                masters[0],
                [_range(*pair) for pair in zip(bounds[::2], bounds[1::2], strict=True)],
                [_node_address(node, port, asked) for node in nodes if not _is_master(node)],
            )


def _is_master(node: dict[str, Any]) -> bool:
    return read_word(node["role"]) == "master"


def read_slots(reply: Any, asked: Address) -> list[Shard]:
    """Read a reply to CLUSTER SLOTS, which older servers have; see `read_shards`."""
    with _refusing_garbage():
        shards: dict[Address, Shard] = {}
        for first, last, *nodes in reply:
            master, *replicas = [_old_address(node, asked) for node in nodes]
            shards.setdefault(master, Shard(master, [], replicas)).slots.append(_range(first, last))
        return list(shards.values())


def _range(first: Any, last: Any) -> tuple[int, int]:
    pair = int(first), int(last)
    if not 0 <= pair[0] <= pair[1] < SLOTS:
        raise ValueError(f"slots {pair[0]} to {pair[1]} of {SLOTS}")
    return pair


def _as_dict(pairs: Any) -> dict[str, Any]:
    """Return a map of RESP3, or the list that RESP2 has in its place, with keys as text."""
    if isinstance(pairs, Sequence):
        pairs = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return {read_word(key): value for key, value in pairs.items()}


def _node_address(node: dict[str, Any], port: str, asked: Address) -> Address:
    return _address(node["endpoint"], node.get(port), asked, node.get("ip"))


def _old_address(node: Sequence[Any], asked: Address) -> Address:
    # Servers that may have a host name add what else they know: the address, if the name comes first.
    more = _as_dict(node[3]) if len(node) > 3 else {}
    return _address(node[0], node[1], asked, more.get("ip"))


def _address(host: Any, port: Any, asked: Address, ip: Any) -> Address:
    """Return the address of a node.

    A node whose host name is not known says ``?``, and has its IP address; without any name, it has that of
    the node that was asked.
    """
    name = "" if host is None else read_word(host)
    if name == "?":
        name = "" if ip is None else read_word(ip)
    return (name or asked[0], int(asked[1] if port is None else port))
