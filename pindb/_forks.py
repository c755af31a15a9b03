"""Fork safety: locks and connection pools that a forked process must not inherit."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol
from weakref import WeakValueDictionary

__all__ = ["Lock", "watch_forks"]


class Watching(Protocol):
    """An object with a method to call after a fork."""

    def _after_fork(self) -> None:
        """Reset the object in a process that was just forked. No other thread is running."""


_watching: WeakValueDictionary[int, Watching] = WeakValueDictionary()


def watch_forks(owner: Watching) -> None:
    """Call `owner._after_fork()` in every process that is forked from now on. Keeps no reference."""
    _watching[id(owner)] = owner


class Lock:
    """A lock for ``with lock.get():`` that is replaced in a forked process.

    A fork copies a held lock, but not the thread that holds it, so nothing would ever release the copy.

    Arguments:
        make: the kind of lock: `threading.Lock` or `threading.RLock`.
    """

    __slots__ = ("__weakref__", "_lock", "_make")

    def __init__(self, make: Callable[[], AbstractContextManager[Any]] = threading.Lock) -> None:
        self._make = make
        self._lock = make()
        watch_forks(self)

    def get(self) -> AbstractContextManager[Any]:
        """Return this process's lock. A thread that forks while it holds the lock releases it in both."""
        return self._lock

    def _after_fork(self) -> None:
        self._lock = self._make()


def _tell_all() -> None:
    for owner in list(_watching.values()):
        owner._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell_all)
