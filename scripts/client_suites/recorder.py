"""A plugin of pytest that writes to the file ``$PINDB_CLIENT_SUITE`` how each test ended, as JSON."""

from __future__ import annotations

import json
import os

import pytest


def _write(test: str, outcome: str, report: pytest.CollectReport | pytest.TestReport) -> None:
    detail = report.longreprtext.strip().splitlines()
    if isinstance(report.longrepr, tuple):
        detail = [str(report.longrepr[2])]
    line = {"test": test, "outcome": outcome, "detail": detail}
    with open(os.environ["PINDB_CLIENT_SUITE"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _write(report.nodeid, "error", report)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        outcome = "error" if report.failed and report.when != "call" else report.outcome
        _write(report.nodeid, outcome, report)
