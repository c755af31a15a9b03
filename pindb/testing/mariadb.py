"""A real MariaDB master with replicas that follow it by GTIDs, for the tests and demos of a site.

    from pindb.testing.mariadb import MariaDBReplicaSet

    with MariaDBReplicaSet(replicas=2) as servers:
        MASTER_DATABASES = {"default": servers.master_database}
        DATABASE_SETS = {"default": servers.replica_databases}

Needs no running MariaDB and no root: of the system's package ``mariadb-server`` only the programs are used,
with data and settings of their own. PyMySQL talks to them; ``pip install "django-pindb[testing]"`` brings it.
Pausing a replica makes lag exact: what was committed afterwards is not there until it is resumed.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pindb.testing.replicas import USER, ReplicaSet, import_driver

__all__ = ["MariaDBReplicaSet", "find_mariadb"]

# Makes and changes the servers. A user of its own, since what `USER` may do decides what a site may do.
ADMIN = "pindb_admin"

# Debian keeps servers off the PATH of ordinary users.
MORE_FOLDERS = ("/usr/sbin", "/usr/local/sbin")

CONFIGURATION = {
    "bind_address": "127.0.0.1",
    "socket": "",
    "skip_name_resolve": "on",
    "character_set_server": "utf8mb4",
    # The same on all replicas, also where a statement is not deterministic.
    "binlog_format": "row",
    "innodb_buffer_pool_size": "16M",
    "innodb_log_file_size": "8M",
    "aria_pagecache_buffer_size": "8M",
    "key_buffer_size": "1M",
    # Many sets at once would run out of what the kernel has of these.
    "innodb_use_native_aio": "off",
    # Nothing here survives a crash of the machine, nor has to.
    "debug_no_sync": "on",
    "sync_binlog": "0",
    # Not 0: a killed server would lose what it has committed within the last second.
    "innodb_flush_log_at_trx_commit": "2",
    "innodb_buffer_pool_dump_at_shutdown": "off",
    "innodb_buffer_pool_load_at_startup": "off",
}


class MariaDBReplicaSet(ReplicaSet):
    """A MariaDB master and its replicas on free ports of 127.0.0.1.

    A context manager: entering it starts the servers (in about a second), leaving it stops them and
    removes their data, also after an exception or Ctrl-C, and when the process is killed. Members are called
    ``"master"``, ``"replica-0"``, ``"replica-1"`` ...; methods take that name or, for a replica, its index.
    Any number of sets may run at once. Started by root, the servers run as an unprivileged user.

    Replicas are read-only. The user of `database` may do anything, but neither write on them nor lift that.

    Safe to use from several threads as far as they do not change the same member.

    Arguments:
        replicas: how many.
        databases: the names of the databases to create; the first is the one in `master_database`.
        configuration: lines for the option file of all members, by the name of the variable.
        timeout: how long a server may take to start or stop, in seconds.

    Attributes:
        members: the members' names, the master first (after `promote` too, it stands where it stood).

    Raises:
        ValueError: a negative number of replicas, or no database.
        RuntimeError: on entry, the servers or PyMySQL are not installed, or a server did not start.
    """

    _not_running = "This MariaDBReplicaSet is not running: use it in a with block."
    _engine = "django.db.backends.mysql"
    _quote = "`"
    _defaults = CONFIGURATION
    _prefix = "pindb-mariadb-"
    _position_query = "SELECT @@global.gtid_current_pos"
    # 0 when it is reached, -1 after that many seconds. A session that waited on the server would wait on
    # where that is shut down.
    _reached_query = "SELECT MASTER_GTID_WAIT(%s, 0) = 0"

    def __init__(
        self,
        replicas: int = 1,
        *,
        databases: Sequence[str] = ("pindb",),
        configuration: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> None:
        super().__init__(replicas, databases=databases, configuration=configuration, timeout=timeout)
        self._admin_password = secrets.token_urlsafe(16)
        self._promoted: set[str] = set()

    # ---- life ----------------------------------------------------------------------------------

    def _check_needs(self) -> None:
        _programs()
        _import_pymysql()

    def close(self) -> None:
        super().close()
        self._promoted.clear()

    def _start_all(self) -> None:
        folder = self._running_folder()
        _, install = _programs()
        self._write("my.cnf", self._option_file())
        self._write("users.sql", self._users())
        # Relative, since the program, a shell script, cuts this path at its spaces.
        option_file = "--defaults-file=my.cnf"
        folder.run(
            [install, option_file, f"--datadir={self._data('master')}", "--skip-test-db"],
            TMPDIR=str(self._temporary("master")),
        )
        for name in self.members[1:]:
            # All are alike before the first of them has started.
            folder.run(["cp", "-R", self._data("master"), self._data(name)])
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.start, self.members))
        self._create_databases()
        for name in self.members[1:]:
            self._ask(
                name,
                # The shortest time between two attempts is a second; the first of them comes at once.
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = %s, MASTER_USER = %s, "
                "MASTER_PASSWORD = %s, MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
                *(self._ports["master"], ADMIN, self._admin_password),
            )
            self._ask(name, "START SLAVE")
        self.wait_until_caught_up()

    def _option_file(self) -> str:
        lines = ["[mariadbd]"]
        for name, value in self._configuration.items():
            quoted = value.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'{name} = "{quoted}"')
        return "\n".join(lines) + "\n"

    def _users(self) -> str:
        """What each server runs when it starts: its users are its own, and nothing of them is replicated."""
        lines = ["SET sql_log_bin = 0;"]
        for user, password in ((USER, self._password), (ADMIN, self._admin_password)):
            lines += [
                # The passwords have no quotes in them.
                f"CREATE USER IF NOT EXISTS {user}@127.0.0.1 IDENTIFIED VIA mysql_native_password "
                f"USING PASSWORD('{password}');",
                f"GRANT ALL ON *.* TO {user}@127.0.0.1 WITH GRANT OPTION;",
            ]
        # Whoever has one of these writes on read-only servers too.
        lines.append(f"REVOKE SUPER, READ ONLY ADMIN ON *.* FROM {USER}@127.0.0.1;")
        return "\n".join(lines) + "\n"

    def _command(self, name: str, port: int) -> Sequence[str | Path]:
        folder = self._running_folder()
        server, _ = _programs()
        return [
            server,
            f"--defaults-file={folder.path / 'my.cnf'}",
            f"--datadir={self._data(name)}",
            f"--tmpdir={self._temporary(name)}",
            f"--init-file={folder.path / 'users.sql'}",
            f"--port={port}",
            f"--server-id={self.members.index(name) + 1}",
            "--gtid-domain-id=0",
            "--log-bin=binlog",
            "--relay-log=relay",
            "--log-slave-updates",
            f"--read-only={'off' if name == 'master' or name in self._promoted else 'on'}",
        ]

    def _temporary(self, name: str) -> Path:
        """A folder for a member's temporary tables, which is there afterwards.

        One for each: a server that starts removes those of all others from it, and they crash.
        """
        folder = self._running_folder()
        path = folder.path / f"{name}.tmp"
        folder.run(["mkdir", "-p", path])
        return path

    # ---- addresses -----------------------------------------------------------------------------

    def database(self, member: str | int, name: str | None = None) -> dict[str, Any]:
        return {**super().database(member, name), "OPTIONS": {"charset": "utf8mb4"}}

    # ---- members -------------------------------------------------------------------------------

    def pause(self, member: str | int) -> None:
        """Stop replay on a replica. It still receives what is committed, and shows none of it.

        It replays again when it is resumed, and when it is started after a `stop` or `kill`.
        """
        self._ask(self._replica(member), "STOP SLAVE SQL_THREAD")

    def resume(self, member: str | int) -> None:
        """Let a paused replica replay again; does nothing to one that replays."""
        self._ask(self._replica(member), "START SLAVE SQL_THREAD")

    def promote(self, member: str | int) -> None:
        """Make a replica a master of its own, which takes writes. What it has not replayed by now is lost."""
        name = self._replica(member)
        for statement in ("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0"):
            self._ask(name, statement)
        self._promoted.add(name)

    def _run(self, database: Mapping[str, Any], sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with (
            _import_pymysql().connect(
                host=database["HOST"],
                port=database["PORT"],
                user=database["USER"],
                password=database["PASSWORD"],
                database=database["NAME"],
                autocommit=True,
                # To read the system's certificates takes fifty times as long as to connect.
                ssl_disabled=True,
                **database["OPTIONS"],
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def _maintenance(self, member: str | int) -> Mapping[str, Any]:
        return self._of_admin(self.port(member))

    def _of_admin(self, port: int, **options: Any) -> Mapping[str, Any]:
        return {
            "HOST": "127.0.0.1",
            "PORT": port,
            "USER": ADMIN,
            "PASSWORD": self._admin_password,
            "NAME": None,
            "OPTIONS": {"charset": "utf8mb4", **options},
        }

    def _answers(self, port: int) -> bool:
        # Somebody else may have the port, and say nothing.
        database = self._of_admin(port, connect_timeout=1, read_timeout=1)
        try:
            self._run(database, "SELECT 1", ())
        except _import_pymysql().MySQLError:
            return False
        return True

    def _replica(self, member: str | int) -> str:
        name = self._name(member)
        if name == "master" or name in self._promoted:
            raise ValueError(f"{name} is no replica: it follows no master.")
        return name


def find_mariadb() -> tuple[Path, Path] | None:
    """The programs ``mariadbd`` and ``mariadb-install-db``, on ``PATH`` or where systems keep servers.

    Returns:
        Their paths; None where one of them is missing.
    """
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), *MORE_FOLDERS))
    server, install = (shutil.which(name, path=places) for name in ("mariadbd", "mariadb-install-db"))
    return (Path(server), Path(install)) if server and install else None


def _programs() -> tuple[Path, Path]:
    found = find_mariadb()
    if found is None:
        raise RuntimeError(
            "MariaDBReplicaSet needs the programs mariadbd and mariadb-install-db. Install your system's "
            'package "mariadb-server".'
        )
    return found


def _import_pymysql() -> Any:
    return import_driver("pymysql", "MariaDBReplicaSet", "PyMySQL")
