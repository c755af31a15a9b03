"""Which host a command goes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pindb.hashing import Ketama, Key, hash_tag, partition, partition_groups, partition_many
from pindb.redis.commands import COMMANDS, MOVABLE, Keys
from pindb.redis.exceptions import ClusterConfigError, UnroutableCommand
from pindb.redis.hosts import check_gapless

if TYPE_CHECKING:
    from pindb.redis.cluster import Cluster

__all__ = ["BaseRouter", "ConsistentHashingRouter", "PartitionRouter"]

FAN_OUT = (
    "send it to hosts that you name, with cluster.fanout(hosts=[...]) or cluster.get_local_client(host_id)"
)


#: What changes the connection that it runs on. Connections go back to a pool, so no client here sends it.
PER_CONNECTION = frozenset(
    {
        *("ASKING", "AUTH", "HELLO", "QUIT", "READONLY", "READWRITE", "RESET", "SELECT"),
        *("MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "MONITOR", "SYNC", "PSYNC"),
        *("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"),
        *("CLIENT CACHING", "CLIENT NO-EVICT", "CLIENT NO-TOUCH", "CLIENT REPLY", "CLIENT SETNAME"),
        *("CLIENT SETINFO", "CLIENT TRACKING", "SCRIPT DEBUG"),
    }
)


class BaseRouter:
    """What all routers share. A site's own router overrides `get_host_for_key`.

    A router is made for a cluster's hosts as they are, and anew when they change. Its methods are safe under
    threads as long as they change nothing.

    Arguments:
        cluster: the cluster whose commands it routes.
        hash_tags: place a key with a ``{tag}`` in it by the tag alone, so that keys with the same tag lie on
            the same host and may stand together in one command. Off, as in rb: every key is placed whole.

    Attributes:
        cluster: the cluster.
        hash_tags: as given.
        goes_by_key: nothing but the key decides, so that a command whose key is known need not be looked at.
    """

    def __init__(self, cluster: Cluster, hash_tags: bool = False) -> None:
        self.cluster = cluster
        self.hash_tags = hash_tags
        kind = type(self)
        self.goes_by_key = (
            kind.get_host_for_command is BaseRouter.get_host_for_command
            and kind.get_key is BaseRouter.get_key
        )

    def get_key(self, command: Any, args: Sequence[Any]) -> Any:
        """The one key that a command operates on.

        Arguments:
            command: its name, of any case; ``"MEMORY USAGE"`` may stand as one word or as two.
            args: what follows the name.

        Raises:
            UnroutableCommand: it has no key, several keys, keys whose places depend on its arguments, or is
                not known. The message has the way out.
        """
        name, keys = find_keys(command, args)
        if len(keys) == 1:
            return keys[0]
        if not keys:
            raise UnroutableCommand(f"{name} came without the key that it needs: nothing says where it goes.")
        if self.hash_tags and len({hash_tag(key) for key in keys}) == 1:
            return keys[0]
        raise UnroutableCommand(
            f"{name} has {len(keys)} keys, which may lie on different hosts. Send a command for each, "
            "or give them the same {hash tag} and the cluster router_options={'hash_tags': True}, or "
            f"{FAN_OUT}. MGET, MSET, DEL, UNLINK, EXISTS and TOUCH are cut by host with split_multi_key=True."
        )

    def get_host_for_command(self, command: Any, args: Sequence[Any]) -> int:
        """The id of the host that a command is for.

        Raises:
            UnroutableCommand: see `get_key`.
        """
        return self.get_host_for_key(self.get_key(command, args))

    def get_host_for_key(self, key: Any) -> int:
        """The id of the host that has `key`."""
        raise NotImplementedError(f"{type(self).__name__} must override get_host_for_key().")

    def get_hosts_for_keys(self, keys: Sequence[Any]) -> list[int]:
        """`get_host_for_key` of each of many keys. Routers that can do that faster override it."""
        return [self.get_host_for_key(key) for key in keys]

    def group_keys(self, keys: Sequence[Any]) -> dict[int, list[int]]:
        """For each host that has some of `keys`, their places in `keys`, in order."""
        groups: dict[int, list[int]] = {}
        for place, host_id in enumerate(self.get_hosts_for_keys(keys)):
            groups.setdefault(host_id, []).append(place)
        return groups

    def _tagged(self, keys: Iterable[Any]) -> list[Any]:
        return [hash_tag(key) for key in keys]


class PartitionRouter(BaseRouter):
    """Places keys by signed CRC-32 modulo the number of hosts. Hosts must be numbered without a gap.

    Raises:
        BadHostSetup: there is a gap in the ids, or no host.
    """

    def __init__(self, cluster: Cluster, hash_tags: bool = False) -> None:
        super().__init__(cluster, hash_tags)
        check_gapless(cluster.hosts)
        self._count = len(cluster.hosts)

    def get_host_for_key(self, key: Key) -> int:
        if self.hash_tags:
            key = hash_tag(key)
        return partition(key, self._count)

    def get_hosts_for_keys(self, keys: Sequence[Key]) -> list[int]:
        return partition_many(self._tagged(keys) if self.hash_tags else keys, self._count)

    def group_keys(self, keys: Sequence[Key]) -> dict[int, list[int]]:
        groups = partition_groups(self._tagged(keys) if self.hash_tags else keys, self._count)
        return {host_id: places for host_id, places in enumerate(groups) if places}


class ConsistentHashingRouter(BaseRouter):
    """Places keys on a ring of hosts, so that few of them move when a host comes or goes.

    The ring goes by the hosts' names: a host's own ``name`` where it has one, else ``host:port/db``. Hosts
    must be numbered without a gap.

    Arguments:
        cluster: the cluster whose commands it routes.
        weights: by host id, how much of the keys a host gets in proportion to the others; 1 where none is
            given.
        hash_tags: see `BaseRouter`.

    Raises:
        BadHostSetup: there is a gap in the ids, or no host.
        ClusterConfigError: a weight is not above 0 or is of no host, or two hosts have the same name.
    """

    def __init__(
        self, cluster: Cluster, weights: Mapping[int, float] | None = None, hash_tags: bool = False
    ) -> None:
        super().__init__(cluster, hash_tags)
        check_gapless(cluster.hosts)
        weights = weights or {}
        unknown = sorted(map(repr, weights.keys() - cluster.hosts.keys()))
        if unknown:
            raise ClusterConfigError(
                f"weights has {', '.join(unknown)}, but the hosts are {', '.join(map(str, cluster.hosts))}."
            )
        ids: dict[str, int] = {}
        for host_id, host in cluster.hosts.items():
            name = host.name or host.address
            if name in ids:
                raise ClusterConfigError(
                    f"Hosts {ids[name]} and {host_id} are both called {name!r} on the ring. "
                    "Give one of them a 'name' of its own."
                )
            ids[name] = host_id
        try:
            by_name = {name: weights.get(host_id, 1) for name, host_id in ids.items()}
            ring = Ketama(ids, by_name, steady=True)
        except (TypeError, ValueError) as error:
            raise ClusterConfigError(f"weights: {error}") from error
        self._ids = ids
        self._ring = ring

    def get_host_for_key(self, key: Key) -> int:
        return self._ids[self._ring.get_node(hash_tag(key) if self.hash_tags else key)]  # type: ignore[index]

    def get_hosts_for_keys(self, keys: Sequence[Key]) -> list[int]:
        nodes = self._ring.get_node_many(self._tagged(keys) if self.hash_tags else keys)
        return [self._ids[node] for node in nodes]  # type: ignore[index]


#: The commands of one word that have their keys in fixed places.
ROUTABLE: dict[Any, Keys] = {
    name: places
    for name, places in COMMANDS.items()
    if " " not in name and places is not MOVABLE and places[0] and name not in PER_CONNECTION
}

#: Those of them that have one key, and have it first.
KEY_FIRST = frozenset(name for name, places in ROUTABLE.items() if places == (1, 1, 1))


def find_keys(command: Any, args: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """The full name of a command, and its keys.

    Raises:
        UnroutableCommand: it is not known, has no key, or the places of its keys depend on its arguments.
    """
    places = ROUTABLE.get(command)
    if places is None:
        command, args, places = _full_name(command, args)
    first, last, step = places
    # Places count from 1, the name being at 0; a command's name may be more than one word.
    if last == first:
        return command, args[first - 1 : first]
    end = len(args) + last + 1 if last < 0 else last
    return command, args[first - 1 : end : step]


def check_command(command: Any, args: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """The name of a command as the table has it, and the words that follow the first one of it.

    Raises:
        UnroutableCommand: it changes the connection that it runs on, which others share.
    """
    words = (command.decode("latin-1") if isinstance(command, bytes) else str(command)).upper().split()
    # Subcommands are words of their own on the wire, and count.
    args = [*words[1:], *args]
    name = words[0] if words else ""
    if args:
        sub = args[0].decode("latin-1") if isinstance(args[0], bytes) else str(args[0])
        if f"{name} {sub.upper()}" in COMMANDS:
            name = f"{name} {sub.upper()}"
    if name in PER_CONNECTION:
        raise UnroutableCommand(
            f"{name} changes the connection that it runs on, and those are shared: hold one of your own "
            "(client(), pipeline() or pubsub() of cluster.get_local_client(host_id)), or set pool_options of "
            "the cluster, for all connections."
        )
    return name, args


def _full_name(command: Any, args: Sequence[Any]) -> tuple[str, Sequence[Any], tuple[int, int, int]]:
    """The command as the table has it, with its places and the arguments that they count."""
    name, args = check_command(command, args)
    places = COMMANDS.get(name)
    if places is None:
        raise UnroutableCommand(
            f"{name or repr(command)} is not a command that pindb knows, so nothing says which host has its "
            f"key: {FAN_OUT}."
        )
    if places is MOVABLE:
        raise UnroutableCommand(
            f"The keys of {name} are in places that depend on its arguments, so it is not routed: "
            f"{FAN_OUT}, or with cluster.get_local_client_for_key(key)."
        )
    if not places[0]:
        raise UnroutableCommand(f"{name} has no key, so it belongs to no host: {FAN_OUT}.")
    return name, args, places
