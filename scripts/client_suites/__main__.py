"""``python -m scripts.client_suites rb``: run rb's or Nydus's own tests on pindb."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pindb.testing.redis import TestSetup, find_server

from .fetch import REPOSITORIES, Unavailable, fetch_tests

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected.json"

#: Exit statuses, besides 0.
DIFFERENT, UNUSABLE = 1, 2

#: pytest's options for each suite.
OPTIONS = {"rb": [], "nydus": ["-p", "python2", "-o", "python_files=tests.py"]}


@dataclass
class Run:
    """How the tests of a suite ended.

    Attributes:
        outcomes, details: by the test's id. A module that cannot be imported is a test, too.
        log: what pytest printed.
    """

    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, list[str]] = field(default_factory=dict)
    log: str = ""

    def others(self) -> dict[str, str]:
        """The outcomes of tests that did not pass."""
        return {test: outcome for test, outcome in sorted(self.outcomes.items()) if outcome != "passed"}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.client_suites",
        description="Run the own tests of rb or Nydus on real Redis servers, with modules in front of theirs "
        "that have pindb's names.",
        epilog="Exit status: 0 all passed but for what expected.json lists, 1 something else did not, 2 the "
        "suite could not run.",
    )
    parser.add_argument("suite", choices=list(REPOSITORIES))
    parser.add_argument(
        "--source",
        metavar="PLACE",
        help="a checkout of the project, or the URL or path of its git repository; "
        + "; ".join(f"{name}: {url}" for name, url in REPOSITORIES.items()),
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all results there")
    parser.add_argument(
        "--timeout", type=float, default=300, metavar="SECONDS", help="how long the suite may take"
    )
    options = parser.parse_args(arguments)
    options.source = options.source or REPOSITORIES[options.suite]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            tests = fetch_tests(options.source, Path(temporary))
        except Unavailable as error:
            print(error, file=sys.stderr)
            return UNUSABLE
        run = run_suite(options.suite, tests, options.timeout)
    if not run.outcomes:
        print(f"The suite ran no test:\n{run.log[-5000:]}", file=sys.stderr)
        return UNUSABLE
    unexpected = report(options.suite, run)
    if options.json:
        options.json.write_text(json.dumps(vars(run), indent=1), encoding="utf-8")
    return DIFFERENT if unexpected else 0


def run_suite(suite: str, tests: Path, timeout: float) -> Run:
    """Run tests in a process of its own, with a server that has Redis's sixteen databases."""
    run = Run()
    results = tests.parent / "results"
    command = [sys.executable, "-m", "pytest", str(tests), "--rootdir", str(tests.parent), "--color=no"]
    command += ["-p", "scripts.client_suites.recorder", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors", *OPTIONS[suite]]
    # Not the suite's own configuration, nor pindb's, whose options are not for these tests.
    (tests.parent / "pytest.ini").write_text("[pytest]\n")
    with TestSetup(servers=1, databases_each=16, tcp=True) as servers:
        try:
            done = subprocess.run(
                command,
                cwd=tests.parent,
                env={
                    **os.environ,
                    "PINDB_CLIENT_SUITE": str(results),
                    "PINDB_CLIENT_SUITE_PORT": str(servers.host(0)["port"]),
                    "PINDB_REDIS_SERVER": str(find_server()),
                    "PYTHONPATH": os.pathsep.join((str(HERE / "stand_ins" / suite), str(ROOT))),
                },
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
            run.log = done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            print(f"The suite took longer than {timeout:.0f} s.", file=sys.stderr)
            run.outcomes["the whole suite"] = "took too long"
    if results.exists():
        for line in results.read_text(encoding="utf-8").splitlines():
            result = json.loads(line)
            test = result["test"].removeprefix("tests/")
            if run.outcomes.get(test, "passed") == "passed":
                run.outcomes[test], run.details[test] = result["outcome"], result["detail"]
    return run


def report(suite: str, run: Run) -> dict[str, str]:
    """Print what did not pass, and return what of it is not expected."""
    reasons = read_expected(suite)
    others = run.others()
    unexpected = {test: outcome for test, outcome in others.items() if test not in reasons}
    print(f"{suite}: {len(run.outcomes)} tests, {len(run.outcomes) - len(others)} passed.")
    print(f"\nExpected not to pass: {len(others) - len(unexpected)}")
    for test, outcome in others.items():
        if test in reasons:
            print(f"  {test}: {outcome}: {reasons[test]}")
    print(f"\nNot expected: {len(unexpected)}")
    for test, outcome in unexpected.items():
        print(f"  {test}: {outcome}", *run.details.get(test, [])[-15:], sep="\n    ")
    passed = sorted(test for test in reasons if run.outcomes.get(test) == "passed")
    if passed:
        print(f"\nIn {EXPECTED.name}, and passed:", *passed, sep="\n  ")
    return unexpected


def read_expected(suite: str) -> dict[str, str]:
    """Why a test does not pass, by its id."""
    reasons: dict[str, str] = {}
    for entry in json.loads(EXPECTED.read_text(encoding="utf-8"))[suite]:
        reasons.update(dict.fromkeys(entry["tests"], entry["reason"]))
    return reasons


if __name__ == "__main__":
    sys.exit(main())
