"""``python -m scripts.django_suite``: run Django's own test suite with pindb, and compare."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pindb.testing.postgres import PostgresReplicaSet

from .fetch import Unavailable, fetch_tests

ROOT = Path(__file__).resolve().parent.parent.parent
EXPECTED = Path(__file__).with_name("expected.json")

LABELS = [
    "basic",
    "queries",
    "transactions",
    "multiple_database",
    "get_or_create",
    "select_for_update",
    "prefetch_related",
    "bulk_create",
    "admin_views",
    "sessions_tests",
    "async",
    "transaction_hooks",
    "backends",
    "raw_query",
    "lookup",
    "aggregation",
    "contenttypes_tests",
    "generic_relations",
    "m2m_through",
    "delete",
    "update",
    "model_forms",
]

#: Exit statuses, besides 0.
DIFFERENT, UNUSABLE = 1, 2


@dataclass(frozen=True)
class Mode:
    """How the suite is run.

    Attributes:
        text: what it shows.
        baseline: the mode without pindb that it is compared with; None: it is one.
        pindb: whether pindb is installed.
        enabled: the setting ``PINDB_ENABLED``.
        router: the router in ``DATABASE_ROUTERS``.
        mirrors: whether replicas share their master's connection, instead of being real.
        committing: whether tests that Django would roll back commit.
    """

    text: str
    baseline: str | None = None
    pindb: bool = True
    enabled: bool = True
    router: str = "pindb.GreedyPinDbRouter"
    mirrors: bool = False
    committing: bool = False


MODES = {
    "plain": Mode("without pindb", pindb=False),
    "plain-committing": Mode("without pindb; all tests commit", pindb=False, committing=True),
    "off": Mode("PINDB_ENABLED = False", "plain", enabled=False),
    "mirrors": Mode("replicas share the master's connection, and refuse writes", "plain", mirrors=True),
    "unpinned": Mode(
        "as mirrors, and writes do not pin, so that most reads come from replicas",
        "plain",
        mirrors=True,
        router="scripts.django_suite.routers.UnpinnedRouter",
    ),
    "replicas": Mode(
        "streaming replicas that replay between tests and requests only; all tests commit",
        "plain-committing",
        committing=True,
    ),
}


@dataclass
class Run:
    """The results of one mode.

    Attributes:
        outcomes, details: by the test's id.
        reads: how many statements read from each alias, and why, as `pindb.stats` says it.
    """

    mode: str
    seconds: float
    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    reads: dict[str, dict[str, int]] = field(default_factory=dict)
    log: str = ""

    def count(self, *outcomes: str) -> int:
        counts = Counter(self.outcomes.values())
        return sum(counts[outcome] for outcome in outcomes)


@dataclass(frozen=True)
class Difference:
    """A test whose outcome is not the baseline's."""

    mode: str
    test: str
    before: str
    after: str
    detail: str
    reason: str | None


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.django_suite",
        description="Run Django's own test suite with pindb on PostgreSQL and compare each test with a run "
        "without pindb. The tests come from the sdist of the installed Django.",
        epilog="Exit status: 0 no unexpected difference, 1 unexpected ones, 2 the suite could not run.",
    )
    compared = [name for name, mode in MODES.items() if mode.baseline]
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=compared,
        default=compared,
        metavar="MODE",
        help="; ".join(f"{name}: {MODES[name].text}" for name in compared),
    )
    parser.add_argument(
        "--labels", nargs="+", metavar="LABEL", help="what to run, as for Django's runtests.py"
    )
    other = parser.add_argument_group("another project's tests, in place of Django's")
    other.add_argument("--settings", metavar="MODULE", help="its settings for tests")
    other.add_argument(
        "--python", default=sys.executable, metavar="FILE", help="a Python with the project and pindb"
    )
    other.add_argument(
        "--databases", nargs="+", default=["default"], metavar="ALIAS", help="the databases of its tests"
    )
    other.add_argument("--folder", type=Path, metavar="FOLDER", help="where its tests are run from")
    parser.add_argument(
        "--parallel", type=int, default=1, metavar="N", help="processes, in modes that do not commit"
    )
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where sdists are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all results there")
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE", help="take the runs without pindb from an earlier --json"
    )
    parser.add_argument(
        "--timeout", type=float, default=3600, metavar="SECONDS", help="how long one mode may take"
    )
    options = parser.parse_args(arguments)
    if options.settings is None:
        options.labels = options.labels or LABELS
        options.databases = ["default", "other"]
    if options.settings is not None and not options.labels:
        parser.error("--settings needs --labels: which of the project's tests to run.")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        folder = fetch_tests(options.cache) if options.settings is None else options.folder or Path.cwd()
    except Unavailable as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    # The modes that were asked for, and their baselines before them.
    baselines = {MODES[name].baseline for name in options.modes}
    names = [name for name in MODES if name in options.modes or name in baselines]
    runs = read_baselines(options.baseline) if options.baseline else {}
    names = [name for name in names if name not in runs]
    # A test that waits for a lock for ever is a result, too.
    configuration = {"lock_timeout": "20s", "statement_timeout": "60s", "max_locks_per_transaction": "1024"}
    with PostgresReplicaSet(2, databases=options.databases, configuration=configuration) as servers:
        for name in names:
            print(f"{name}: {MODES[name].text} ...", flush=True)
            runs[name] = run_mode(name, folder, servers, options)
            if not runs[name].outcomes:
                print(f"{name} ran no test:\n{runs[name].log[-5000:]}", file=sys.stderr)
                return UNUSABLE
            # A run that broke off may have left them paused.
            for replica in (0, 1):
                servers.resume(replica)
    differences = [found for name in options.modes for found in compare(runs, name, options.labels)]
    print_table(runs)
    print_differences(differences, runs)
    if options.json:
        write_json(options.json, runs, differences)
    return DIFFERENT if any(found.reason is None for found in differences) else 0


