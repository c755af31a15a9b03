"""Server processes that never outlive whoever started them."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["ServerFolder", "Servers", "free_port", "unprivileged_user", "wait_for"]

T = TypeVar("T")

# Runs beside the servers, with the folder as its argument and a pipe from their owner as its input. When
# the pipe breaks, however the owner ended, it kills every process named in <folder>/*.pid and removes the
# folder.
_REAPER = """
import os, pathlib, shutil, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stdin.buffer.read()
folder = pathlib.Path(sys.argv[1])
for file in folder.glob("*.pid"):
    try:
        os.killpg(int(file.read_text()), signal.SIGKILL)
    except (ValueError, OSError):
        pass
for _ in range(50):
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        break
    time.sleep(0.1)
"""


class ServerFolder:
    """A folder for the data of some servers, and the processes that run in it.

    Closing it ends the processes and removes the folder. The same happens when this process ends in any
    other way, SIGKILL included: a helper process sees to it. Not safe under threads.

    Arguments:
        prefix: the start of the folder's name, in the system's folder for temporary files.
        stop_signal: what ends a server fastest and still lets it reap its children.
        drop_privileges: whether servers that root starts run as an unprivileged user.
    """

    def __init__(
        self, prefix: str, stop_signal: int = signal.SIGKILL, *, drop_privileges: bool = True
    ) -> None:
        self.stop_signal = stop_signal
        self.user = unprivileged_user() if drop_privileges else None
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        if self.user is not None:
            os.chown(self.path, self.user, self.user)
        self._owner = os.getpid()
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _REAPER, str(self.path)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _privileges(self) -> dict[str, Any]:
        if self.user is None:
            return {}
        return {"user": self.user, "group": self.user, "extra_groups": []}

    def run(self, command: Sequence[str | Path], **env: str) -> str:
        """Run `command` to its end, as an unprivileged user where this process is root's.

        Returns:
            What it printed.

        Raises:
            RuntimeError: it failed; the message has what it printed.
        """
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.path,
            env={**os.environ, **env},
            check=False,
            **self._privileges(),
        )
        if done.returncode:
            name = Path(command[0]).name
            raise RuntimeError(f"{name} failed with status {done.returncode}:\n{done.stdout}")
        return done.stdout

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start the server `name`; its output goes to ``<name>.log`` in the folder.

        Arguments:
            name: what it is called here.
            command: its program and arguments.
            cwd: where it runs; in the folder.
            env: its whole environment; this process's.
        """
        with (self.path / f"{name}.log").open("ab") as log:
            # A session of its own: Ctrl-C on the terminal must reach the owner first.
            server = subprocess.Popen(
                [str(word) for word in command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=cwd or self.path,
                env=env,
                start_new_session=True,
                **self._privileges(),
            )
        self._servers[name] = server
        (self.path / f"{name}.pid").write_text(str(server.pid))

    def is_running(self, name: str) -> bool:
        """Whether the server `name` was started and has not ended."""
        server = self._servers.get(name)
        return server is not None and server.poll() is None

    def signal(self, name: str, signal_number: int) -> None:
        """Send a signal to the server `name`; does nothing where it is not running."""
        if self.is_running(name):
            self._servers[name].send_signal(signal_number)

    def log(self, name: str) -> str:
        """What the server `name` has printed so far."""
        return (self.path / f"{name}.log").read_text(errors="replace")

    def stop(self, name: str, signal_number: int, timeout: float = 10) -> None:
        """Send a signal to the server `name` and wait for its end; SIGKILL goes to its children too.

        Does nothing where it is not running. After `timeout` seconds it is killed.
        """
        server = self._servers.pop(name, None)
        if server is None:
            return
        if server.poll() is None:
            if signal_number == signal.SIGKILL:
                _kill_group(server.pid)
            else:
                server.send_signal(signal_number)
            try:
                server.wait(timeout)
            except subprocess.TimeoutExpired:
                _kill_group(server.pid)
                server.wait()
        (self.path / f"{name}.pid").unlink(missing_ok=True)

    def close(self) -> None:
        """Stop what still runs and remove the folder. Safe to call again; ignored in a forked child."""
        if os.getpid() != self._owner:
            return
        for name in list(self._servers):
            self.stop(name, self.stop_signal, timeout=5)
        for _ in range(50):
            # A server's last children may still be writing.
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                break
            time.sleep(0.02)
        if self._reaper.stdin is not None and not self._reaper.stdin.closed:
            self._reaper.stdin.close()
            self._reaper.wait()


class Servers:
    """Servers in a folder of their own, from when they are started until they are closed.

    What is made of it calls `_open` to start them, and `_running_folder` to do anything with them.
    """

    _folder: ServerFolder | None = None
    #: What is said where they do not run.
    _not_running = ""

    def _open(self, folder: ServerFolder) -> None:
        """Start the servers in `folder`; where that fails, nothing of them is left."""
        self._folder = folder
        atexit.register(self.close)
        try:
            self._start_all()
        except BaseException:
            self.close()
            raise

    def _start_all(self) -> None:
        raise NotImplementedError

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop all servers and remove their data. Safe to call again."""
        atexit.unregister(self.close)
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.close()

    def _running_folder(self) -> ServerFolder:
        if self._folder is None:
            raise RuntimeError(self._not_running)
        return self._folder


def _kill_group(pid: int) -> None:
    """Kill a process and all that it has started, and wait until these are gone."""
    # PostgreSQL's processes are in groups of their own. They would go on for some milliseconds, and keep a
    # new server from starting. A process that is stopped starts no others.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    children = _children(pid)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not any(map(_runs, children)), "the end of a server's processes", timeout=2)


def _children(pid: int) -> list[int]:
    """The processes that a process has started; none where the system does not say (only Linux does)."""
    found = [int(file.parent.name) for file in Path("/proc").glob("[0-9]*/stat")]
    return [child for child in found if _status(child)[1:2] == [str(pid)]]


def _runs(pid: int) -> bool:
    return _status(pid)[:1] not in ([], ["Z"], ["X"])


def _status(pid: int) -> list[str]:
    """A process's state, its parent, and more, as Linux has it; nothing where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    # They come after the name, which is in parentheses and may hold anything.
    return text.rpartition(")")[2].split()


def unprivileged_user() -> int | None:
    """The user id that servers run as where this process is root's; None: this process's own."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return 65534


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(ready: Callable[[], T], what: str, timeout: float) -> T:
    """Ask `ready` until its answer is true.

    Raises:
        TimeoutError: it was not within `timeout` seconds; the message names `what`.
    """
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        answer = ready()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} seconds")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
