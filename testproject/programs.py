"""Runs the site's own commands, as processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "manage", "prepare"]

#: The checkout.
ROOT = Path(__file__).resolve().parent.parent


def manage(*arguments: str) -> list[str]:
    """The command line of ``manage.py`` with `arguments`."""
    return [sys.executable, "-m", "testproject.manage", *arguments]


def prepare(environment: dict[str, str], user: str, password: str) -> None:
    """Fill the site's database.

    Arguments:
        environment: the whole environment, with the databases' addresses.
        user, password: who may log in.

    Raises:
        RuntimeError: that failed.
    """
    done = subprocess.run(
        manage("prepare", user, password),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the site's database could not be prepared:\n{done.stdout[-3000:]}")
