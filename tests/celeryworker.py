"""A Celery worker in a process of its own, and a Redis server as its broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pindb.testing.redis import TestSetup
from tests.processes import ROOT

__all__ = ["redis_broker", "result_of", "running_worker"]


@contextmanager
def redis_broker() -> Iterator[dict[str, Any]]:
    """The settings of a Celery app whose broker and results are on a Redis server that is started here."""
    with TestSetup(servers=1, databases_each=1, tcp=True) as setup:
        url = f"redis://127.0.0.1:{setup.hosts[0]['port']}/0"
        yield {"broker_url": url, "result_backend": url}


def result_of(sent: Any) -> Any:
    """What a task returned that was sent, when it has ended."""
    return sent.get(timeout=20, interval=0.02)


@contextmanager
def running_worker(app: str, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """One process that runs the tasks of the Celery app in the module `app`, one after the other.

    Arguments:
        app: the module.
        folder: where its log is written.
        environment: its environment variables, beside those of this process.
    """
    log = folder / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "--app", app, "worker"),
                *("--pool", "prefork", "--concurrency", "1", "--without-gossip", "--without-mingle"),
                *("--without-heartbeat", "--loglevel", "INFO"),
            ],
            cwd=ROOT,
            env={**os.environ, **environment, "PINDB_TEST_CELERY_WORKER": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while b" ready." not in log.read_bytes():
            assert worker.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        # Its own way to stop takes it seconds.
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(20)
