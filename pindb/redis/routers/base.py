"""What all routers share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from pindb.hashing import hash_tag
from pindb.redis.core.keys import FAN_OUT, find_keys
from pindb.redis.exceptions import UnroutableCommand
from pindb.redis.routers.calls import CallRouting, RoutedHosts
from pindb.redis.routers.overriding import is_overridden, let_follow

__all__ = ["BaseRouter"]


#: How many keys tell how large a part of all keys each host gets.
SAMPLE = 20_000


class BaseRouter(CallRouting):
    """What all routers share. A site's own router overrides one method: `get_host_for_key`, or `get_dbs`.

    A router is made for a cluster's hosts as they are, and anew when they change. Its methods are called by
    all threads at once. What a subclass overrides counts for all methods that answer the same question: of a
    router that overrides `get_host_for_key` alone, the inherited `get_hosts_for_keys` and `group_keys` ask it
    for each key.

    Arguments:
        cluster: the cluster whose commands it routes.
        hash_tags: place a key with a ``{tag}`` in it by the tag alone, so that keys with the same tag lie on
            the same host and may stand together in one command. Off, as in rb: every key is placed whole.

    Attributes:
        cluster: the cluster.
        hash_tags: as given.
        goes_by_key: nothing but the key decides, so that a command whose key is known need not be looked at.
        goes_by_command: it has a `get_host_for_command`, `get_hosts_for_command` or `get_key` of its own,
            which sees every command.
        cuts_by_host: it goes by keys and has no `get_hosts_for_command` of its own, which would see commands
            with several keys before they are cut by host.
        routes_calls: it has a `get_dbs` of its own, which sees calls of methods instead of commands.
        by_key: where a command goes depends on its key; a router that sets this to False says with
            `get_any_hosts` where all commands go.
        retryable: it knows another host for a command whose own one refuses connections.
        down_connections: the hosts that it passes over; never any where it is not `retryable`.
    """

    by_key: ClassVar[bool] = True
    retryable: ClassVar[bool] = False
    down_connections: Mapping[int, float] = MappingProxyType({})

    def __init__(self, cluster: RoutedHosts, hash_tags: bool = False) -> None:
        self.cluster = cluster
        self.hash_tags = hash_tags
        kind = type(self)
        self.routes_calls = kind.get_dbs is not BaseRouter.get_dbs
        self.cuts_by_host = kind.by_key and kind.get_hosts_for_command is BaseRouter.get_hosts_for_command
        self._names_host = kind.get_host_for_command is not BaseRouter.get_host_for_command
        self.goes_by_command = self._names_host or kind.get_key is not BaseRouter.get_key
        self.goes_by_key = kind.by_key and not self.goes_by_command
        self._empties_all = False
        # A router that goes by turns, say, of which a subclass says where some keys are.
        self._looks_at_keys = not kind.by_key and is_overridden(kind, "get_host_for_key", "by_key")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        let_follow(cls, BaseRouter)

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
        if not self.by_key:
            return self.get_host_for_key(self._any_key(command, args))
        return self.get_host_for_key(self.get_key(command, args))

    def get_host_for_key(self, key: Any) -> int:
        """The id of the host that has `key`."""
        raise NotImplementedError(f"{type(self).__name__} must override get_host_for_key().")

    def get_shares(self) -> dict[int, float]:
        """The part of all keys that each host gets, of 1, by its id; found out with 20,000 keys."""
        counts = dict.fromkeys(self.cluster.hosts, 0)
        for host_id in self.find_hosts([f"key:{number}" for number in range(SAMPLE)]):
            counts[host_id] += 1
        return {host_id: count / SAMPLE for host_id, count in counts.items()}

    def mark_connection_down(self, host_id: int) -> None:
        """A host refused a connection. Nothing, where the router knows no other one."""

    def mark_connection_up(self, host_id: int) -> None:
        """A host that was down answers."""

    def heard_from(self, host_id: int) -> None:
        """A host answered while hosts are down: it is up, unless the router knows better."""
        self.mark_connection_up(host_id)

    def get_hosts_for_keys(self, keys: Sequence[Any]) -> list[int]:
        """`get_host_for_key` of each of many keys. Routers that can do that faster override it."""
        return [self.get_host_for_key(key) for key in keys]

    def group_keys(self, keys: Sequence[Any]) -> dict[int, list[int]]:
        """For each host that has some of `keys`, their places in `keys`, in order."""
        groups: dict[int, list[int]] = {}
        for place, host_id in enumerate(self.get_hosts_for_keys(keys)):
            groups.setdefault(host_id, []).append(place)
        return groups

    def group_commands(self, name: Any, arguments: Sequence[Sequence[Any]]) -> dict[int, list[int]]:
        """For each host that gets some of many commands, their places in `arguments`, in order.

        Arguments:
            name: of the commands.
            arguments: of each, with its key in front.
        """
        if not self.goes_by_command:
            return self.group_keys([words[0] for words in arguments])
        groups: dict[int, list[int]] = {}
        for place, words in enumerate(arguments):
            groups.setdefault(self.get_host_for_command(name, words), []).append(place)
        return groups

    def find_host(self, key: Any) -> int:
        """The id of the host that clients find `key` on: that of GET, where commands decide too."""
        if self.goes_by_command:
            return self.get_host_for_command("GET", (key,))
        return self.get_host_for_key(key)

    def find_hosts(self, keys: Sequence[Any]) -> list[int]:
        """`find_host` of each of many keys."""
        if self.goes_by_command:
            return [self.get_host_for_command("GET", (key,)) for key in keys]
        return self.get_hosts_for_keys(keys)

    def _tagged(self, keys: Iterable[Any]) -> list[Any]:
        return [hash_tag(key) for key in keys]
