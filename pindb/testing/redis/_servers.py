"""Servers of all setups: their processes, configuration files, addresses and logins."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pindb.testing.processes import ServerFolder, Servers, free_port, wait_for
from pindb.testing.redis._certificates import make_certificates
from pindb.testing.redis._control import Control, ErrorReply
from pindb.testing.redis._programs import ENVIRONMENT, find_server, supports_tls, version_of

if TYPE_CHECKING:
    import redis

CONFIGURATION = {
    # Data of tests need not survive the server.
    "save": '""',
    "appendonly": "no",
    "protected-mode": "no",
    "timeout": "0",
    "tcp-backlog": "128",
}

# The maximum length of a Unix socket's path: the system's limit includes a zero byte, and is lowest on macOS
# (104; 108 on Linux).
LONGEST_SOCKET_PATH = 103

# For commands of a setup itself, in seconds: a server may be paused or end in the middle of them.
REPLY_TIMEOUT = 5

#: What callers name a server by.
Server = TypeVar("Server", bound="int | str")
Entered = TypeVar("Entered", bound="RedisServers[Any]")


class RedisServers(Servers, Generic[Server]):
    """Redis servers of one program, with one login, in a folder of their own.

    Subclasses say which servers there are, and what is in their configuration files. Inside, each server has
    a name, by which its files are called.
    """

    #: Directives of all servers where `configuration` has no others.
    _defaults: ClassVar[Mapping[str, str]] = CONFIGURATION

    def __init__(
        self,
        server_executable: str | os.PathLike[str] | None,
        *,
        tcp: bool,
        tls: bool,
        username: str | None,
        password: str | None,
        configuration: Mapping[str, str] | None,
        timeout: float,
    ) -> None:
        if username is not None and not password:
            raise ValueError(f"username is {username!r}, but there is no password. Write password='...' too.")
        self.timeout = timeout
        self.executable = find_server(server_executable)
        self.version = version_of(self.executable)
        self._tls = tls
        self._tcp = tcp or tls
        self._username = username
        self._password = password
        self._configuration = {**self._defaults, **(configuration or {})}
        self._ports: dict[str, int] = {}
        self._paused: set[str] = set()
        if tls and not supports_tls(self.executable):
            raise RuntimeError(
                f"{self.executable} was built without TLS. Install redis-server from your system's packages, "
                f"and write its path into server_executable or ${ENVIRONMENT}."
            )

    def _open_folder(self) -> None:
        # Unlike PostgreSQL, Redis runs as root, also from folders that only root can read.
        self._open(ServerFolder("pindb-redis-", drop_privileges=False))

    def _start_new(self, names: Iterable[str]) -> None:
        """Start servers for the first time, all at once, and wait until they answer."""
        names = list(names)
        longest = str(self._path(max(names, key=len), ".sock"))
        if len(os.fsencode(longest)) > LONGEST_SOCKET_PATH:
            raise RuntimeError(
                f"The path {longest} is too long for a Unix socket. Set TMPDIR to a folder with a short path."
            )
        if self._tls and not (self._running_folder().path / "ca.crt").exists():
            make_certificates(self._running_folder())
        for name in names:
            self._launch(name, new=True)
        for name in names:
            self._wait(name, new=True)

    # ---- life ----------------------------------------------------------------------------------

    def __enter__(self: Entered) -> Entered:
        self._running_folder()
        return self

    # ---- what each kind of setup says ----------------------------------------------------------

    def _name(self, server: Server) -> str:
        """Return the name of a server; ValueError if there is none."""
        raise NotImplementedError

    def _names(self) -> list[str]:
        """Return the names of all servers."""
        raise NotImplementedError

    def _lines(self, name: str) -> list[str]:
        """Return lines for the end of a server's configuration file."""
        raise NotImplementedError

    def _directives(self, name: str) -> Mapping[str, str]:
        """Return directives that come before all others in a server's configuration file."""
        return self._configuration

    def _command(self, name: str) -> list[str | Path]:
        """Return the program and the arguments of a server."""
        return [self.executable, self._path(name, ".conf")]

    def _login(self, name: str) -> list[str]:
        """Return the arguments of AUTH for a server; an empty list if it has no password."""
        return [word for word in (self._username, self._password) if word is not None]

    def _free_port(self, name: str) -> int:
        return free_port()

    # ---- addresses -----------------------------------------------------------------------------

    def _address(self, name: str) -> dict[str, Any]:
        """Return the settings of a server: where it is, TLS, login."""
        folder = self._running_folder()
        host: dict[str, Any] = {}
        if self._tcp:
            host |= {"host": "127.0.0.1", "port": self._ports[name]}
        else:
            host["unix_socket_path"] = str(self._path(name, ".sock"))
        if self._tls:
            ca_certs = str(folder.path / "ca.crt")
            host |= {"ssl": True, "ssl_options": {"ca_certs": ca_certs, "cert_reqs": "required"}}
        login = self._login(name)
        if login:
            host |= dict(zip(("password", "username"), reversed(login), strict=False))
        return host

    def _client(self, host: dict[str, Any], options: dict[str, Any]) -> redis.Redis:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise RuntimeError('client needs redis-py: pip install "django-pindb[redis]"') from error
        for name, value in host.pop("ssl_options", {}).items():
            host[f"ssl_{name}"] = value
        return redis.Redis(**{"retry": Retry(NoBackoff(), 0), **host, **options})

    # ---- servers -------------------------------------------------------------------------------

    def start(self, server: Server) -> None:
        """Start a stopped or killed server at its old address, and wait until it answers.

        Raises:
            RuntimeError: the server is running, or did not start; the message has the end of its log.
        """
        if self.is_running(server):
            raise RuntimeError(f"Server {server} runs already.")
        name = self._name(server)
        self._launch(name)
        self._wait(name)

    def stop(self, server: Server) -> None:
        """Stop a server with SIGTERM: it closes its connections. A paused server is resumed first."""
        self.resume(server)
        self._running_folder().stop(self._name(server), signal.SIGTERM, self.timeout)

    def kill(self, server: Server) -> None:
        """Kill a server with SIGKILL, as in a crash."""
        name = self._name(server)
        self._running_folder().stop(name, signal.SIGKILL)
        self._paused.discard(name)

    def pause(self, server: Server) -> None:
        """Freeze a server with SIGSTOP: it accepts connections, but does not reply."""
        name = self._name(server)
        self._running_folder().signal(name, signal.SIGSTOP)
        self._paused.add(name)

    def resume(self, server: Server) -> None:
        """Resume a paused server."""
        name = self._name(server)
        self._running_folder().signal(name, signal.SIGCONT)
        self._paused.discard(name)

    def is_running(self, server: Server) -> bool:
        """Whether the process of a server exists, paused or not."""
        return self._running_folder().is_running(self._name(server))

    def _flush(self, commands: Mapping[str, list[tuple[str, ...]]]) -> None:
        """Send each server its commands, all at once; each has to reply OK."""
        # Tests call this after each test, and a client of redis-py for each server takes fifty times as long.
        with contextlib.ExitStack() as stack:
            controls = {}
            for name, words in commands.items():
                controls[name] = stack.enter_context(self._control(name))
                controls[name].send(*words)
            for name, control in controls.items():
                for _ in commands[name]:
                    reply = control.receive()
                    if reply != b"OK":
                        raise RuntimeError(f"Redis server {name} was not flushed: {reply}")

    def _answering(self) -> list[str]:
        """Return the names of the servers that run and are not paused."""
        folder = self._running_folder()
        return [name for name in self._names() if folder.is_running(name) and name not in self._paused]

    def _control(self, name: str) -> Control:
        return Control(self._path(name, ".sock"), self._login(name), min(self.timeout, REPLY_TIMEOUT))

    def _path(self, name: str, suffix: str) -> Path:
        return self._running_folder().path / f"{name}{suffix}"

    def _launch(self, name: str, *, new: bool = False) -> None:
        """Start the process of a server. A server that is not new keeps its data and configuration file."""
        if new:
            self._path(name, "").mkdir(exist_ok=True)
            if self._tcp:
                self._ports.setdefault(name, self._free_port(name))
            file = self._path(name, ".conf")
            file.write_text("".join(f"{line}\n" for line in self._file(name)))
            file.chmod(0o600)
        self._running_folder().start(name, self._command(name))

    def _file(self, name: str) -> list[str]:
        """Return the lines of a server's configuration file."""
        directives = {
            **self._directives(name),
            "dir": quoted(self._path(name, "")),
            # Also with ports: a setup itself talks to its servers here, without TLS.
            "unixsocket": quoted(self._path(name, ".sock")),
            "unixsocketperm": "700",
            "port": "0",
        }
        if self._tcp:
            directives |= {"bind": "127.0.0.1", "port": str(self._ports[name])}
        if self._tls:
            directives |= {"tls-port": directives["port"], "port": "0", "tls-auth-clients": "no"}
            for directive, file in (("cert", "server.crt"), ("key", "server.key"), ("ca-cert", "ca.crt")):
                directives[f"tls-{directive}-file"] = quoted(self._running_folder().path / file)
        lines = [f"{directive} {value}" for directive, value in directives.items()]
        return [*lines, *self._login_lines(name), *self._lines(name)]

    def _login_lines(self, name: str) -> list[str]:
        *user, password = self._login(name) or [""]
        if user:
            return [
                f"user {quoted(user[0])} on {quoted(f'>{password}')} ~* &* +@all",
                "user default off",
            ]
        return [f"requirepass {quoted(password)}"] if password else []

    def _wait(self, name: str, *, new: bool = False) -> None:
        """Wait until a started server answers. If its port is taken and may change, try another port."""
        folder = self._running_folder()
        for attempts_left in reversed(range(5)):
            wait_for(
                lambda: not folder.is_running(name) or self._answers(name),
                f"Redis server {name} to answer",
                self.timeout,
            )
            if folder.is_running(name):
                return
            # Another process may have taken the free port meanwhile.
            taken = "Address already in use" in folder.log(name)
            if not (taken and new and attempts_left):
                break
            del self._ports[name]
            self._path(name, ".log").unlink()
            self._launch(name, new=True)
        raise RuntimeError(f"{self.executable} did not start:\n{folder.log(name)[-2000:]}")

    def _answers(self, name: str) -> bool:
        try:
            with Control(self._path(name, ".sock"), [], self.timeout) as control:
                control.send(["PING"])
                reply = control.receive()
        except OSError:
            return False
        # A server with a password answers NOAUTH: it is ready, too.
        return reply == b"PONG" or (isinstance(reply, ErrorReply) and str(reply).startswith("NOAUTH"))


def quoted(value: str | Path) -> str:
    """Return a value as the configuration file of a server has it."""
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
