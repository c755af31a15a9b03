"""Programs that start servers, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from pindb.testing.processes import wait_for

__all__ = ["run_to_its_end"]


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
