"""The tutorial, followed to the letter: its files are saved and its commands run, on real servers."""

from __future__ import annotations

import doctest
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pindb.testing.processes import ServerFolder, free_port, wait_for
from tests.processes import ROOT
from tests.test_docs import blocks, is_like

PAGE = ROOT / "docs" / "tutorial" / "index.md"
ADDRESS = "http://127.0.0.1:8000/"

#: Commands that need not run: the environment is there, and pages are read until they are right.
SKIPPED = ("mkdir ", "python3 -m venv ", ". .venv/", "pip install ", "sleep ")

TIMEOUT = 20.0


class Newcomer:
    """Follows the page in a folder of their own."""

    def __init__(self, folder: Path, processes: ServerFolder) -> None:
        self.folder = folder
        self.prompt: dict[str, Any] = {}
        self._processes = processes
        self._port = free_port()
        self._address = f"http://127.0.0.1:{self._port}/"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        self._environment.pop("DJANGO_SETTINGS_MODULE", None)

    def save(self, code: str) -> None:
        """Save a block as the file that its first line names; settings are appended to the file."""
        name = re.match(r"# (\S+)\n", code)
        assert name is not None, code
        path = self.folder / name[1]
        with path.open("a" if path.name == "settings.py" else "w") as file:
            file.write(code)
        if self._processes.is_running("site"):
            # runserver would do so itself, a second later.
            self.serve()

    def type(self, text: str) -> None:
        """Type what stands at a Python prompt, and compare what is printed."""
        typed = doctest.DocTestParser().get_doctest(text, self.prompt, PAGE.name, str(PAGE), 0)
        typed.globs = self.prompt
        said: list[str] = []
        result = doctest.DocTestRunner().run(typed, out=said.append, clear_globs=False)
        assert not result.failed, "".join(said)

    def run(self, text: str) -> None:
        """Run the commands of a block, and compare what they print."""
        commands = [part.partition("\n")[::2] for part in re.split(r"^\$ ", text, flags=re.M)[1:]]
        commands = [(command, printed) for command, printed in commands if not command.startswith(SKIPPED)]
        if any(" -d " in command or "manage.py" in command for command, _ in commands):
            for command, printed in commands:
                self._run_once(command, printed)
        else:
            self._read(commands)

    def _run_once(self, command: str, printed: str) -> None:
        if command == "python manage.py runserver":
            self.serve()
            return
        found = self._output(command)
        if "..." in printed:
            assert is_like(printed, found)
        else:
            # Which of the replicas is read is chance.
            assert re.sub("default-[01]:", "default-N:", found) == re.sub(
                "default-[01]:", "default-N:", printed
            )

    def _read(self, commands: list[tuple[str, str]]) -> None:
        """Run commands until they print what the page says: replicas take turns, and lag for a moment."""
        expected = [printed for _, printed in commands]
        deadline = time.monotonic() + TIMEOUT
        while (found := [self._output(command) for command, _ in commands]) != expected:
            assert time.monotonic() < deadline, (found, expected)

    def _output(self, command: str) -> str:
        if command == "python -i servers.py":
            self.prompt = runpy.run_path("servers.py")
            return ""
        done = subprocess.run(
            command.replace(ADDRESS, self._address),
            shell=True,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if "curl" in command:
            # Nobody gets an error page, whatever becomes of the servers.
            assert re.fullmatch(r"(default(-\d)?: \w+\n)*", done.stdout), done.stdout
        if not command.startswith("grep"):
            assert done.returncode == 0, done.stderr
        return done.stdout

    def serve(self) -> None:
        """Start the site, or start it again."""
        self._processes.stop("site", signal.SIGTERM)
        command = [sys.executable, "manage.py", "runserver", "--noreload", str(self._port)]
        self._processes.start("site", command, cwd=self.folder, env=self._environment)
        wait_for(self._answers, "the site to answer", TIMEOUT)

    def _answers(self) -> bool:
        assert self._processes.is_running("site"), self._processes.log("site")
        return (
            subprocess.run(["curl", "-sf", self._address], capture_output=True, check=False).returncode == 0
        )


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Newcomer]:
    monkeypatch.chdir(tmp_path)
    with closing(ServerFolder("pindb-tutorial-", drop_privileges=False)) as processes:
        newcomer = Newcomer(tmp_path, processes)
        yield newcomer
        if "servers" in newcomer.prompt:
            newcomer.prompt["servers"].close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs the program curl")
def test_the_tutorial_can_be_followed(newcomer: Newcomer) -> None:
    do = {"python": newcomer.save, "pycon": newcomer.type, "console": newcomer.run}
    for line, language, text in blocks(PAGE):
        print(f"{PAGE.relative_to(ROOT)}, line {line}")
        do[language](text)
