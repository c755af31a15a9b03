"""Python in other processes: programs, and forked children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pindb.testing.processes import wait_for

__all__ = ["ROOT", "end_of", "output_of", "run_command", "run_python", "run_to_its_end", "start_child"]

#: The checkout.
ROOT = Path(__file__).parents[1]


def run_command(
    *command: object, cwd: Path | str = ROOT, env: Mapping[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a program, and return how it ended and what it printed.

    Arguments:
        command: its words.
        cwd: where it runs; in the checkout.
        env: its environment; that of this process.
        timeout: how long it may take, in seconds.
    """
    words = [str(word) for word in command]
    options: dict[str, Any] = {"capture_output": True, "text": True, "encoding": "utf-8", "check": False}
    return subprocess.run(words, cwd=cwd, env=env, timeout=timeout, **options)


def run_python(
    *arguments: object, cwd: Path = ROOT, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python as `run_command` does, with `environment` beside what this process has."""
    env = {**os.environ, **environment}
    return run_command(sys.executable, *arguments, cwd=cwd, env=env, timeout=timeout)


def output_of(*arguments: object, **options: Any) -> str:
    """Run Python as `run_python` does, and return what it printed; it must not fail."""
    done = run_python(*arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_to_its_end(program: str, end: str) -> list[int]:
    """Run a program that starts servers, and wait until their folder is gone.

    Arguments:
        program: Python, with `end` as its argument. It prints the folder, and the servers' ports.
        end: the name of the signal that ends it; any other word where it ends by itself.

    Returns:
        The ports.

    Raises:
        TimeoutError: the folder is still there.
    """
    running = subprocess.Popen(
        [sys.executable, "-c", program, end],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert running.stdout is not None
    folder, *ports = running.stdout.readline().split()
    if end.startswith("SIG"):
        os.killpg(running.pid, getattr(signal, end))
    running.wait(20)
    running.stdout.close()
    wait_for(lambda: not Path(folder).exists(), "the folder to be removed", 20)
    return [int(port) for port in ports]


def start_child(work: Callable[[], object], seconds: int = 20) -> int:
    """Do some work in a forked process, which ends after so many seconds at the latest."""
    with warnings.catch_warnings():
        # That there are threads is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def end_of(pid: int) -> int:
    """The exit status of a child; negative where it was stopped by a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
