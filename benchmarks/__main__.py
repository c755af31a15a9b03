"""``python -m benchmarks NAME``: run one benchmark and print its figures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

#: By name: the module, which has ``run(quick: bool) -> Report``, and what it measures.
BENCHMARKS = {
    "router": ("benchmarks.router", "ns per routed query and µs per request, beside other routers"),
    "hashing": ("benchmarks.hashing", "look-ups per second on rings and partitions, beside other libraries"),
    "map": ("benchmarks.map", "GET and SET per second through a map and one by one, beside rb and redis-py"),
    "cache": (
        "benchmarks.cache",
        "ms per call of a cache on four servers, beside django-redis and Django's own",
    ),
    "consistency": (
        "benchmarks.consistency",
        "stale reads, and reads from replicas that lag, by what is done about them",
    ),
    "chaos": ("benchmarks.chaos", "failed and stale reads of the demo site while its servers fail"),
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure pindb beside its peers, in one run on this machine.",
        epilog="The peers and the tables need: pip install -e '.[test]'",
    )
    names = parser.add_subparsers(title="benchmarks", metavar="NAME", dest="name", required=True)
    for name, (_, text) in BENCHMARKS.items():
        one = names.add_parser(name, help=text, description=f"Measure {text}.")
        one.add_argument(
            "--json",
            type=Path,
            metavar="FILE",
            help="also write the figures there: a list of {case, subject, value, unit}",
        )
        one.add_argument(
            "--markdown", type=Path, metavar="FILE", help="also write them there as tables of Markdown"
        )
        if name == "map":
            one.add_argument("--profile", action="store_true", help="also print where pindb's time goes")
            one.add_argument(
                "--cluster", action="store_true", help="on a Redis Cluster, beside the clients for it"
            )
        if name == "chaos":
            one.add_argument("--seed", type=int, metavar="N", help="what the schedule is made from")
            one.add_argument(
                "--redis", action="store_true", help="Redis servers and a Redis Cluster in place of the site"
            )
        one.add_argument(
            "--quick", action="store_true", help="a few short rounds: shows that it runs, not how fast"
        )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    module = "benchmarks.redis_chaos" if getattr(options, "redis", False) else BENCHMARKS[options.name][0]
    try:
        more = {name: True for name in ("profile", "cluster") if getattr(options, name, False)}
        if getattr(options, "seed", None) is not None:
            more = {"seed": options.seed}
        report = import_module(module).run(quick=options.quick, **more)
        from benchmarks.report import print_report, write_json, write_markdown
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "benchmarks", "pindb"):
            raise
        print(
            f"The benchmark {options.name!r} needs the package {package!r}, which is not installed. "
            "Run: pip install -e '.[test]'",
            file=sys.stderr,
        )
        return 2
    print_report(report)
    if options.json:
        write_json(report, options.json)
    if options.markdown:
        write_markdown(report, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
