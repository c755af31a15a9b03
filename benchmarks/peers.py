"""Peers that cannot live beside pindb: rb needs a redis-py of its time.

They get an environment of their own, ``.venv-peers``, which is made when a benchmark first needs it. There
they run in a process of their own, which does rounds when it is asked to.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Peer", "Unavailable", "python", "started"]

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv-peers"
# hiredis 2 does not work with this redis-py. Where hiredis 1 has no wheel, pip compiles it.
REQUIREMENTS = ("rb==1.11.0", "redis==3.5.3", "hiredis<2")


class Unavailable(Exception):
    """The environment of the peers cannot be made here."""


def python() -> Path:
    """The Python of the peers' environment, which is made if it is missing, half made, or out of date.

    It is of this program's version, so that peers are compared on the same Python.

    Raises:
        Unavailable: it cannot be made, for example because packages cannot be downloaded.
    """
    found = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "installed"
    wanted = "\n".join((sys.version, str(ENVIRONMENT), *REQUIREMENTS))
    # Two benchmarks that start at once wait for each other.
    with (ROOT / ".venv-peers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text() == wanted):
            print(f"Installing {REQUIREMENTS[0]} into {ENVIRONMENT.name} (once) ...", file=sys.stderr)
            _run(sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT))
            _run(str(found), "-m", "pip", "install", "--quiet", *REQUIREMENTS)
            stamp.write_text(wanted)
    return found


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        raise Unavailable(f"status {done.returncode} of: {' '.join(command)}")


class Peer:
    """A process in the peers' environment that answers requests: a line of JSON in, a line of JSON out.

    Arguments:
        process: what was started, with pipes for its input and its output.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **request: Any) -> Any:
        """Send a request and return the answer.

        Raises:
            RuntimeError: the process ended. What it wrote to its standard error says why.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps(request), file=stdin, flush=True)
        answer = stdout.readline()
        if not answer:
            raise RuntimeError(f"The peer's process has ended: {self._process.args!r}")
        return json.loads(answer)


@contextmanager
def started(module: str) -> Iterator[Peer]:
    """A process that runs ``python -m module`` in the peers' environment, until the context ends.

    Raises:
        Unavailable: the environment cannot be made.
    """
    command = [str(python()), "-m", module]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, encoding="utf-8") as process:
        # It ends when its input does, which leaving the context closes.
        yield Peer(process)
