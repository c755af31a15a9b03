"""What forked processes must not inherit: locks that other threads hold, and pools of connections."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol
from weakref import WeakValueDictionary

__all__ = ["Lock", "watch_forks"]


class Watching(Protocol):
    """What wants to know of forks."""

    def _after_fork(self) -> None:
        """This process was forked from another one. Nobody else is running."""


_watching: WeakValueDictionary[int, Watching] = WeakValueDictionary()


def watch_forks(owner: Watching) -> None:
    """Call `owner._after_fork()` in every process that is forked from this one, while there is the owner."""
    _watching[id(owner)] = owner


class Lock:
    """A lock for ``with lock.get():``, anew in a forked process.

    A fork copies locks as they are, and not the threads that hold them: nobody would ever release those.

    Arguments:
        make: makes it; `threading.Lock` or `threading.RLock`.
    """

    __slots__ = ("__weakref__", "_lock", "_make")

    def __init__(self, make: Callable[[], AbstractContextManager[Any]] = threading.Lock) -> None:
        self._make = make
        self._lock = make()
        watch_forks(self)

    def get(self) -> AbstractContextManager[Any]:
        """The lock of this process. Whoever forks while holding one releases that one, in both processes."""
        return self._lock

    def _after_fork(self) -> None:
        self._lock = self._make()


def _tell_all() -> None:
    for owner in list(_watching.values()):
        owner._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell_all)
