"""Tests of Django and other projects, from the sdists of the installed versions."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

__all__ = ["Unavailable", "cache_folder", "fetch_sdist", "fetch_tests"]


class Unavailable(Exception):
    """The package index does not give the sdist."""


def cache_folder() -> Path:
    """The folder where sdists are kept from run to run."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "django-pindb" / "django-suite"


def fetch_tests(cache: Path | None = None) -> Path:
    """Return the folder ``tests`` of the installed Django's sdist, downloaded at the first use.

    Arguments:
        cache: where sdists are kept; `cache_folder`.

    Raises:
        Unavailable: pip could not download it, or it is not of the installed version.
    """
    return fetch_sdist("Django", django.get_version(), cache or cache_folder()) / "tests"


def fetch_sdist(project: str, version: str, cache: Path) -> Path:
    """Return the folder of a project's unpacked sdist, downloaded at the first use.

    Arguments:
        project: its name on the package index.
        version: the version.
        cache: where sdists are kept.

    Raises:
        Unavailable: pip could not download it, or what is there is of another version.
    """
    unpacked = cache / f"{project.lower()}-{version}"
    if not unpacked.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            archive = _download(project, version, Path(temporary))
            source = _unpack(archive, Path(temporary) / "unpacked")
            # In one step, so that a run that is interrupted leaves nothing half done.
            source.rename(unpacked)
    found = _version_of(unpacked)
    if found != version:
        raise Unavailable(
            f"{unpacked} has {project} {found}, but {project} {version} is installed. Remove it."
        )
    return unpacked


def _download(project: str, version: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-binary", ":all:", "--no-deps", "--dest", str(folder), f"{project}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode or len(archives) != 1:
        raise Unavailable(f"pip could not download the sdist of {project} {version}:\n{done.stderr[-2000:]}")
    return archives[0]


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


def _version_of(source: Path) -> str:
    for line in (source / "PKG-INFO").read_text().splitlines():
        if line.startswith("Version: "):
            return line.removeprefix("Version: ")
    return "of no known version"
