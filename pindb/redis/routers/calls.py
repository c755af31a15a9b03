"""The hosts of a call of any method: the part of a router that clusters of `create_cluster` use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pindb.redis.core.keys import KEY_FIRST, check_command, empties, is_keyless
from pindb.redis.exceptions import UnroutableCommand

__all__ = ["CallRouting", "RoutedHost", "RoutedHosts"]

#: What clients of various servers call the argument that is the key; the last two are refused as keys.
KEY_ARGUMENTS = ("key", "name", "keys", "values")


class RoutedHost(Protocol):
    """What routers ask of a host: what it is called on a hash ring."""

    @property
    def identifier(self) -> str: ...


class RoutedHosts(Protocol):
    """What routers ask of a cluster: its hosts by id, and what its methods send."""

    @property
    def hosts(self) -> Mapping[int, RoutedHost]: ...

    def find_words(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any] | None:
        """The words of the Redis command that a call of a method sends; None where it is no command."""


class CallRouting:
    """An adapter: from calls of methods, as Nydus's routers see them, to the keys of `BaseRouter`.

    It is a base class of `BaseRouter`, so that a site's own router can override `get_dbs` and call the
    inherited method.
    """

    if TYPE_CHECKING:
        # Those of `BaseRouter`.
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
        """The ids of all hosts that a command is for: of every host, where it has no key.

        Raises:
            UnroutableCommand: it has several keys, or keys in places that depend on its arguments.
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
        """The key of a command, for a router that does not go by keys; None where it need not be known."""
        if command not in KEY_FIRST:
            check_command(command, args)
        if not self._looks_at_keys:
            return None
        try:
            return self.get_key(command, args)
        except UnroutableCommand:
            return None

    def get_dbs(self, attr: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
        """The ids of the hosts for one call of a method of a cluster made by `create_cluster`.

        Arguments:
            attr: the method's name; a dotted path where it is an attribute's.
            args, kwargs: its arguments. Where the method is no Redis command's, the first argument (or the
                one called ``key`` or ``name``) is the key.

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
                f"The first argument of {attr}, {keys[0]!r:.60}, is no key ({error}). Call what "
                "takes one key for each of the keys, in a map."
            ) from error

    def get_db(
        self, attr: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] = MappingProxyType({})
    ) -> list[int]:
        """An older name of `get_dbs`, which code that comes from Nydus may call."""
        return self.get_dbs(attr, args, kwargs)

    # Callers may leave arguments out, as in Nydus; pindb itself does not, so that overrides need no defaults.
    get_dbs.__defaults__ = ((), MappingProxyType({}))

    def get_any_hosts(self) -> list[int]:
        """The hosts for whatever command comes next, of a router that does not go by keys."""
        raise NotImplementedError(f"{type(self).__name__} has by_key = False and no get_any_hosts().")

    def _any_hosts_for(self, command: Any) -> list[int]:
        # Hosts that take turns hold the same data: it would come back from those that were not emptied.
        return list(self.cluster.hosts) if self._empties_all and empties(command) else self.get_any_hosts()
