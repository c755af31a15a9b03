"""redis-py's lock on a client that knows many hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.lock import Lock

__all__ = ["RoutedLock"]


class _Script:
    """Stands for a script that redis-py has registered with a server: it is sent as it is.

    Arguments:
        text: its Lua.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self, keys: Sequence[Any], args: Sequence[Any], client: Any) -> Any:
        return client.eval(self._text, len(keys), *keys, *args)


class RoutedLock(Lock):
    """A lock whose every command goes to the host that has its key then, also while that host is down."""

    lua_release: Any = _Script(Lock.LUA_RELEASE_SCRIPT)
    lua_extend: Any = _Script(Lock.LUA_EXTEND_SCRIPT)
    lua_reacquire: Any = _Script(Lock.LUA_REACQUIRE_SCRIPT)

    def register_scripts(self) -> None:
        """Nothing: no one server has all keys."""
