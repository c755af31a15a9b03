"""Errors that are dealt with and go no further: what they keep alive is let go."""

from __future__ import annotations

import sys

__all__ = ["drop_tracebacks"]


def drop_tracebacks(error: BaseException) -> None:
    """Let go of the frames that an error keeps. Call it in the ``except`` clause that swallows the error.

    Django's database errors are part of a reference cycle with their traceback, which keeps the frames of all
    callers with their variables: suspended iterators over server-side cursors among them. The garbage
    collector would close these at any moment, also while psycopg holds the lock that closing them takes.

    What is being handled further out, and is the context of `error`, keeps its traceback.
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
            # A traceback begins with the frame that handles the error.
            if other.__traceback__.tb_frame not in running:
                seen.add(other)
                pending.append(other)
