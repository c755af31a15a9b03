"""The connection of a replica in a test that never commits: its master's.

It sees what the master's connection sees, transaction and all, as the mirrors of Django's test runner did
while they were the same connection. Unlike them it keeps its own alias, and refuses to write: with
PostgreSQL's error for a read-only server, so that a write that went to a replica fails as it would in
production.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.db import InternalError, connections
from django.db.backends.postgresql import base

__all__ = ["DatabaseWrapper"]

_WRITES = re.compile(
    r"\s*(?P<word>INSERT|UPDATE|DELETE|MERGE|TRUNCATE|CREATE|ALTER|DROP|COMMENT|REFRESH)\b"
    r"|.*\b(?P<lock>FOR (?:NO KEY )?UPDATE|FOR (?:KEY )?SHARE)\b",
    re.DOTALL,
)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that has all its state from its master's.

    Arguments:
        settings_dict: the replica's settings; ``TEST["MIRROR"]`` names the master.
        alias: the replica's alias.
    """

    # Beside the shared state.
    __slots__ = ("_mirror_alias", "_mirror_settings", "_mirror_wrappers")

    def __init__(self, settings_dict: dict[str, Any], alias: str) -> None:
        self._mirror_alias = alias
        self._mirror_settings = settings_dict
        self._mirror_wrappers: list[Callable[..., Any]] = [self._refuse_writes]
        self.__dict__ = connections[settings_dict["TEST"]["MIRROR"]].__dict__

    @property
    def alias(self) -> str:  # type: ignore[override]
        return self._mirror_alias

    @property
    def settings_dict(self) -> dict[str, Any]:  # type: ignore[override]
        return {**self.__dict__["settings_dict"], "TEST": self._mirror_settings["TEST"]}

    @property
    def execute_wrappers(self) -> list[Callable[..., Any]]:  # type: ignore[override]
        return self._mirror_wrappers

    def _refuse_writes(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        found = _WRITES.match(str(sql))
        if found:
            what = found["word"] or f"SELECT {found['lock']}"
            raise InternalError(f"cannot execute {what} in a read-only transaction (on {self.alias!r})")
        return execute(sql, params, many, context)
