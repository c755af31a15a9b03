"""The process of one strategy: a site, and the visitors who make requests of it.

Run as ``python -m benchmarks.consistency.worker``; see `benchmarks.consistency.processes`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from time import monotonic, perf_counter, sleep
from typing import Any

from django.conf import settings

from benchmarks.consistency.processes import answer
from benchmarks.consistency.schedule import Load, Step, make_schedule
from benchmarks.consistency.servers import MASTER
from benchmarks.consistency.site import configure
from pindb.testing.postgres import connect

__all__ = ["Record"]

#: Threads that serve requests, each with connections of its own.
THREADS = 4


@dataclass(frozen=True)
class Record:
    """A request that was made.

    Attributes:
        session: whose it was.
        writes: whether it wrote.
        due: when it was to be made, in seconds from the start.
        at: when the site's own statement in it began (`time.monotonic`).
        seconds: how long it took.
        query: how long that statement took, in seconds.
        rule: how long the strategy took for what it does, in seconds.
        alias: where it went.
        on_master: how many statements went to the master.
        questions: how many questions for positions went to replicas.
        behind: how many of the session's own writes a read did not see; 0 is right.
        lsn: where the master's log was just after a write; 0 for a read.
    """

    session: int
    writes: bool
    due: float
    at: float
    seconds: float
    query: float
    rule: float
    alias: str
    on_master: int
    questions: int
    behind: int
    lsn: int


class Visitors:
    """All sessions of a strategy, and the threads that serve them.

    Arguments:
        strategy: its name.
        databases: ``DATABASES``.
        first_key: the key of the first session's row; the others follow.
        load: how much they do.
    """

    def __init__(
        self, strategy: str, databases: dict[str, dict[str, Any]], first_key: int, load: Load
    ) -> None:
        from django.core.handlers.wsgi import WSGIHandler
        from django.db import router

        from benchmarks.consistency.sessions import Session
        from benchmarks.consistency.tally import count_statements

        self.strategy = strategy
        self.databases = databases
        self.application = WSGIHandler()
        # After everything else that stands around statements, which comes with the middleware and the router.
        assert router.routers
        count_statements()
        self.sessions = [Session(first_key + number) for number in range(load.sessions)]
        self.steps: Iterator[Step] = iter(make_schedule(load))
        self.taking = threading.Lock()
        self.records: list[Record] = []
        self.errors: list[BaseException] = []

    def run(self, start: float) -> None:
        """Make all requests, when they are due after `start` (`time.monotonic`)."""
        threads = [threading.Thread(target=self._serve, args=(start,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _serve(self, start: float) -> None:
        try:
            with connect(self.databases[MASTER]) as log:
                while not self.errors:
                    with self.taking:
                        step = next(self.steps, None)
                    if step is None:
                        return
                    sleep(max(0, start + step.due - monotonic()))
                    with self.sessions[step.session].lock:
                        self.records.append(self._request(step, log))
        except BaseException as error:
            self.errors.append(error)
        finally:
            from django.db import connections

            connections.close_all()

    def _request(self, step: Step, log: Any) -> Record:
        from benchmarks.consistency.tally import tally

        session = self.sessions[step.session]
        environ = session.environ(step.writes)
        answers: list[tuple[str, list[tuple[str, str]]]] = []
        tally.clear()
        start = perf_counter()
        response = self.application(environ, lambda status, headers: answers.append((status, headers)))
        body = b"".join(response)
        response.close()
        seconds = perf_counter() - start
        status, headers = answers[0]
        if status != "200 OK":
            what = "write" if step.writes else "read"
            raise RuntimeError(f"{self.strategy}: a {what} was answered with {status}.") from tally.error
        session.take_cookies(headers)
        behind = lsn = 0
        if step.writes:
            session.number += 1
            # The commit's record is flushed by now. (The insert position may stand behind the header of a
            # page on which nothing stands yet, where no replica gets to.)
            lsn = int(log.execute("SELECT pg_current_wal_flush_lsn() - '0/0'").fetchone()[0])
        else:
            behind = session.number - int(body)
        return Record(
            step.session,
            step.writes,
            step.due,
            tally.at,
            seconds,
            tally.seconds,
            tally.rule,
            tally.alias,
            tally.on_master,
            tally.questions,
            behind,
            lsn,
        )


def main() -> None:
    prepared: list[Visitors] = []

    def prepare(
        strategy: str, databases: dict[str, dict[str, Any]], first_key: int, load: dict[str, Any]
    ) -> None:
        if not settings.configured:
            configure(strategy, databases)
        prepared[:] = [Visitors(strategy, databases, first_key, Load(**load))]

    def run(start: float) -> list[tuple[Any, ...]]:
        (visitors,) = prepared
        visitors.run(start)
        return [astuple(record) for record in visitors.records]

    answer(prepare=prepare, run=run)


if __name__ == "__main__":
    main()
