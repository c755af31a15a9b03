"""Processes beside this one, which answer lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.peers import ROOT, Peer

__all__ = ["answer", "started"]


@contextmanager
def started(module: str) -> Iterator[Peer]:
    """A process that runs ``python -m module`` with this Python, until the context ends."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, encoding="utf-8") as process:
        try:
            # It ends when its input does, which leaving the context closes.
            yield Peer(process)
        except BaseException:
            process.kill()
            raise


def answer(**jobs: Callable[..., Any]) -> None:
    """Do what the other side of the pipe asks for: a job by its name, with arguments."""
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(jobs[request.pop("job")](**request)), flush=True)
