"""``python -m scripts.django_redis_suite``: run django-redis's own tests with pindb's client, and compare."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pindb.testing.redis import TestSetup
from scripts.django_suite.fetch import Unavailable, cache_folder, fetch_sdist

ROOT = Path(__file__).resolve().parent.parent.parent
EXPECTED = Path(__file__).with_name("expected.json")

#: Exit statuses, besides 0.
DIFFERENT, UNUSABLE = 1, 2

#: What django-redis's tests need beside pytest.
NEEDED = ("pytest-mock", "pytest-xdist", "execnet", "msgpack", "lz4", "pyzstd")

#: django-redis's settings for tests whose client is its `DefaultClient`.
SETTINGS = (
    *("sqlite", "sqlite_gzip", "sqlite_json", "sqlite_lz4", "sqlite_msgpack", "sqlite_usock"),
    *("sqlite_zlib", "sqlite_zstd"),
)


@dataclass(frozen=True)
class Mode:
    """How the suite is run.

    Attributes:
        text: what it shows.
        servers: how many servers a cache has.
        options: ``OPTIONS`` of pindb's client; None: django-redis's own client.
    """

    text: str
    servers: int = 1
    options: dict[str, Any] | None = None


MODES = {
    "own": Mode("django-redis's own client"),
    "one": Mode("pindb's client on one server", 1, {}),
    "ring": Mode("pindb's client on three servers, by consistent hashing", 3, {"ROUTER": "consistent"}),
    "partition": Mode("pindb's client on three servers, by a modulo", 3, {"ROUTER": "partition"}),
}


@dataclass
class Run:
    """The results of one mode with one of the settings.

    Attributes:
        outcomes, details: by the test's id.
        log: what pytest printed.
    """

    mode: str
    settings: str
    seconds: float = 0.0
    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, list[str]] = field(default_factory=dict)
    log: str = ""


@dataclass(frozen=True)
class Difference:
    """A test that does not end as with django-redis's own client."""

    mode: str
    settings: str
    test: str
    before: str
    after: str
    detail: Sequence[str]
    reason: str | None


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.django_redis_suite",
        description="Run django-redis's own tests on real Redis servers, with its own client and with "
        "pindb's, and compare test by test. The tests come from the sdist of the installed django-redis.",
        epilog="Exit status: 0 no unexpected difference, 1 unexpected ones, 2 the suite could not run.",
    )
    compared = [name for name in MODES if name != "own"]
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=compared,
        default=compared,
        metavar="MODE",
        help="; ".join(f"{name}: {MODES[name].text}" for name in compared),
    )
    parser.add_argument(
        "--settings",
        nargs="+",
        choices=SETTINGS,
        metavar="NAME",
        default=SETTINGS,
        help=f"django-redis's settings: {', '.join(SETTINGS)}",
    )
    parser.add_argument(
        "--tests", nargs="+", default=["tests"], metavar="FILE", help="tests/test_backend.py ..."
    )
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where downloads are kept")
    parser.add_argument(
        "--needed",
        type=Path,
        metavar="FOLDER",
        help=f"a folder with {', '.join(NEEDED)}, where pip is not to install them into the cache",
    )
    parser.add_argument("--source", type=Path, metavar="FOLDER", help="a folder with django-redis's tests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all results there")
    parser.add_argument(
        "--timeout", type=float, default=300, metavar="SECONDS", help="how long one run may take"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    cache = options.cache or cache_folder()
    runs: list[Run] = []
    try:
        source = options.source or fetch_sdist("django_redis", version("django-redis"), cache)
        needed = options.needed or fetch_needed(cache)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    with (
        TestSetup(servers=3, databases_each=16, tcp=True) as servers,
        TestSetup(servers=3, databases_each=16) as others,
    ):
        for settings in options.settings:
            for mode in ("own", *options.modes):
                print(f"{settings}, {mode}: {MODES[mode].text} ...", flush=True)
                servers.flush()
                others.flush()
                run = run_suite(mode, settings, source, needed, servers, others, options)
                if not run.outcomes:
                    print(f"No test was run:\n{run.log[-5000:]}", file=sys.stderr)
                    return UNUSABLE
                runs.append(run)
    differences = list(compare(runs))
    report(runs, differences)
    if options.json:
        data = {"runs": [vars(run) for run in runs], "differences": [vars(one) for one in differences]}
        options.json.write_text(json.dumps(data, indent=1), encoding="utf-8")
    return DIFFERENT if any(one.reason is None for one in differences) else 0


def fetch_needed(cache: Path) -> Path:
    """Return the folder with the packages of `NEEDED`, installed there at the first use."""
    folder = cache / f"django-redis-needs-{sys.implementation.cache_tag}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            command += ["--no-deps", "--target", f"{temporary}/needed", *NEEDED]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Unavailable(f"pip could not install {', '.join(NEEDED)}:\n{done.stderr[-2000:]}")
            Path(temporary, "needed").rename(folder)
    return folder


def run_suite(
    mode: str,
    settings: str,
    source: Path,
    needed: Path,
    servers: TestSetup,
    others: TestSetup,
    options: argparse.Namespace,
) -> Run:
    """Run the tests for one of the settings in a process of their own."""
    run, number = Run(mode, settings), MODES[mode].servers
    how = {
        "tcp": [f"127.0.0.1:{servers.host(server)['port']}" for server in range(number)],
        "sockets": [others.host(server)["unix_socket_path"] for server in range(number)],
        "options": MODES[mode].options,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder, results = Path(temporary) / "suite", Path(temporary) / "results"
        # Without the project's own package beside it: the one that is installed is tested.
        shutil.copytree(source / "tests", folder / "tests")
        for file in (folder / "tests" / "settings").glob("sqlite*.py"):
            text = file.read_text(encoding="utf-8")
            more = "from scripts.django_redis_suite.rewriting import rewrite\n\nrewrite(CACHES)\n"
            file.write_text(f"{text}\n{more}", encoding="utf-8")
        (folder / "pytest.ini").write_text("[pytest]\npythonpath = tests\nxfail_strict = true\n")
        command = [sys.executable, "-m", "pytest", "--color=no", "-p", "no:cacheprovider"]
        command += ["--continue-on-collection-errors"]
        command += ["-p", "scripts.client_suites.recorder", "-p", "scripts.django_redis_suite.selecting"]
        paths = [folder, needed, ROOT]
        started = time.monotonic()
        try:
            done = subprocess.run(
                [*command, *options.tests],
                cwd=folder,
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": f"settings.{settings}",
                    "PINDB_CLIENT_SUITE": str(results),
                    "PINDB_DJANGO_REDIS": json.dumps(how),
                    "PINDB_DJANGO_REDIS_SETTINGS": settings,
                    "PYTHONPATH": os.pathsep.join(map(str, paths)),
                },
                capture_output=True,
                text=True,
                errors="replace",
                timeout=options.timeout,
                check=False,
            )
            run.log = done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            print(f"This took longer than {options.timeout:.0f} s.", file=sys.stderr)
            run.outcomes["the whole suite"] = "took too long"
        run.seconds = time.monotonic() - started
        if results.exists():
            for line in results.read_text(encoding="utf-8").splitlines():
                result = json.loads(line)
                test = result["test"].removeprefix("tests/").replace(f"[{settings}]", "")
                test = test.replace(f"[{settings}-", "[").replace(f"-{settings}]", "]")
                if run.outcomes.get(test, "passed") == "passed":
                    run.outcomes[test], run.details[test] = result["outcome"], result["detail"]
    return run


def compare(runs: Sequence[Run]) -> list[Difference]:
    """The tests that do not end as with django-redis's own client."""
    own = {run.settings: run for run in runs if run.mode == "own"}
    reasons: dict[str, str] = {}
    for entry in json.loads(EXPECTED.read_text(encoding="utf-8")):
        reasons.update(dict.fromkeys(entry["tests"], entry["reason"]))
    found = []
    for run in runs:
        baseline = own[run.settings]
        for test in sorted({*run.outcomes, *baseline.outcomes}):
            before, after = baseline.outcomes.get(test, "not run"), run.outcomes.get(test, "not run")
            if before != after:
                detail, reason = run.details.get(test, []), reasons.get(test)
                found.append(Difference(run.mode, run.settings, test, before, after, detail, reason))
    return found


def report(runs: Sequence[Run], differences: Sequence[Difference]) -> None:
    print(
        f"\n{'settings':<16}{'mode':<11}{'run':>5}{'passed':>8}{'failed':>8}{'errors':>8}{'skipped':>9}{'s':>6}"
    )
    for run in runs:
        counts = Counter(run.outcomes.values())
        numbers = [counts[outcome] for outcome in ("passed", "failed", "error", "skipped")]
        columns = "".join(f"{number:>8}" for number in numbers[:3])
        print(
            f"{run.settings:<16}{run.mode:<11}{len(run.outcomes):>5}{columns}{numbers[3]:>9}{run.seconds:>6.0f}"
        )
    expected: dict[tuple[str, str], list[str]] = {}
    for one in differences:
        if one.reason is not None:
            expected.setdefault((one.test, one.reason), []).append(f"{one.settings} {one.mode}")
    print(f"\nExpected differences: {len(expected)}")
    for (test, reason), where in expected.items():
        print(f"  {test} ({len(where)} runs): {reason}")
    unexpected = [one for one in differences if one.reason is None]
    print(f"\nUnexpected differences: {len(unexpected)}")
    for one in unexpected:
        print(f"  {one.settings}, {one.mode}: {one.test}: {one.before} -> {one.after}")
        for line in one.detail[-12:]:
            print(f"    {line}")


if __name__ == "__main__":
    sys.exit(main())
