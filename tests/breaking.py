"""Programs that read while their connections break, with either driver: ``tests/routing/test_cursors.py``.

A program prints what the test is to do to the servers, and waits until it is done. `tests.run_breaking` runs
them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.db import Error, InterfaceError, OperationalError, connections, transaction

import pindb
from tests.testapp.models import Author

MASTER = "default"
REPLICAS = ("default-0", "default-1")
NAMES = [f"{number:02}" for number in range(20)]


def do(what: str) -> None:
    """Let the test do something to the servers."""
    print(what, flush=True)
    sys.stdin.readline()


def authors() -> Any:
    return Author.objects.order_by("name")


def read() -> str:
    """Where a new unit of work reads."""
    with pindb.pinning_context():
        rows = list(authors())
        assert [row.name for row in rows] == NAMES
        used: str = rows[0]._state.db
        return used


@contextlib.contextmanager
def broken() -> Iterator[None]:
    """The block fails with the error of a lost connection."""
    try:
        yield
    except (InterfaceError, OperationalError):
        return
    raise AssertionError("nothing broke")


def cut_off(used: str, iterate: Callable[[], Iterator[Any]] | None = None) -> Iterator[Any]:
    """An iterator that has returned a row of an alias, whose connection is gone since."""
    pid = backend(used)
    iterator = iterate() if iterate else authors().iterator(chunk_size=2)
    next(iterator)
    do(f"terminate {used} {pid}")
    return iterator


def break_in_the_middle(iterate: Callable[[], Iterator[Any]]) -> None:
    used = pindb.get_replica()
    iterator = cut_off(used, iterate)
    with broken():
        list(iterator)
    # The same unit of work goes on, and so do others.
    assert [row.name for row in authors()] == NAMES
    assert {read() for _ in range(4)} == {REPLICAS[1 - REPLICAS.index(used)]}


# ---- programs ----------------------------------------------------------------------------------


def objects() -> None:
    break_in_the_middle(lambda: authors().iterator(chunk_size=2))


def values() -> None:
    break_in_the_middle(lambda: authors().values_list("name", flat=True).iterator(chunk_size=2))


def prefetched() -> None:
    break_in_the_middle(lambda: authors().prefetch_related("books").iterator(chunk_size=2))


def cursor_iterated() -> None:
    def rows() -> Iterator[Any]:
        with connections[pindb.get_replica()].chunked_cursor() as cursor:
            cursor.execute("SELECT generate_series(1, 100000)")
            yield from cursor

    break_in_the_middle(rows)


def in_a_manual_transaction() -> None:
    """The next statement is not committed by itself, on a new connection."""
    transaction.set_autocommit(False)
    authors().using(MASTER).filter(name=NAMES[0]).update(name="lost")
    connection = transaction.get_connection(MASTER)
    do(f"terminate {MASTER} {backend(MASTER)}")
    for _ in range(2):
        try:
            Author.objects.using(MASTER).create(name="half")
        except Error:
            continue
        raise AssertionError("half of a transaction was written")
    connection.close()
    assert [row.name for row in authors().using(MASTER)] == NAMES


def on_the_master() -> None:
    with pindb.master(MASTER):
        iterator = cut_off(MASTER)
        with broken():
            list(iterator)
        for _ in range(3):
            assert [row.name for row in authors()] == NAMES


def in_a_transaction_on_the_master() -> None:
    with broken(), transaction.atomic():
        list(cut_off(MASTER))
    with transaction.atomic():
        assert [row.name for row in authors()] == NAMES


def nested() -> None:
    used = pindb.get_replica()
    outer = authors().iterator(chunk_size=2)
    next(outer)
    inner = authors().iterator(chunk_size=2)
    next(inner)
    do(f"terminate {used} {backend(used)}")
    with broken():
        list(inner)
    # The unit goes on elsewhere, or on a new connection to the same server.
    assert [row.name for row in authors().iterator(chunk_size=2)] == NAMES
    with broken():
        list(outer)
    assert [row.name for row in authors().iterator(chunk_size=2)] == NAMES
    assert [read() for _ in range(2)] == [REPLICAS[1 - REPLICAS.index(used)]] * 2


def left_alone() -> None:
    """An iterator that nobody reads to its end closes without an error, and the next reads go on."""
    cut_off(pindb.get_replica()).close()  # type: ignore[attr-defined]
    # Nothing has failed: the server is used on, on a new connection.
    assert [row.name for row in authors()] == NAMES
    assert {read() for _ in range(4)} == set(REPLICAS)


def asynchronous() -> None:
    async def run() -> None:
        used = await sync_to_async(pindb.get_replica)()
        pid = await sync_to_async(backend)(used)
        iterator = authors().aiterator(chunk_size=2)
        await anext(iterator)
        await sync_to_async(do)(f"terminate {used} {pid}")
        with broken():
            [row async for row in iterator]
        assert [row.name async for row in authors()] == NAMES

    asyncio.run(run())


def closed_by_hand() -> None:
    for alias in (MASTER, *REPLICAS):
        connection: Any = connections[alias]
        for _ in range(2):
            connection.ensure_connection()
            connection.connection.close()
            assert [row.name for row in authors().using(alias)] == NAMES
    for _ in range(4):
        connection = connections[pindb.get_replica()]
        assert [row.name for row in authors()] == NAMES
        connection.connection.close()
        # In the same unit of work, and in the next ones.
        assert [row.name for row in authors()] == NAMES
        connection.connection.close()
        assert {read(), read()} == set(REPLICAS)
    with pindb.master(MASTER):
        connections[MASTER].connection.close()
        with transaction.atomic():
            assert [row.name for row in authors()] == NAMES


def raw_cursor() -> None:
    used = pindb.get_replica()
    connection: Any = connections[used]
    assert [row.name for row in authors()] == NAMES
    cursor = connection.connection.cursor()
    pid = backend(used)
    do(f"terminate {used} {pid}")
    with contextlib.suppress(connection.Database.Error):
        cursor.execute("SELECT 1")
    # pindb has not seen that, and the server answers on a new connection.
    assert [row.name for row in authors()] == NAMES
    assert {read() for _ in range(4)} == set(REPLICAS)


def connection_closed_below_a_cursor() -> None:
    """What fails then says nothing about the server."""
    used = pindb.get_replica()
    iterator = authors().iterator(chunk_size=2)
    next(iterator)
    connections[used].close()
    with broken():
        list(iterator)
    with connections[used].cursor() as cursor:
        connections[used].close()
        with contextlib.suppress(Exception):
            cursor.execute("SELECT 1")
    assert {read() for _ in range(2)} == set(REPLICAS)


def undisturbed() -> None:
    assert [row.name for row in authors().iterator(chunk_size=3)] == NAMES
    assert list(authors().values_list("name", flat=True).iterator(chunk_size=3)) == NAMES
    raw = authors().model.objects.raw("SELECT * FROM testapp_author ORDER BY name")
    assert [row.name for row in raw.iterator()] == NAMES
    assert [row.name for row in authors().prefetch_related("books").iterator(chunk_size=3)] == NAMES
    for _ in range(2):
        with connections[pindb.get_replica()].chunked_cursor() as cursor:
            cursor.execute("SELECT name FROM testapp_author ORDER BY name")
            assert cursor.fetchone() == (NAMES[0],)
            assert cursor.fetchmany(2) == [(NAMES[1],), (NAMES[2],)]
            assert [name for (name,) in cursor] == NAMES[3:]
            assert cursor.fetchall() == []
    assert {read() for _ in range(2)} == set(REPLICAS)


@contextlib.contextmanager
def collecting() -> Iterator[None]:
    """In the block, the garbage collector runs whenever psycopg holds the lock of a connection."""
    import psycopg

    wait = psycopg.Connection.wait

    def collect_and_wait(self: Any, *args: Any, **kwargs: Any) -> Any:
        gc.collect()
        return wait(self, *args, **kwargs)

    psycopg.Connection.wait = collect_and_wait  # type: ignore[method-assign]
    yield
    psycopg.Connection.wait = wait  # type: ignore[method-assign]


def collected() -> None:
    gc.disable()
    # What is there by now is not looked at again and again.
    gc.freeze()
    for _ in REPLICAS:
        used = pindb.get_replica()
        do(f"terminate {used} {backend(used)}")
        for _ in REPLICAS:
            # One of them meets the dead connection, reads a row elsewhere, and leaves.
            with pindb.pinning_context():
                next(authors().iterator(chunk_size=5))
        with collecting():
            for _ in REPLICAS:
                with pindb.pinning_context():
                    assert [row.name for row in authors().iterator(chunk_size=5)] == NAMES


def collected_by_the_hand_of_the_site() -> None:
    """The site's own cycles keep iterators, too, until the garbage collector comes by."""

    def forget_iterator() -> None:
        cycle: list[Any] = [authors().using(MASTER).iterator(chunk_size=5)]
        cycle.append(cycle)
        next(cycle[0])

    gc.disable()
    gc.freeze()
    with collecting():
        for _ in range(3):
            forget_iterator()
            assert [row.name for row in authors().using(MASTER).iterator(chunk_size=5)] == NAMES
        next(iter(authors().using(MASTER).iterator(chunk_size=5)))
        with connections[MASTER].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_cursors")
            assert cursor.fetchone() == (0,)


def backend(alias: str) -> int:
    """The process on the server that serves this thread's connection."""
    with connections[alias].cursor() as cursor:
        cursor.execute("/* */ SELECT pg_backend_pid()")
        pid: int = cursor.fetchone()[0]
        return pid
