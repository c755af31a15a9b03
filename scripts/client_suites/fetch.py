"""The tests of rb and of Nydus, from their repositories: the archives on the package index have none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["REPOSITORIES", "Unavailable", "fetch_tests"]

REPOSITORIES = {"rb": "https://github.com/getsentry/rb", "nydus": "https://github.com/disqus/nydus"}


class Unavailable(Exception):
    """The tests could not be had."""


def fetch_tests(source: str, folder: Path) -> Path:
    """Put the folder ``tests`` of a project into `folder`, and return its path.

    Arguments:
        source: the project's checkout, or the URL or path of its git repository.
        folder: an empty folder.

    Raises:
        Unavailable: there is no such repository, or it has no tests.
    """
    checkout = Path(source)
    if not (checkout / "tests").is_dir():
        checkout = folder / "repository"
        _clone(source, checkout)
    if not (checkout / "tests").is_dir():
        raise Unavailable(f"{source} has no folder tests. Give --source the project's repository.")
    # Without the project's own package beside it, which would be imported in place of pindb.
    return Path(shutil.copytree(checkout / "tests", folder / "tests"))


def _clone(source: str, target: Path) -> None:
    git = shutil.which("git")
    if git is None:
        raise Unavailable("git is not installed. Install it, or give --source a checkout.")
    command = [git, "clone", "--quiet", "--depth", "1", source, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{source} could not be cloned; name another place with --source.\n{done.stderr}")
