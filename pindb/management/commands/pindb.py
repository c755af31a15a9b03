"""The command ``manage.py pindb``: statistics of a sharded cache, and resharding."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.cache import InvalidCacheBackendError, caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

PLAN = """
Print how many keys would move to other servers if servers were added or removed, or the router changed.
Changes nothing, unless you write --move.

--move copies these keys, with their times to live, to the servers where the new settings look for them. The
site can stay online. Run the command again after an interruption, and once more to copy what was written
meanwhile; then change the site's settings. Copies whose originals have been deleted meanwhile are deleted by
the next run.

Only the cache's own keys count, of all versions. With the default KEY_FUNCTION these are the keys that begin
with KEY_PREFIX and a colon, or just a colon if there is no KEY_PREFIX. --match names other keys.
"""


#: How many failures are printed at most.
SHOWN = 20


class Command(BaseCommand):
    help = (
        "Show the servers and keys of a sharded Redis cache, and move keys when servers are added or removed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="subcommand", metavar="cache | where | plan", required=True)

        cache = commands.add_parser("cache", help="show the servers of a cache: keys, memory, hit rates")
        cache.add_argument(
            "alias", nargs="?", default="default", help="the alias of the cache in CACHES (default)"
        )

        where = commands.add_parser("where", help="show which server has a key")
        where.add_argument("key", help="the key as in the site's code, without prefix and version")
        where.add_argument("--cache", default="default", help="the alias of the cache in CACHES (default)")
        where.add_argument("--version", type=int, dest="key_version", help="the version of the key")

        plan = commands.add_parser(
            "plan",
            help="show which keys would move if the servers of a cache changed, and move them",
            description=PLAN,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        plan.add_argument("--cache", default="default", help="the alias of the cache in CACHES (default)")
        change = plan.add_argument_group("the change")
        urls: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "URL"}
        change.add_argument("--add", help="servers to add, at the end of LOCATION", **urls)
        change.add_argument("--remove", help="servers to remove from LOCATION", **urls)
        change.add_argument("--router", metavar="NAME", help="another router: its short name or dotted path")
        keys = plan.add_argument_group("which keys")
        keys.add_argument("--match", metavar="PATTERN", help="a pattern for SCAN: the keys of the cache")
        amount = keys.add_mutually_exclusive_group()
        amount.add_argument(
            "--limit",
            type=_positive,
            default=100_000,
            metavar="N",
            help="plan with a sample of about N keys (100,000)",
        )
        amount.add_argument("--all", action="store_true", dest="all_keys", help="plan with all keys")
        amount.add_argument(
            "--sample",
            type=_positive,
            metavar="N",
            help="plan with N made-up keys, without connecting to servers",
        )
        move = plan.add_argument_group("carrying it out")
        move.add_argument("--move", action="store_true", help="copy all keys that would move")
        move.add_argument(
            "--delete",
            action="store_true",
            help="delete originals after copying, unless they have changed meanwhile. The site misses these "
            "keys until its settings change",
        )
        move.add_argument(
            "--noinput",
            "--no-input",
            "--yes",
            action="store_false",
            dest="interactive",
            help="do not ask before deleting",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            from pindb.cache.statistics import find_shards
            from pindb.management.tables import Output
        except ImportError as error:
            # It names what is missing, and the extra to install.
            raise CommandError(str(error)) from error
        self.output = Output(self.stdout, self.style)

        alias = options["alias"] if options["subcommand"] == "cache" else options["cache"]
        try:
            self.shards = find_shards(alias)
        except InvalidCacheBackendError as error:
            known = ", ".join(map(repr, caches.settings))
            raise CommandError(
                f"There is no cache {alias!r} in CACHES. There are: {known}. ({error})"
            ) from error
        except (ImproperlyConfigured, ImportError) as error:
            raise CommandError(str(error)) from error
        getattr(self, f"_{options['subcommand']}")(alias, options)

    # ---- cache ---------------------------------------------------------------------------------

    def _cache(self, alias: str, options: dict[str, Any]) -> None:
        from pindb.cache.statistics import stats

        self.output.print_stats(stats(alias))

    # ---- where ---------------------------------------------------------------------------------

    def _where(self, alias: str, options: dict[str, Any]) -> None:
        from redis.exceptions import RedisError

        from pindb.cache.plan import find_hosts

        name = str(caches[alias].make_key(options["key"], version=options["key_version"]))
        cluster = self.shards.cluster
        host = cluster.hosts[find_hosts(cluster, [name])[0]]
        try:
            left = cluster.get_local_client(host.host_id).pttl(name)
        except RedisError as error:
            there = f"unknown: {error}"
        else:
            there = {-2: "no", -1: "yes, without expiry"}.get(left, f"yes, expires in {left / 1000:,.1f} s")
        for label, value in (
            ("stored as", name),
            ("server", f"{host.host_id}, {host.place}"),
            ("exists", there),
        ):
            self.stdout.write(f"{label:<10} {value}")

    # ---- plan ----------------------------------------------------------------------------------

    def _plan(self, alias: str, options: dict[str, Any]) -> None:
        from redis.exceptions import RedisError

        from pindb.cache.options import read_options
        from pindb.cache.plan import make_cluster
        from pindb.cache.scan import make_full_pattern
        from pindb.cache.target import change_servers

        if not (options["add"] or options["remove"] or options["router"]):
            raise CommandError("There is no change to plan. Write --add URL, --remove URL or --router NAME.")
        if options["delete"] and not options["move"]:
            raise CommandError("--delete has no effect without --move. Write both, or neither.")
        settings = caches.settings[alias]
        location = settings.get("LOCATION")
        try:
            now = read_options(location, settings.get("OPTIONS") or {})
            then = change_servers(now, options["add"], options["remove"], options["router"])
            clusters = [make_cluster(now), make_cluster(then)]
            pattern = options["match"]
            if pattern is None and (options["sample"] is None or options["move"]):
                pattern = make_full_pattern(caches[alias])
        except (ImproperlyConfigured, ValueError, TypeError) as error:
            raise CommandError(str(error)) from error
        try:
            self._print_plan(alias, clusters, pattern, options)
            self._print_settings(location, now, then, options)
            if options["move"]:
                self._move(clusters, pattern, options)
        except RedisError as error:
            if options["move"]:
                raise CommandError(f"Nothing was moved: {error}") from error
            raise CommandError(
                f"{error} To plan without connecting to servers, write --sample 20000."
            ) from error
        finally:
            for cluster in clusters:
                cluster.disconnect_pools()

    def _print_plan(self, alias: str, clusters: list[Any], pattern: str, options: dict[str, Any]) -> None:
        from pindb.cache.plan import plan_keys, plan_scanned

        now, then = clusters
        if options["sample"] is not None:
            cache = caches[alias]
            keys = [str(cache.make_key(f"key:{number}")) for number in range(options["sample"])]
            plan = plan_keys(now, then, keys)
            of = "made-up keys"
        else:
            plan = plan_scanned(now, then, pattern, None if options["all_keys"] else options["limit"])
            of = "keys"
            if plan.seen < plan.total:
                of += f" in a sample (about {plan.seen / plan.total:.2%} of all)"
        self.stdout.write(f"Of {plan.keys:,} {of}, {plan.moving:,} would move: {plan.share:.1%}.")
        self.output.print_plan(plan, *map(_names, clusters))
        if plan.elsewhere:
            self.stdout.write(
                f"{plan.elsewhere:,} more keys are on servers where the cache does not look for them: copies "
                "of an earlier move, or keys written while a server was down. They are not counted."
            )

    def _print_settings(self, location: Any, now: Any, then: Any, options: dict[str, Any]) -> None:
        from pindb.cache.target import describe_hosts

        named = isinstance(location, str) and "://" not in location
        place = f"PINDB_CLUSTERS[{location!r}]" if named else f"CACHES[{options['cache']!r}]"
        self.stdout.write(f"The new settings in {place}:")
        if options["add"] or options["remove"]:
            hosts = describe_hosts(then)
            start, end = ("hosts", "{}") if named else ("LOCATION", "[]")
            self.stdout.write(f'    "{start}": {end[0]}')
            for host_id, host in hosts.items():
                self.stdout.write(f"        {f'{host_id}: ' if named else ''}{host!r},")
            self.stdout.write(f"    {end[1]},")
        router, more = (
            ("router", "router_options") if named else ("OPTIONS: ROUTER", "OPTIONS: ROUTER_OPTIONS")
        )
        if options["router"]:
            self.stdout.write(f"    {router}: {options['router']!r}")
        weights = then.servers.router_options.get("weights")
        if weights != now.servers.router_options.get("weights"):
            self.stdout.write(f"    {more}: weights: {weights!r}")

    def _move(self, clusters: list[Any], pattern: str, options: dict[str, Any]) -> None:
        from pindb.cache.move import Move

        if options["delete"] and options["interactive"]:
            self.stdout.write("Originals will be deleted. The site misses them until its settings change.")
            if input("Type 'yes' to continue: ").strip().lower() != "yes":
                raise CommandError("Cancelled. Nothing was moved or deleted.")
        now, then = clusters
        move = Move(now, then, pattern, delete=options["delete"])
        try:
            with self.output.progress("Moving") as update:
                for progress in move.run():
                    note = f"{progress.copied + progress.same:,} moved"
                    update(progress.seen, progress.total, note)
        except KeyboardInterrupt:
            self._print_progress(move)
            raise CommandError(
                "Interrupted. No key is lost. To continue, run the same command again.", returncode=130
            ) from None
        self._print_progress(move)
        if not move.failures:
            return
        for failure in move.failures[:SHOWN]:
            self.stderr.write(str(failure))
        failed = move.progress.failed
        raise CommandError(
            f"{failed:,} keys failed{f'; the first {SHOWN} are above' if failed > SHOWN else ''}. Their "
            "originals are unchanged. When the servers work again, run the same command again."
        )

    def _print_progress(self, move: Any) -> None:
        progress = move.progress
        parts = {
            "copied": progress.copied,
            "already there": progress.same,
            "expired meanwhile": progress.expired,
            "originals deleted": progress.deleted,
            "originals kept, since they changed meanwhile": progress.kept,
            "copies deleted, since their originals are gone": progress.orphans_deleted,
            "copies not recorded, which stay even if their originals are deleted": progress.unrecorded,
            "failed": progress.failed,
        }
        shown = [f"{number:,} {name}" for name, number in parts.items() if number or name == "copied"]
        self.stdout.write(f"Keys: {', '.join(shown)}.")


def _names(cluster: Any) -> dict[str, str]:
    """Return the ids of a cluster's hosts by their addresses."""
    names: dict[str, str] = {}
    for host_id, host in cluster.hosts.items():
        names[host.address] = f"{names[host.address]}, {host_id}" if host.address in names else str(host_id)
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1. Write 1 or more.")
    return number
