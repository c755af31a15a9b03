"""The place in a site's own code that is running, for messages."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import asgiref.sync
import django

__all__ = ["Place", "current_place"]

#: How much a frame says of where a site's code is: its own code, another package's, the standard library.
OWN, PACKAGE, LIBRARY = range(3)

# asgiref runs views and queries in threads for Django.
FRAMEWORK = tuple(
    os.path.join(Path(module).parent, "") for module in (django.__file__, asgiref.__file__, __file__)
)
STANDARD_LIBRARY = os.path.join(Path(os.__file__).parent, "")
PACKAGES = {"site-packages", "dist-packages"}


class Place(NamedTuple):
    """A line of code.

    Attributes:
        file: its path.
        line: its number.
        function: the function that it is in; ``<module>`` outside of functions.
    """

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


def current_place() -> Place:
    """The innermost line that belongs neither to Django and pindb nor to a package or the standard library.

    Where there is none, the innermost one of a package, else of the standard library. In a thread that a
    coroutine waits for, the coroutine's lines come before those that the thread was started from.
    """
    found: dict[int, FrameType] = {}
    for frame in _frames(sys._getframe(1)):
        rank = _rank(frame.f_code.co_filename)
        if rank is not None:
            found.setdefault(rank, frame)
        if rank == OWN:
            break
    frame = found[min(found)] if found else sys._getframe(1)
    return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


@lru_cache(maxsize=1024)
def _rank(file: str) -> int | None:
    """What kind of code a file holds; None: Django's or pindb's."""
    if file.startswith(FRAMEWORK):
        return None
    if not PACKAGES.isdisjoint(Path(file).parts):
        return PACKAGE
    return LIBRARY if file.startswith((STANDARD_LIBRARY, "<frozen ")) else OWN


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames that are running, from the inside to the outside, with those of coroutines that wait."""
    while frame is not None:
        yield frame
        if frame.f_code.co_filename == asgiref.sync.__file__:
            yield from _waiting_frames(frame.f_locals)
        frame = frame.f_back


def _waiting_frames(names: dict[str, Any]) -> Iterator[FrameType]:
    """The frames of the coroutines that wait for a call of ``sync_to_async``.

    Arguments:
        names: the local variables of the frame that runs the call in its thread.
    """
    call, loop = names.get("self"), names.get("loop")
    if not isinstance(call, asgiref.sync.SyncToAsync) or not isinstance(loop, asyncio.AbstractEventLoop):
        return
    for task in asyncio.all_tasks(loop):
        frames = list(_awaiting(task.get_coro()))
        # The innermost coroutine is that of the call.
        if any(frame.f_locals.get("self") is call for frame in frames[-1:]):
            yield from reversed(frames)
            return


def _awaiting(coroutine: Any) -> Iterator[FrameType]:
    """The frames of a coroutine that is suspended, from the outside to the inside."""
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        yield frame
        coroutine = coroutine.cr_await
