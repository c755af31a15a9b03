"""A master and its replicas, of whatever database."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pindb.testing.processes import ServerFolder, Servers, free_port, wait_for

__all__ = ["USER", "ReplicaSet", "import_driver"]

USER = "pindb"

Entered = TypeVar("Entered", bound="ReplicaSet")


class ReplicaSet(Servers):
    """A master and its replicas on free ports of 127.0.0.1.

    Subclasses say how their servers are made, started and asked, and what the arguments are.
    """

    #: Django's backend for the servers.
    _engine = ""
    #: What is put around names, and doubled inside of them.
    _quote = '"'
    #: The parameters of members where `configuration` does not say otherwise.
    _defaults: ClassVar[Mapping[str, str]] = {}
    #: The start of the name of the servers' folder.
    _prefix = ""
    #: Ends a server in order.
    _stop_signal: int = signal.SIGTERM
    #: Ends a server fastest and still lets it reap its children.
    _end_signal: int = signal.SIGKILL
    #: Asks the master for the position of what it has committed.
    _position_query = ""
    #: Asks a replica whether it shows what was committed up to that position.
    _reached_query = ""

    def __init__(
        self,
        replicas: int = 2,
        *,
        databases: Sequence[str] = ("pindb",),
        configuration: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> None:
        if replicas < 0:
            raise ValueError(f"replicas is {replicas}; write 0 or more.")
        if not databases or isinstance(databases, str):
            raise ValueError(f"databases is {databases!r}; write a list of names: ['pindb'].")
        self.members = ("master", *(f"replica-{index}" for index in range(replicas)))
        self.databases = tuple(databases)
        self.timeout = timeout
        self._configuration = {**self._defaults, **(configuration or {})}
        self._password = secrets.token_urlsafe(16)
        self._ports: dict[str, int] = {}

    def __repr__(self) -> str:
        state = " ".join(f"{name}:{port}" for name, port in self._ports.items()) or "not started"
        return f"<{type(self).__name__} {state}>"

    # ---- life ----------------------------------------------------------------------------------

    def __enter__(self: Entered) -> Entered:
        if self._folder is not None:
            raise RuntimeError(f"This {type(self).__name__} runs already.")
        self._check_needs()
        self._open(ServerFolder(self._prefix, self._end_signal))
        return self

    def close(self) -> None:
        """Stop all members and remove their data. Safe to call again."""
        super().close()
        self._ports.clear()

    def _create_databases(self) -> None:
        for database in self.databases:
            quoted = database.replace(self._quote, self._quote * 2)
            self._ask("master", f"CREATE DATABASE {self._quote}{quoted}{self._quote}")

    def _write(self, name: str, text: str) -> Path:
        """Write a file that only the servers may read."""
        folder = self._running_folder()
        file = folder.path / name
        file.touch(0o600)
        file.write_text(text)
        if folder.user is not None:
            os.chown(file, folder.user, folder.user)
        return file

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
            "ENGINE": self._engine,
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
            folder.start(name, self._command(name, port))
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
        """Stop a member in order; sessions are ended."""
        self._running_folder().stop(self._name(member), self._stop_signal, self.timeout)

    def kill(self, member: str | int) -> None:
        """Kill a member and all its processes with SIGKILL: a crash."""
        self._running_folder().stop(self._name(member), signal.SIGKILL)

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
        return self._run(self.database(member, database), sql, parameters)

    def is_running(self, member: str | int) -> bool:
        """Whether the member's process runs."""
        return self._running_folder().is_running(self._name(member))

    def wait_until_caught_up(self, member: str | int | None = None, timeout: float | None = None) -> None:
        """Wait until a replica (all running ones) has replayed what the master has committed by now.

        Raises:
            TimeoutError: it has not within `timeout` seconds.
        """
        position = self._ask("master", self._position_query)[0][0]
        members = self.members[1:] if member is None else [self._name(member)]
        for name in members:
            if member is None and not self.is_running(name):
                continue
            self._wait_for_row(name, self._reached_query, "replay to catch up", position, timeout=timeout)

    def _wait_for_row(
        self,
        member: str | int,
        sql: str,
        what: str,
        *parameters: Any,
        timeout: float | None = None,
    ) -> None:
        wait_for(
            lambda: self._ask(member, sql, *parameters)[0][0],
            f"{self._name(member)}: {what}",
            self.timeout if timeout is None else timeout,
        )

    def _name(self, member: str | int) -> str:
        name = member if isinstance(member, str) else f"replica-{member}"
        if name not in self.members:
            raise ValueError(f"No member {member!r}; there are {', '.join(self.members)}.")
        return name

    def _database(self, name: str | None) -> str:
        return self.databases[0] if name is None else name

    def _data(self, name: str) -> Path:
        return self._running_folder().path / name

    # ---- what each kind of server says ---------------------------------------------------------

    def _check_needs(self) -> None:
        """Raise RuntimeError where something is not installed that can be looked for beforehand."""
        raise NotImplementedError

    def _command(self, name: str, port: int) -> Sequence[str | Path]:
        """The program and arguments of a member."""
        raise NotImplementedError

    def _answers(self, port: int) -> bool:
        """Whether the server on a port takes sessions."""
        raise NotImplementedError

    def _run(self, database: Mapping[str, Any], sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement in a session of its own that commits by itself, and return the rows."""
        raise NotImplementedError

    def _maintenance(self, member: str | int) -> Mapping[str, Any]:
        """Settings for statements that concern a server, none of its databases."""
        raise NotImplementedError

    def _ask(self, member: str | int, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._run(self._maintenance(member), sql, parameters)


def import_driver(module: str, name: str, package: str) -> Any:
    """Import what talks to the servers.

    Arguments:
        module: its module.
        name: the class that needs it.
        package: what users call it.

    Raises:
        RuntimeError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise RuntimeError(f'{name} needs {package}: pip install "django-pindb[testing]"') from error
