"""Routing of method calls: the part of a router that clusters of `create_cluster` use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pindb.redis.core.keys import KEY_FIRST, check_command, empties, is_keyless
from pindb.redis.exceptions import UnroutableCommand

__all__ = ["CallRouting", "RoutedHost", "RoutedHosts"]

#: Names of the argument with the key, in clients of various servers. ``keys`` and ``values`` are refused
#: later, as they are not a single key.
KEY_ARGUMENTS = ("key", "name", "keys", "values")


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


class CallRouting:
    """Adapter from method calls, which Nydus's routers see, to the keys and commands of `BaseRouter`.

    It is a base class of `BaseRouter`, so that custom routers can override `get_dbs` and call the inherited
    method.
    """

    if TYPE_CHECKING:
        # Attributes and methods of `BaseRouter`.
        by_key: ClassVar[bool]
        cluster: RoutedHosts
        goes_by_command: bool
        _names_host: bool
        _looks_at_keys: bool
        _empties_all: bool

        def get_key(self, command: Any, args: Sequence[Any]) -> Any: ...

        def get_host_for_command(self, command: Any, args: Sequence[Any]) -> int: ...

        def get_host_for_key(self, key: Any) -> int: ...

        def find_host(self, key: Any) -> int: ...

    def get_hosts_for_command(self, command: Any, args: Sequence[Any]) -> list[int]:
        """Return the ids of all hosts of a command: of every host if the command has no key.

        Raises:
            UnroutableCommand: the command has several keys, or keys whose positions depend on its arguments.
        """
        if self._names_host:
            try:
                return [self.get_host_for_command(command, args)]
            except UnroutableCommand:
                if self.by_key and not is_keyless(command, args):
                    raise
        if not self.by_key:
            key = self._any_key(command, args)
            return self._any_hosts_for(command) if key is None else [self.get_host_for_key(key)]
        if is_keyless(command, args):
            return list(self.cluster.hosts)
        return [self.get_host_for_command(command, args)]

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
