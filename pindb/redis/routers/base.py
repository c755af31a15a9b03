"""Base class of routers: from commands and keys to hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from pindb.hashing import hash_tag
from pindb.redis.core.keys import FAN_OUT, KEY_FIRST, check_command, empties, find_keys, is_keyless
from pindb.redis.exceptions import UnroutableCommand
from pindb.redis.routers.overriding import align_methods, is_overridden

__all__ = ["BaseRouter", "RoutedHost", "RoutedHosts"]

#: Names of the argument with the key, in clients of various servers. ``keys`` and ``values`` are refused
#: later, as they are not a single key.
KEY_ARGUMENTS = ("key", "name", "keys", "values")

#: The number of keys from which `get_shares` estimates.
SAMPLE = 20_000


class RoutedHost(Protocol):
    """The part of a host that routers use."""

    @property
    def identifier(self) -> str:
        """The name on a hash ring."""


class RoutedHosts(Protocol):
    """The part of a cluster that routers use."""

    @property
    def hosts(self) -> Mapping[int, RoutedHost]: ...

    def find_words(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any] | None:
        """Return the words of the Redis command that a method call sends; None if it sends no command."""


class BaseRouter:
    """Base class of routers. A custom router overrides one method: `get_host_for_key`, or `get_dbs`.

    A router is made for the current hosts of a cluster, and a new one when the hosts change. Many threads
    call its methods at once. Overriding one method is enough, since methods that answer the same question
    stay consistent: if a router overrides `get_host_for_key` only, the inherited `get_hosts_for_keys` and
    `group_keys` call it for each key.

    Arguments:
        cluster: the cluster whose commands it routes.
        hash_tags: place a key that contains a ``{tag}`` by this tag, so that keys with the same tag are on
            the same host, and can be used together in one command. Off by default, as in rb.

    Attributes:
        cluster: the cluster.
        hash_tags: as given.
        goes_by_key: only the key decides, so a command whose key is known need not be inspected.
        goes_by_command: the router overrides `get_host_for_command`, `get_hosts_for_command` or `get_key`,
            which see every command.
        cuts_by_host: the router goes by keys and does not override `get_hosts_for_command`, so commands with
            several keys can be split before it sees them.
        routes_calls: the router overrides `get_dbs`, which sees calls of methods instead of commands.
        by_key: whether the host of a command depends on its key. If False, `get_any_hosts` returns the hosts
            of each command.
        merges: whether a host runs commands with any of its keys together, such as an MGET of them.
        retryable: whether the router has another host for a command whose host refuses the connection.
        down_connections: the hosts that it passes over, by id; always empty if it is not `retryable`.
    """

    by_key: ClassVar[bool] = True
    merges: ClassVar[bool] = True
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
        # For example a subclass of a round-robin router that has fixed hosts for some keys.
        self._looks_at_keys = not kind.by_key and is_overridden(kind, "get_host_for_key", "by_key")
        self._prepare()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        align_methods(cls, BaseRouter)

    def _prepare(self) -> None:
        """Check the hosts, and compute what look-ups need: an `__init__` for routers without options."""

    def get_key(self, command: Any, args: Sequence[Any]) -> Any:
        """Return the only key of a command.

        Arguments:
            command: its name, in any case; ``"MEMORY USAGE"`` can be one word or two.
            args: its arguments.

        Raises:
            UnroutableCommand: the command has no key, several keys, or keys whose positions depend on its
                arguments, or it is unknown. The message says what to write instead.
        """
        name, keys = find_keys(command, args)
        if len(keys) == 1:
            return keys[0]
        if not keys:
            raise UnroutableCommand(f"{name} needs a key, which decides about its host. Pass a key.")
        return self._common_key(name, keys)

    def _common_key(self, name: str, keys: Sequence[Any]) -> Any:
        """Return one of several keys of a command that are certainly together; see `get_key`."""
        if self.hash_tags and len({hash_tag(key) for key in keys}) == 1:
            return keys[0]
        raise UnroutableCommand(
            f"{name} has {len(keys)} keys, which may be on different hosts. Send a command for each key, "
            "or give the keys the same {hash tag} and the cluster router_options={'hash_tags': True}, or "
            f"{FAN_OUT}. split_multi_key=True splits MGET, MSET, DEL, UNLINK, EXISTS and TOUCH by host."
        )

    def get_host_for_command(self, command: Any, args: Sequence[Any]) -> int:
        """Return the id of a command's host.

        Raises:
            UnroutableCommand: see `get_key`.
        """
        find_key = self.get_key if self.by_key else self._any_key
        return self.get_host_for_key(find_key(command, args))

    def get_host_for_key(self, key: Any) -> int:
        """Return the id of the host that has `key`."""
        raise NotImplementedError(f"{type(self).__name__} must override get_host_for_key().")

    def get_shares(self) -> dict[int, float]:
        """Return the share of keys of each host, from 0 to 1, by host id. Estimated with 20,000 keys."""
        counts = dict.fromkeys(self.cluster.hosts, 0)
        for host_id in self.find_hosts([f"key:{number}" for number in range(SAMPLE)]):
            counts[host_id] += 1
        return {host_id: count / SAMPLE for host_id, count in counts.items()}

    def mark_connection_down(self, host_id: int) -> None:
        """Note that a host refused a connection. Does nothing if the router is not `retryable`."""

    def mark_connection_up(self, host_id: int) -> None:
        """Note that a host that was down answers."""

    def heard_from(self, host_id: int) -> None:
        """Note that a host has answered while some host is down. By default, mark the host up."""
        self.mark_connection_up(host_id)

    def get_hosts_for_keys(self, keys: Sequence[Any]) -> list[int]:
        """Return the ids of the hosts of many keys. Override it if there is a faster way than key by key."""
        return [self.get_host_for_key(key) for key in keys]

    def group_keys(self, keys: Sequence[Any]) -> dict[int, list[int]]:
        """Group keys by host. Return the indexes in `keys`, in ascending order, by the id of the host."""
        return _group(self.get_hosts_for_keys(keys))

    def group_commands(self, name: Any, arguments: Sequence[Sequence[Any]]) -> dict[int, list[int]]:
        """Group commands by host, for a router that goes by commands; see `group_keys`.

        Arguments:
            name: the name of the commands.
            arguments: the arguments of each command.
        """
        return _group(self.get_host_for_command(name, args) for args in arguments)

    def get_hosts_for_command(self, command: Any, args: Sequence[Any]) -> list[int]:
        """Return the ids of all hosts of a command: of every host if the command has no key.

        Raises:
            UnroutableCommand: the command has several keys, or keys whose positions depend on its arguments.
        """
        try:
            if self._names_host or (self.by_key and not is_keyless(command, args)):
                return [self.get_host_for_command(command, args)]
        except UnroutableCommand:
            if self.by_key and not is_keyless(command, args):
                raise
        if self.by_key:
            return list(self.cluster.hosts)
        key = self._any_key(command, args)
        return self._any_hosts_for(command) if key is None else [self.get_host_for_key(key)]

    def _any_key(self, command: Any, args: Sequence[Any]) -> Any:
        """Return the key of a command for a router that does not go by keys; None if it does not matter."""
        if command not in KEY_FIRST:
            check_command(command, args)
        if not self._looks_at_keys:
            return None
        try:
            return self.get_key(command, args)
        except UnroutableCommand:
            return None

    def get_dbs(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
        """Return the ids of the hosts of a method call on a cluster of `create_cluster`.

        Arguments:
            attr: the name of the method; a dotted path if it belongs to an attribute.
            args, kwargs: its arguments. If the method is not a Redis command, the first argument (or the
                argument ``key`` or ``name``) is the key.

        Returns:
            The host of the key; all hosts for a call without a key.

        Raises:
            UnroutableCommand: see `get_hosts_for_command`.
        """
        if not (self.by_key or self.goes_by_command or self._looks_at_keys):
            return self._any_hosts_for(args[0] if attr == "execute_command" and args else attr)
        words = self.cluster.find_words(attr, args, kwargs)
        if words is not None:
            return self.get_hosts_for_command(words[0], words[1:])
        keys = [*args[:1], *(kwargs[name] for name in KEY_ARGUMENTS if name in kwargs)]
        if not keys:
            return list(self.cluster.hosts) if self.by_key else self.get_any_hosts()
        try:
            return [self.find_host(keys[0])]
        except TypeError as error:
            raise UnroutableCommand(
                f"The first argument of {attr} is {keys[0]!r:.60}, which is not a key ({error}). Use a map, "
                "and call a method with a single key for each of the keys."
            ) from error

    def get_db(
        self, attr: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] = MappingProxyType({})
    ) -> list[int]:
        """Call `get_dbs`. An older name, for code written for Nydus."""
        return self.get_dbs(attr, args, kwargs)

    # As in Nydus, callers may omit arguments. pindb always passes them, so overrides need no defaults.
    get_dbs.__defaults__ = ((), MappingProxyType({}))

    def get_any_hosts(self) -> list[int]:
        """Return the ids of the hosts of the next command, in a router with ``by_key = False``."""
        raise NotImplementedError(
            f"{type(self).__name__} has by_key = False. It must override get_any_hosts()."
        )

    def _any_hosts_for(self, command: Any) -> list[int]:
        # Hosts used in turn have the same data: FLUSHDB has to empty all of them.
        return list(self.cluster.hosts) if self._empties_all and empties(command) else self.get_any_hosts()

    def find_host(self, key: Any) -> int:
        """Return the id of the host where clients find `key`. If the command matters, that of a GET."""
        if self.goes_by_command:
            return self.get_host_for_command("GET", (key,))
        return self.get_host_for_key(key)

    def find_hosts(self, keys: Sequence[Any]) -> list[int]:
        """Return the `find_host` of each key."""
        if self.goes_by_command:
            return [self.find_host(key) for key in keys]
        return self.get_hosts_for_keys(keys)

    def find_common_host(self, keys: Sequence[Any]) -> int | None:
        """Return the id of the host that can run one command with all of these keys; None if none can."""
        hosts = set(self.find_hosts(keys))
        return hosts.pop() if len(hosts) == 1 else None

    def _tagged(self, keys: Sequence[Any]) -> Sequence[Any]:
        """Return what places each of the keys: its tag, or the key."""
        return [hash_tag(key) for key in keys] if self.hash_tags else keys


def _group(hosts: Iterable[int]) -> dict[int, list[int]]:
    """Return the indexes in `hosts` by the id of the host."""
    groups = defaultdict[int, list[int]](list)
    for index, host_id in enumerate(hosts):
        groups[host_id].append(index)
    return groups
