"""The test runner inside the suite: Django's, with pindb in the site and each result written down.

A test's body is a pinning context of its own. What comes before it (fixtures, ``setUpTestData``, ``setUp``)
and after it runs pinned: it prepares the data that the body finds on the replicas.
"""

from __future__ import annotations

import faulthandler
import json
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.test import SimpleTestCase, TestCase
from django.test.client import AsyncClientHandler, ClientHandler
from django.test.runner import DiscoverRunner

import pindb

from .committing import Tidier
from .held import HeldReplicas
from .settings import CONFIG, DATABASES

__all__ = ["Runner"]

tidier = Tidier() if CONFIG["committing"] else None

#: A test that takes longer (seconds) hangs: the run ends, with the stacks of all threads.
HANGS = 180


class Recorder(unittest.TextTestResult):
    """Writes each test's outcome to the file of results, one JSON object per line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.file = open(CONFIG["results"], "a", encoding="utf-8")  # noqa: SIM115

    def record(self, test: Any, outcome: str, error: Any = None, detail: str = "") -> None:
        if error is not None:
            detail = self._exc_info_to_string(error, test)  # type: ignore[attr-defined]
        line = {"test": test.id(), "outcome": outcome, "detail": detail[-6000:]}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def stopTestRun(self) -> None:  # noqa: N802
        super().stopTestRun()
        self.file.close()

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        super().addSuccess(test)
        self.record(test, "passed")

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addFailure(test, err)
        self.record(test, "failed", err)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addError(test, err)
        self.record(test, "error", err)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        self.record(test, "skipped", detail=reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addExpectedFailure(test, err)
        self.record(test, "expected failure", err)

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        super().addUnexpectedSuccess(test)
        self.record(test, "unexpected success")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            self.record(test, "failed" if failed else "error", err)


class Runner(DiscoverRunner):
    """Django's test runner for one mode of the suite."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if CONFIG["pindb"] and not CONFIG.get("settings"):
            # Django's runtests.py overwrites these settings.
            settings.MIDDLEWARE.insert(0, "pindb.middleware.PinDbMiddleware")
            settings.INSTALLED_APPS.append("pindb")
            apps.set_installed_apps(settings.INSTALLED_APPS)

    def get_resultclass(self) -> type[Recorder]:
        return Recorder

    def get_databases(self, suite: Any) -> Any:
        # By alias, whether its rows are kept for `serialized_rollback`.
        found: Any = super().get_databases(suite)
        return {**found, **dict.fromkeys(mirrors_of(found), False)}

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        if tidier is not None:
            for alias in suite.used_aliases & CONFIG["masters"].keys():
                tidier.remember(alias)
        for alias in CONFIG["masters"] if CONFIG["pindb"] else ():
            pindb.pin(alias)
        result = super().run_suite(suite, **kwargs)
        # Of this process alone: with several, the others count for themselves.
        Path(CONFIG["stats"]).write_text(json.dumps(pindb.stats().reads), encoding="utf-8")
        return result


def mirrors_of(aliases: Any) -> set[str]:
    """The replicas of some masters."""
    return {
        alias
        for alias, database in DATABASES.items()
        if (database.get("TEST") or {}).get("MIRROR") in aliases
    }


class Databases(frozenset[str]):
    """The databases of a test: it goes through the masters, and the replicas of these are among them, too.

    Tests that prepare each of their databases would write to the replicas otherwise.
    """

    def __contains__(self, alias: object) -> bool:
        return super().__contains__(alias) or alias in mirrors_of(frozenset(self))


def allow_replicas() -> None:
    """Let a test query the replicas of the masters that it may query.

    A test names databases by their masters' aliases; to Django, a replica is another database.
    """
    validate = SimpleTestCase.__dict__["_validate_databases"].__func__

    def _validate_databases(cls: type[SimpleTestCase]) -> frozenset[str]:
        named = validate(cls)
        return Databases(named - mirrors_of(named))

    SimpleTestCase._validate_databases = classmethod(_validate_databases)  # type: ignore[attr-defined]


def run_bodies_in(unit: Callable[[Any], Any]) -> None:
    """Run the body of each test in the block that `unit` makes for it."""

    def _callTestMethod(self: Any, method: Callable[[], None]) -> None:  # noqa: N802
        faulthandler.dump_traceback_later(HANGS, exit=True)
        try:
            with unit(self):
                unittest.TestCase._callTestMethod(self, method)  # type: ignore[attr-defined]
        finally:
            faulthandler.cancel_dump_traceback_later()

    SimpleTestCase._callTestMethod = _callTestMethod  # type: ignore[attr-defined]


def commit_everything(tidier: Tidier) -> None:
    """Run each `TestCase` as on a database without transactions: all that it writes is committed."""
    TestCase._databases_support_transactions = classmethod(lambda cls: False)  # type: ignore[attr-defined]

    def _fixture_teardown(self: Any) -> None:
        for connection in connections.all(initialized_only=True):
            connection.close()
        for alias in self._databases_names(include_mirrors=False):
            tidier.tidy(alias)

    TestCase._fixture_teardown = _fixture_teardown  # type: ignore[attr-defined]
    TestCase.__base__._fixture_teardown = _fixture_teardown  # type: ignore[union-attr]


def hold_replicas(held: HeldReplicas) -> None:
    """Let replicas replay between a test's requests, and at no other time."""

    def sync_call(handle: Any) -> Any:
        def __call__(self: Any, environ: Any) -> Any:  # noqa: N807
            held.renew()
            try:
                return handle(self, environ)
            finally:
                held.renew()

        return __call__

    def async_call(handle: Any) -> Any:
        async def __call__(self: Any, scope: Any) -> Any:  # noqa: N807
            held.renew()
            try:
                return await handle(self, scope)
            finally:
                held.renew()

        return __call__

    ClientHandler.__call__ = sync_call(ClientHandler.__call__)  # type: ignore[method-assign]
    AsyncClientHandler.__call__ = async_call(AsyncClientHandler.__call__)  # type: ignore[method-assign]


@contextmanager
def plain_unit(test: Any) -> Iterator[None]:
    yield


@contextmanager
def pinned_by_itself(test: Any) -> Iterator[None]:
    with pindb.pinning_context():
        yield


def install() -> None:
    """Change Django's test cases as the mode wants it."""
    unit: Callable[[Any], Any] = plain_unit
    if CONFIG["pindb"] and CONFIG["enabled"]:
        # With pindb off, a test that reaches a replica is to fail.
        allow_replicas()
        unit = pinned_by_itself
    if tidier is not None:
        commit_everything(tidier)
    if CONFIG["held"]:
        held = HeldReplicas(CONFIG["held"])
        hold_replicas(held)

        @contextmanager
        def held_unit(test: Any) -> Iterator[None]:
            if not getattr(test, "databases", None):
                yield
                return
            with held, pindb.pinning_context():
                yield

        unit = held_unit
    run_bodies_in(unit)


install()
