"""Work in threads, whose errors are the test's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["again_and_again", "in_threads", "meanwhile", "switching_often"]

T = TypeVar("T")


def in_threads(number: int, work: Callable[[int], T]) -> list[T]:
    """What work returns in so many threads, which begin together; each is given its number."""
    start = threading.Barrier(number)

    def run(place: int) -> T:
        start.wait(10)
        return work(place)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


@contextmanager
def meanwhile(work: Callable[..., Any], *arguments: Any) -> Iterator[None]:
    """A block while which another thread works; it ends when the work is done."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work, *arguments)
        yield
        done.result()


@contextmanager
def again_and_again(work: Callable[[], Any]) -> Iterator[None]:
    """A block while which another thread does the same work over and over."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.is_set():
            work()

    with meanwhile(run):
        try:
            yield
        finally:
            is_over.set()


@contextmanager
def switching_often() -> Iterator[None]:
    """A block in which threads take turns much faster than usual."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
