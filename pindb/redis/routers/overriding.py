"""Methods of routers that answer the same question: where a subclass overrides one, the others follow it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from pindb.redis.exceptions import UnroutableCommand

__all__ = ["is_overridden", "let_follow"]


def _only(hosts: Sequence[int], command: Any) -> int:
    """The one host of a command."""
    if len(hosts) != 1:
        raise UnroutableCommand(
            f"{command} goes to {len(hosts)} hosts, by the router. Send it with a cluster that "
            "create_cluster() made, or to hosts that you name, with cluster.fanout(hosts=[...])."
        )
    return hosts[0]


def _spread(groups: Mapping[int, Sequence[int]], keys: Sequence[Any]) -> list[int]:
    hosts = [0] * len(keys)
    for host_id, places in groups.items():
        for place in places:
            hosts[place] = host_id
    return hosts


#: Methods that ask the same, from the one for least to the one for most, with what the results of the latter
#: mean for those before it. The methods of `BaseRouter` ask the one before them.
QUESTIONS: tuple[dict[str, dict[str, Callable[..., Any]]], ...] = (
    {
        "get_host_for_key": {},
        "get_hosts_for_keys": {"get_host_for_key": lambda ask, key: ask([key])[0]},
        "group_keys": {
            "get_host_for_key": lambda ask, key: next(iter(ask([key]))),
            "get_hosts_for_keys": lambda ask, keys: _spread(ask(keys), keys),
        },
    },
    {
        "get_host_for_command": {},
        "get_hosts_for_command": {
            "get_host_for_command": lambda ask, command, args: _only(ask(command, args), command)
        },
    },
)
#: The same for routers that do not go by keys.
ANY_HOSTS: dict[str, Callable[..., Any]] = {"get_host_for_key": lambda ask, key: _only(ask(), "The command")}


def is_overridden(kind: type[Any], name: str, than: str) -> bool:
    """Whether a class has the attribute `name` from a class further down than that of `than`."""
    return _depth(kind, name) < _depth(kind, than)


def _depth(kind: type[Any], name: str) -> int:
    return next(depth for depth, base in enumerate(kind.__mro__) if name in vars(base))


def let_follow(kind: type[Any], base: type[Any]) -> None:
    """Let the methods of a new class of routers agree, whichever of them it overrides.

    The method that is overridden furthest down counts; of several there the one for least, since the others
    are faster ways to the same. What is inherited from above does not know of it and is replaced: by the
    methods of `base`, which ask the one for less, or by what asks the one for more.

    Done once for a class, so that it costs nothing where nothing is overridden.
    """
    if not kind.by_key and is_overridden(kind, "get_any_hosts", "get_host_for_key"):
        _follow_wider(kind, "get_any_hosts", ANY_HOSTS)
    for question in QUESTIONS:
        depths = {name: _depth(kind, name) for name in question}
        counts = min(depths, key=depths.__getitem__)
        above = [name for name, depth in depths.items() if depth > depths[counts]]
        narrower = {name: how for name, how in question[counts].items() if name in above}
        for name in above:
            if name not in narrower and getattr(kind, name) is not getattr(base, name):
                setattr(kind, name, getattr(base, name))
        if narrower:
            _follow_wider(kind, counts, narrower)


class _Asking(threading.local):
    """The routers that a thread is asking, by `id`."""

    def __init__(self) -> None:
        self.routers: set[int] = set()


def _follow_wider(kind: type[Any], wide: str, narrower: Mapping[str, Callable[..., Any]]) -> None:
    """Let methods for less ask the one for more, which itself may ask them for what they would say."""
    answer = getattr(kind, wide)
    asking = _Asking()

    @wraps(answer)
    def ask(self: Any, *args: Any) -> Any:
        if id(self) in asking.routers:
            return answer(self, *args)
        asking.routers.add(id(self))
        try:
            return answer(self, *args)
        finally:
            asking.routers.discard(id(self))

    def following(name: str, how: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(getattr(kind, name))
        def method(self: Any, *args: Any) -> Any:
            if id(self) in asking.routers:
                return getattr(super(kind, self), name)(*args)
            return how(lambda *words: ask(self, *words), *args)

        return method

    setattr(kind, wide, ask)
    for name, how in narrower.items():
        setattr(kind, name, following(name, how))
