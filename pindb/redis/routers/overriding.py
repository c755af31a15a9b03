"""Consistency of routers' methods: if a subclass overrides one method, equivalent methods call it.

For example, a router that overrides `get_host_for_key` must have the same answers from `group_keys`, and the
other way round.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from pindb.redis.exceptions import UnroutableCommand

__all__ = ["align_methods", "is_overridden"]


def _only(hosts: Sequence[int], command: Any) -> int:
    """Return the only host of a command."""
    if len(hosts) != 1:
        raise UnroutableCommand(
            f"The router sends {command} to {len(hosts)} hosts. Use a cluster of create_cluster(), or name "
            "the hosts: cluster.fanout(hosts=[...])."
        )
    return hosts[0]


def _ungroup(groups: Mapping[int, Sequence[int]], keys: Sequence[Any]) -> list[int]:
    hosts = [0] * len(keys)
    for host_id, indexes in groups.items():
        for index in indexes:
            hosts[index] = host_id
    return hosts


#: Families of equivalent methods, from the narrowest (one key) to the widest (many keys, grouped). For each
#: wider method: functions that compute the results of the narrower ones by calling it. The other direction
#: needs none: each method of `BaseRouter` calls the next narrower one.
EQUIVALENT_METHODS: tuple[dict[str, dict[str, Callable[..., Any]]], ...] = (
    {
        "get_host_for_key": {},
        "get_hosts_for_keys": {"get_host_for_key": lambda ask, key: ask([key])[0]},
        "group_keys": {
            "get_host_for_key": lambda ask, key: next(iter(ask([key]))),
            "get_hosts_for_keys": lambda ask, keys: _ungroup(ask(keys), keys),
        },
    },
    {
        "get_host_for_command": {},
        "get_hosts_for_command": {
            "get_host_for_command": lambda ask, command, args: _only(ask(command, args), command)
        },
    },
)
#: The functions that call `get_any_hosts`, of routers that do not go by keys.
VIA_ANY_HOSTS: dict[str, Callable[..., Any]] = {
    "get_host_for_key": lambda ask, key: _only(ask(), "the command")
}


def is_overridden(kind: type[Any], name: str, than: str) -> bool:
    """Whether a class takes the attribute `name` from a more derived class than the attribute `than`."""
    return _depth(kind, name) < _depth(kind, than)


def _depth(kind: type[Any], name: str) -> int:
    return next(depth for depth, base in enumerate(kind.__mro__) if name in vars(base))


def align_methods(kind: type[Any], base: type[Any]) -> None:
    """Make the equivalent methods of a new router class consistent, whichever of them it overrides.

    The method of the most derived class decides; if that class overrides several, the narrowest one, since
    wider methods are faster ways to the same result. Inherited methods that do not call it are replaced:
    wider ones by those of `base`, narrower ones by methods that call it.

    This happens once per class, so that it costs nothing at run time if nothing is overridden.

    Arguments:
        kind: the new class.
        base: `BaseRouter`.
    """
    if not kind.by_key and is_overridden(kind, "get_any_hosts", "get_host_for_key"):
        _delegate(kind, "get_any_hosts", VIA_ANY_HOSTS)
    for methods in EQUIVALENT_METHODS:
        depths = {name: _depth(kind, name) for name in methods}
        deciding = min(depths, key=depths.__getitem__)
        inherited = [name for name, depth in depths.items() if depth > depths[deciding]]
        narrower = {name: compute for name, compute in methods[deciding].items() if name in inherited}
        for name in inherited:
            if name not in narrower and getattr(kind, name) is not getattr(base, name):
                setattr(kind, name, getattr(base, name))
        if narrower:
            _delegate(kind, deciding, narrower)


class _Active(threading.local):
    """Routers whose deciding method is running in this thread, by `id`."""

    def __init__(self) -> None:
        self.routers: set[int] = set()


def _delegate(kind: type[Any], wide: str, narrower: Mapping[str, Callable[..., Any]]) -> None:
    """Let narrower methods call a wider one. If the wider one calls them, they are the inherited methods."""
    original = getattr(kind, wide)
    active = _Active()

    @wraps(original)
    def ask(self: Any, *args: Any) -> Any:
        if id(self) in active.routers:
            return original(self, *args)
        active.routers.add(id(self))
        try:
            return original(self, *args)
        finally:
            active.routers.discard(id(self))

    def delegating(name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(getattr(kind, name))
        def method(self: Any, *args: Any) -> Any:
            if id(self) in active.routers:
                return getattr(super(kind, self), name)(*args)
            return compute(lambda *words: ask(self, *words), *args)

        return method

    setattr(kind, wide, ask)
    for name, compute in narrower.items():
        setattr(kind, name, delegating(name, compute))
