"""Consistency of routers' methods: if a subclass overrides one method, equivalent methods call it.

For example, a router that overrides `get_host_for_key` must have the same answers from `group_keys`, and the
other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial, wraps
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


def _ungroup(groups: Mapping[int, Sequence[int]]) -> list[int]:
    return [host_id for _, host_id in sorted((i, host_id) for host_id in groups for i in groups[host_id])]


#: Families of equivalent methods, from the narrowest (one key) to the widest (many keys, grouped).
FAMILIES: tuple[tuple[str, ...], ...] = (
    ("get_host_for_key", "get_hosts_for_keys", "group_keys"),
    ("get_host_for_command", "get_hosts_for_command"),
)
#: For each method with a wider one: a function that computes its result by calling that, `ask`. The other
#: direction needs none: each method of `BaseRouter` calls the next narrower one.
COMPUTE: dict[str, Callable[..., Any]] = {
    "get_host_for_key": lambda ask, key: ask([key])[0],
    "get_hosts_for_keys": lambda ask, keys: _ungroup(ask(keys)),
    "get_host_for_command": lambda ask, command, args: _only(ask(command, args), command),
}

#: The routers whose deciding method is running, each with this method.
_running: ContextVar[frozenset[tuple[int, Any]]] = ContextVar("_running", default=frozenset())


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
        compute = {"get_host_for_key": lambda ask, key: _only(ask(), "the command")}
        _delegate(kind, "get_any_hosts", compute)
    for family in FAMILIES:
        depths = [_depth(kind, name) for name in family]
        deciding = depths.index(min(depths))
        for name, depth in zip(family[deciding + 1 :], depths[deciding + 1 :], strict=True):
            if depth > depths[deciding]:
                setattr(kind, name, getattr(base, name))
        if deciding:
            _delegate(kind, family[deciding], {name: COMPUTE[name] for name in reversed(family[:deciding])})


def _delegate(kind: type[Any], deciding: str, narrower: Mapping[str, Callable[..., Any]]) -> None:
    """Let narrower methods call the deciding one. If that calls them, they are the inherited methods."""
    original = getattr(kind, deciding)

    @wraps(original)
    def decide(self: Any, *args: Any) -> Any:
        token = _running.set(_running.get() | {(id(self), decide)})
        try:
            return original(self, *args)
        finally:
            _running.reset(token)

    def delegating(name: str, ask: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(getattr(kind, name))
        def method(self: Any, *args: Any) -> Any:
            if (id(self), decide) in _running.get():
                return getattr(super(kind, self), name)(*args)
            return narrower[name](partial(ask, self), *args)

        return method

    ask: Callable[..., Any] = decide
    setattr(kind, deciding, ask)
    for name in narrower:
        ask = delegating(name, ask)
        setattr(kind, name, ask)
