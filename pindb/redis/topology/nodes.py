"""What settings say about a Redis Cluster, and its nodes as hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pindb.redis.core.options import shown
from pindb.redis.core.slot_tables import Address
from pindb.redis.exceptions import ClusterConfigError
from pindb.redis.topology.hosts import Host, is_positive
from pindb.redis.topology.readers import check_read_from

__all__ = ["AddressRemap", "Node", "StartUpNodes"]

#: A function, or a dict, from the addresses that nodes announce to those at which they can be reached.
AddressRemap = Callable[[Address], Address] | Mapping[Address, Address]


@dataclass(frozen=True)
class StartUpNodes:
    """What a cluster's settings say about a Redis Cluster.

    Attributes:
        nodes: the options of nodes to ask; one that answers is enough.
        address_remap: see `AddressRemap`.
        read_from: one of `pindb.redis.topology.readers.READ_FROM`.
        wait_timeout: for how long commands wait for a cluster that asks for patience, in seconds.
    """

    nodes: Sequence[Mapping[str, Any] | str]
    address_remap: AddressRemap | None = None
    read_from: str = "master"
    wait_timeout: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.nodes, Sequence) or isinstance(self.nodes, (str, bytes)) or not self.nodes:
            raise ClusterConfigError(
                f"startup_nodes is {shown(self.nodes)}. Write a list of at least one node: "
                "[{'host': 'redis-1', 'port': 6379}], or URLs."
            )
        if not (
            self.address_remap is None
            or callable(self.address_remap)
            or isinstance(self.address_remap, Mapping)
        ):
            raise ClusterConfigError(
                f"address_remap is {shown(self.address_remap)}. Write a dict, {{('10.0.0.1', 6379): "
                "('localhost', 7001)}, or a function of such an address."
            )
        check_read_from(self.read_from)
        if self.wait_timeout != 0 and not is_positive(self.wait_timeout):
            raise ClusterConfigError(f"wait_timeout is {shown(self.wait_timeout)}. Write seconds, 0 or more.")

    def hosts(self, defaults: Mapping[str, Any]) -> list[Host]:
        """Return the nodes.

        Raises:
            ClusterConfigError: an option is invalid, or does not exist in a Redis Cluster.
        """
        configs = [{"url": node} if isinstance(node, str) else node for node in self.nodes]
        hosts = [Host.from_config(place, config, defaults) for place, config in enumerate(configs)]
        for host in hosts:
            if host.db or host.unix_socket_path is not None:
                what = f"the db {host.db}" if host.db else "a unix_socket_path"
                raise ClusterConfigError(
                    f"Host {host.host_id} has {what}, which nodes of a Redis Cluster do not have. Write host "
                    "and port."
                )
        return hosts


@dataclass(frozen=True)
class Node(Host):
    """A node of a Redis Cluster."""

    follows_redirects = True
    #: Whether it is to serve reads while it is a replica.
    is_reader: bool = field(default=False, repr=False)

    def _adapt_options(self, options: dict[str, Any]) -> None:
        if self.is_reader:
            own = options.get("redis_connect_func")
            options["redis_connect_func"] = lambda connection: _connect_reader(connection, own)


def _connect_reader(connection: Any, own: Callable[[Any], None] | None) -> None:
    """Prepare a new connection for reads from a replica. A master takes READONLY, too."""
    connection.on_connect() if own is None else own(connection)
    connection.send_command("READONLY")
    connection.read_response()