def run_mode(name: str, folder: Path, servers: PostgresReplicaSet, options: argparse.Namespace) -> Run:
    """Run the labels in one mode, in a process of its own."""
    mode = MODES[name]
    masters = {alias: servers.database("master", alias) for alias in options.databases}
    replicas: dict[str, list[dict[str, Any]]] = {
        alias: [servers.database(index, alias) for index in (0, 1)] for alias in options.databases
    }
    if mode.mirrors:
        shared = {"ENGINE": "scripts.django_suite.mirror"}
        replicas = {alias: [shared, shared] for alias in options.databases}
    held = mode.pindb and mode.committing
    with tempfile.TemporaryDirectory() as temporary:
        results, stats = Path(temporary) / "results", Path(temporary) / "stats"
        config = {
            "pindb": mode.pindb,
            "enabled": mode.enabled,
            "settings": options.settings,
            "router": mode.router,
            "committing": mode.committing,
            "masters": masters,
            "replicas": replicas,
            "held": [servers.database(member) for member in servers.members] if held else None,
            "results": str(results),
            "stats": str(stats),
        }
        parallel = 1 if mode.committing else options.parallel
        program = ["runtests.py"] if options.settings is None else ["-m", "django", "test"]
        command = [options.python, *program, "--settings", "scripts.django_suite.settings", "--noinput"]
        command += ["--parallel", str(parallel), *options.labels]
        started = time.monotonic()
        with open(Path(temporary) / "log", "w+", encoding="utf-8", errors="replace") as log:
            try:
                subprocess.run(
                    command,
                    cwd=folder,
                    env={
                        **os.environ,
                        "PINDB_DJANGO_SUITE": json.dumps(config),
                        "PYTHONPATH": os.pathsep.join((str(folder.resolve()), str(ROOT))),
                        "TMPDIR": temporary,
                    },
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=options.timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                print(f"{name} took longer than {options.timeout:.0f} s.", file=sys.stderr)
            log.seek(0)
            run = Run(name, time.monotonic() - started, log=log.read())
        if results.exists():
            read_results(results, run)
        if stats.exists():
            run.reads = json.loads(stats.read_text(encoding="utf-8"))
    return run


def read_baselines(file: Path) -> dict[str, Run]:
    """The runs without pindb that `write_json` has written."""
    runs = json.loads(file.read_text(encoding="utf-8"))["runs"]
    return {name: Run(**run) for name, run in runs.items() if not MODES[name].pindb}


def read_results(file: Path, run: Run) -> None:
    """Read what the runner has written; what went wrong in a part of a test counts for the test."""
    for line in file.read_text(encoding="utf-8").splitlines():
        result = json.loads(line)
        test, outcome = result["test"], result["outcome"]
        if run.outcomes.get(test) in ("failed", "error"):
            continue
        run.outcomes[test] = outcome
        run.details[test] = result["detail"]


def compare(runs: dict[str, Run], name: str, labels: Sequence[str]) -> list[Difference]:
    """The tests of a mode that end otherwise than in its baseline."""
    run, baseline = runs[name], runs[MODES[name].baseline or name]
    # One that was read from a file may have more.
    wanted = re.compile(rf"(\w+ \()?({'|'.join(map(re.escape, labels))})(\.|\)|$)")
    reasons = expected_differences(name)
    found = []
    for test in sorted({*run.outcomes, *filter(wanted.match, baseline.outcomes)}):
        before, after = baseline.outcomes.get(test, "not run"), run.outcomes.get(test, "not run")
        if before != after:
            detail = run.details.get(test, "")
            found.append(Difference(name, test, before, after, detail, reasons.get(test)))
    return found


def expected_differences(mode: str) -> dict[str, str]:
    """Why a test may differ in a mode, by the test's id."""
    reasons = {}
    for entry in json.loads(EXPECTED.read_text(encoding="utf-8")):
        if mode in entry["modes"]:
            reasons.update(dict.fromkeys(entry["tests"], entry["reason"]))
    return reasons


def print_table(runs: dict[str, Run]) -> None:
    print(
        f"\n{'mode':<18}{'run':>7}{'passed':>8}{'failed':>8}{'errors':>8}{'skipped':>9}{'seconds':>9}  reads"
    )
    for name, run in runs.items():
        passed, skipped = run.count("passed", "expected failure"), run.count("skipped")
        failed, errors = run.count("failed", "unexpected success"), run.count("error")
        reads = ", ".join(f"{alias} {sum(why.values())}" for alias, why in sorted(run.reads.items()))
        print(
            f"{name:<18}{len(run.outcomes):>7}{passed:>8}{failed:>8}{errors:>8}{skipped:>9}{run.seconds:>9.0f}",
            reads,
            sep="  ",
        )


def print_differences(differences: list[Difference], runs: dict[str, Run]) -> None:
    for title, wanted in (("Expected differences", True), ("Unexpected differences", False)):
        found = [one for one in differences if (one.reason is not None) is wanted]
        print(f"\n{title}: {len(found)}")
        for one in found:
            last = one.reason or (one.detail.strip().splitlines() or [""])[-1]
            print(f"  {one.mode}: {one.test}: {one.before} -> {one.after}: {last}")
    differing = {(one.mode, one.test) for one in differences}
    same = [
        f"  {name}: {test}"
        for name, run in runs.items()
        for test in expected_differences(name)
        if test in run.outcomes and (name, test) not in differing
    ]
    if same:
        print(f"\nIn {EXPECTED.name}, and no different in this run:", *same, sep="\n")


def write_json(file: Path, runs: dict[str, Run], differences: list[Difference]) -> None:
    data = {
        "runs": {name: vars(run) for name, run in runs.items()},
        "differences": [vars(one) for one in differences],
    }
    file.write_text(json.dumps(data, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
