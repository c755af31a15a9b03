"""Call sites: the line of a site's own code that is running now, for messages."""

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

__all__ = ["CallSite", "current_call_site"]

#: Ranks of a frame's code, the most useful first: the site's own, another package's, the standard library's.
OWN, PACKAGE, LIBRARY = range(3)

# asgiref is included, since it runs views and queries in threads for Django.
FRAMEWORK = tuple(
    os.path.join(Path(module).parent, "") for module in (django.__file__, asgiref.__file__, __file__)
)
STANDARD_LIBRARY = os.path.join(Path(os.__file__).parent, "")
PACKAGES = {"site-packages", "dist-packages"}


class CallSite(NamedTuple):
    """A line of code.

    Attributes:
        file: the path of its file.
        line: the number of the line.
        function: the function around the line; ``<module>`` outside of functions.
    """

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


def current_call_site() -> CallSite:
    """Return the innermost line of the site's own code: not of a package or the standard library.

    Without such a line, return the innermost line of a package other than Django and pindb, else of the
    standard library. In a thread that a coroutine waits for, lines of the coroutine count before lines that
    started the thread.
    """
    found: dict[int, FrameType] = {}
    for frame in _frames(sys._getframe(1)):
        rank = _rank(frame.f_code.co_filename)
        if rank is not None:
            found.setdefault(rank, frame)
        if rank == OWN:
            break
    frame = found[min(found)] if found else sys._getframe(1)
    return CallSite(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


@lru_cache(maxsize=1024)
def _rank(file: str) -> int | None:
    """Return the rank of a file's code; None for Django's and pindb's own."""
    if file.startswith(FRAMEWORK):
        return None
    if not PACKAGES.isdisjoint(Path(file).parts):
        return PACKAGE
    return LIBRARY if file.startswith((STANDARD_LIBRARY, "<frozen ")) else OWN


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the running frames from the innermost outwards, with those of coroutines that wait for them."""
    while frame is not None:
        yield frame
        if frame.f_code.co_filename == asgiref.sync.__file__:
            yield from _waiting_frames(frame.f_locals)
        frame = frame.f_back


def _waiting_frames(names: dict[str, Any]) -> Iterator[FrameType]:
    """Yield the frames of the coroutines that wait for a call of ``sync_to_async``.

    Arguments:
        names: the local variables of the frame that runs the call in its thread.
    """
    call, loop = names.get("self"), names.get("loop")
    if not isinstance(call, asgiref.sync.SyncToAsync) or not isinstance(loop, asyncio.AbstractEventLoop):
        return
    for task in asyncio.all_tasks(loop):
        frames = list(_awaiting(task.get_coro()))
        # The innermost coroutine runs the call.
        if any(frame.f_locals.get("self") is call for frame in frames[-1:]):
            yield from reversed(frames)
            return


def _awaiting(coroutine: Any) -> Iterator[FrameType]:
    """Yield the frames of a suspended coroutine, from the outermost inwards."""
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        yield frame
        coroutine = coroutine.cr_await
