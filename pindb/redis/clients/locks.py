"""redis-py's lock for clients of many hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.lock import Lock

__all__ = ["RoutedLock"]


class _Script:
    """Stand-in for a script that redis-py has registered with a server: sends its text with every call.

    Arguments:
        text: the Lua code.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self, keys: Sequence[Any], args: Sequence[Any], client: Any) -> Any:
        return client.eval(self._text, len(keys), *keys, *args)


class RoutedLock(Lock):
    """Lock whose commands each go to the current host of its key, so that it works when hosts go down."""

    lua_release: Any = _Script(Lock.LUA_RELEASE_SCRIPT)
    lua_extend: Any = _Script(Lock.LUA_EXTEND_SCRIPT)
    lua_reacquire: Any = _Script(Lock.LUA_REACQUIRE_SCRIPT)

    def register_scripts(self) -> None:
        """Do nothing: scripts are not registered, since the host of the key may change."""
