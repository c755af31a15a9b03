"""Tracebacks of swallowed errors: dropped, so that they keep no frames alive."""

from __future__ import annotations

import sys

__all__ = ["drop_tracebacks"]


def drop_tracebacks(error: BaseException) -> None:
    """Drop the tracebacks of an error. Call it in the ``except`` clause that swallows the error.

    A database error of Django and its traceback are a reference cycle, which keeps the frames of all callers
    alive, with their variables. Among these may be suspended iterators over server-side cursors. The garbage
    collector would close them at any moment, possibly while psycopg holds the lock that closing takes.

    An exception that is being handled further out keeps its traceback, though it is the context of `error`.
    """
    running = set()
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        running.add(frame)
    seen = {error}
    pending = [error]
    while pending:
        one = pending.pop()
        one.__traceback__ = None
        for other in (one.__cause__, one.__context__):
            if other is None or other in seen or other.__traceback__ is None:
                continue
            # The first frame of a traceback is the one that handles the error.
            if other.__traceback__.tb_frame not in running:
                seen.add(other)
                pending.append(other)
