"""The load and the failures, at the same time."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

from benchmarks.chaos.figures import make_report
from benchmarks.chaos.record import Record, Watcher, carry_out
from benchmarks.chaos.schedule import REPLICAS, Schedule, make_schedule
from benchmarks.chaos.site import DOWNTIME, PASSWORD, PROCESSES, THREADS, USER, Site, site_started
from benchmarks.chaos.visitors import Seen, Task, log_in, visit
from benchmarks.report import Report

__all__ = ["SEED", "unleash"]

SEED = 1

#: Processes of visitors, and in each of them visitors who write, and who only read.
CROWDS, WRITERS, READERS = 2, 5, 3

ABOUT = (
    f"The demo site in {PROCESSES} processes of {THREADS} threads, a master and {len(REPLICAS)} replicas; "
    f"PINDB_CONSISTENCY = 'position', PINDB_REPLICA_DOWNTIME = {DOWNTIME:g}, connections that stay open. "
    f"{CROWDS} processes of visitors: {CROWDS * WRITERS} who write and read, {CROWDS * READERS} who only "
    "read. {seconds:g} seconds of the schedule of seed {seed}."
)


def unleash(quick: bool, seed: int) -> Report:
    """Let visitors come while the schedule of `seed` happens to the servers."""
    schedule = make_schedule(seed, quick)
    with site_started() as site:
        seen, record, started = _run(site, schedule, seed)
        about = ABOUT.format(seconds=schedule.seconds, seed=seed)
        return make_report(seen, record, site.ports, started, about)


def _run(site: Site, schedule: Schedule, seed: int) -> tuple[Seen, Record, float]:
    session = log_in(site.ports[0], USER, PASSWORD)
    each = WRITERS + READERS
    notices = site.add_notices(CROWDS * each)
    site.servers.wait_until_caught_up()
    with (
        ProcessPoolExecutor(CROWDS, multiprocessing.get_context("spawn")) as pool,
        Watcher(site.servers) as watcher,
    ):
        # All of them start before the time of the load begins.
        list(pool.map(time.sleep, [0.3] * CROWDS))
        started = time.monotonic()
        tasks = [
            Task(
                seed,
                site.ports,
                session,
                writers=notices[number * each : number * each + WRITERS],
                readers=notices[number * each + WRITERS : (number + 1) * each],
                until=started + schedule.seconds,
            )
            for number in range(CROWDS)
        ]
        crowds = [pool.submit(visit, task) for task in tasks]
        done = carry_out(schedule.actions, site.servers, started)
        seen = Seen()
        for crowd in crowds:
            found = crowd.result()
            seen.reads += found.reads
            seen.writes += found.writes
    return seen, Record(done, watcher.positions), started
