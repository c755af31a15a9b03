"""ns per query: ``db_for_read`` and ``db_for_write``, through Django's own ``ConnectionRouter``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from timeit import Timer

from django.contrib.auth.models import Group

from benchmarks.router.subjects import Subject, nothing, subjects
from benchmarks.timing import Candidate, Case

__all__ = ["cases"]

REFERENCE = "django-multidb-router"


def cases() -> list[Case]:
    """Queries in the middle of a request, and the first one of a request."""
    every = subjects()
    writers = [subject for subject in every if subject.writes]
    return [
        _case("read, unpinned", [_candidate(s, "db_for_read", s.reading or nothing) for s in every]),
        _case("first read of a request", [_first(s, "db_for_read", s.reading) for s in every]),
        _case("read, pinned", [_candidate(s, "db_for_read", s.pinned) for s in every]),
        _case("write, pinned", [_candidate(s, "db_for_write", s.pinned) for s in every]),
        _case("first write of a request", [_first(s, "db_for_write", s.writing) for s in writers]),
    ]


def _case(name: str, candidates: list[Candidate]) -> Case:
    return Case(name, "ns", REFERENCE, candidates)


def _candidate(subject: Subject, action: str, state: Callable[[], object]) -> Candidate:
    """A query in a request that is in `state`."""
    return Candidate(
        subject.name,
        _timer(subject, action, "route(model)", state).timeit,
        around=partial(_around, subject, state),
    )


def _first(subject: Subject, action: str, start: Callable[[], object] | None) -> Candidate:
    """The first query of a request: each iteration starts one, which is subtracted again."""
    if start is None:
        return _candidate(subject, action, nothing)
    return Candidate(
        subject.name,
        _timer(subject, action, "start(); route(model)", start).timeit,
        _timer(subject, action, "start()", start).timeit,
        partial(_around, subject, start),
    )


def _timer(subject: Subject, action: str, statement: str, start: Callable[[], object]) -> Timer:
    # Each timer compiles its statement anew, so candidates share no code that the interpreter specializes.
    names = {"router": subject.router, "model": Group, "start": start}
    return Timer(statement, f"route = router.{action}", globals=names)


@contextmanager
def _around(subject: Subject, state: Callable[[], object]) -> Iterator[None]:
    with subject.settings():
        state()
        yield
