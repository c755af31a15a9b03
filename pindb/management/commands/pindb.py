"""The command ``manage.py pindb``: what is where in a cache on many servers, and moving it."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.cache import InvalidCacheBackendError, caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

PLAN = """
Print how many keys would move to other servers if the cache's settings changed: with servers added or
removed, or with another router. Nothing changes until --move is written.

--move copies the keys, with their times to live, to where the new settings look for them. The site may go on
meanwhile; run it again for what was written since, or after an interruption. Then change the site's settings.
Copies whose originals were deleted in the meantime are deleted when it runs again.

Only keys of the cache count, of all versions: those that begin with its KEY_PREFIX and a colon (with the
default KEY_FUNCTION; without a KEY_PREFIX, those that begin with a colon). --match names others.
"""


#: How many failures are printed.
SHOWN = 20


class Command(BaseCommand):
    help = "Shows what is where in a cache on many Redis servers, and moves it when servers come or go."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="subcommand", metavar="cache | where | plan", required=True)

        cache = commands.add_parser("cache", help="the servers of a cache, how full they are, and their hits")
        cache.add_argument("alias", nargs="?", default="default", help="its name in CACHES (default)")

        where = commands.add_parser("where", help="where a key of a cache lives")
        where.add_argument("key", help="the key, as the site's code has it")
        where.add_argument("--cache", default="default", help="the cache's name in CACHES (default)")
        where.add_argument("--version", type=int, dest="key_version", help="the key's version")

        plan = commands.add_parser(
            "plan",
            help="what would move if the servers of a cache changed, and moving it",
            description=PLAN,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        plan.add_argument("--cache", default="default", help="the cache's name in CACHES (default)")
        change = plan.add_argument_group("the change")
        urls: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "URL"}
        change.add_argument("--add", help="servers to add at the end of LOCATION", **urls)
        change.add_argument("--remove", help="servers to remove from LOCATION", **urls)
        change.add_argument("--router", metavar="NAME", help="another router: a short name or a dotted path")
        keys = plan.add_argument_group("which keys")
        keys.add_argument("--match", metavar="PATTERN", help="the keys of the cache, as SCAN takes a pattern")
        amount = keys.add_mutually_exclusive_group()
        amount.add_argument(
            "--limit",
            type=_positive,
            default=100_000,
            metavar="N",
            help="look at so many keys for the plan, about (100,000)",
        )
        amount.add_argument("--all", action="store_true", dest="all_keys", help="look at all keys")
        amount.add_argument(
            "--sample", type=_positive, metavar="N", help="make up so many keys, and ask no server"
        )
        move = plan.add_argument_group("carrying it out")
        move.add_argument("--move", action="store_true", help="copy all keys that would move")
        move.add_argument(
            "--delete",
            action="store_true",
            help="delete originals once they are copied, if they have not changed since: the site does not "
            "find them until its settings change",
        )
        move.add_argument(
            "--noinput",
            "--no-input",
            "--yes",
            action="store_false",
            dest="interactive",
            help="do not ask whether to delete",
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
                f"There is no cache {alias!r} in CACHES; there are: {known}. ({error})"
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
            there = f"not known: {error}"
        else:
            there = {-2: "no", -1: "yes, for ever"}.get(left, f"yes, for {left / 1000:,.1f} s more")
        for label, value in (
            ("stored as", name),
            ("server", f"{host.host_id}, {host.address}"),
            ("is there", there),
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
            raise CommandError("Nothing would change. Write --add URL, --remove URL or --router NAME.")
        if options["delete"] and not options["move"]:
            raise CommandError("--delete deletes what --move has copied. Write --move, too.")
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
            raise CommandError(f"{error} --sample 20000 makes a plan without asking servers.") from error
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
                f"{plan.elsewhere:,} more lie where the cache does not look for them: copies of an earlier "
                "move, or what was written while a server was down. They do not count."
            )

    def _print_settings(self, location: Any, now: Any, then: Any, options: dict[str, Any]) -> None:
        from pindb.cache.target import describe_hosts

        named = isinstance(location, str) and "://" not in location
        place = f"PINDB_CLUSTERS[{location!r}]" if named else f"CACHES[{options['cache']!r}]"
        self.stdout.write(f"The settings would be, in {place}:")
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
            self.stdout.write("Originals are deleted: the site does not find them until its settings change.")
            if input("Type 'yes' to go on: ").strip().lower() != "yes":
                raise CommandError("Nothing was moved, and nothing deleted.")
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
                "Interrupted. Nothing is lost: run the same command again to go on.", returncode=130
            ) from None
        self._print_progress(move)
        if not move.failures:
            return
        for failure in move.failures[:SHOWN]:
            self.stderr.write(str(failure))
        failed = move.progress.failed
        raise CommandError(
            f"{failed:,} failed{f', of which the first {SHOWN} are above' if failed > SHOWN else ''}. Their "
            "originals are where they were. Once the servers are in order, run the same command again."
        )

    def _print_progress(self, move: Any) -> None:
        progress = move.progress
        parts = {
            "copied": progress.copied,
            "there already": progress.same,
            "expired meanwhile": progress.expired,
            "originals deleted": progress.deleted,
            "originals kept, which have changed meanwhile": progress.kept,
            "copies taken back, whose originals are gone": progress.taken_back,
            "copies not remembered: they stay if their originals go": progress.forgotten,
            "failed": progress.failed,
        }
        shown = [f"{number:,} {name}" for name, number in parts.items() if number or name == "copied"]
        self.stdout.write(f"Keys: {', '.join(shown)}.")


def _names(cluster: Any) -> dict[str, str]:
    """The numbers of a cluster's hosts by their addresses."""
    names: dict[str, str] = {}
    for host_id, host in cluster.hosts.items():
        names[host.address] = f"{names[host.address]}, {host_id}" if host.address in names else str(host_id)
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more.")
    return number
