"""What came of the load and the failures, as figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median, quantiles

from benchmarks.chaos.record import Record
from benchmarks.chaos.schedule import MASTER, REPLICAS, SETTLED
from benchmarks.chaos.visitors import Read, Seen
from benchmarks.report import Report, Row, Target

__all__ = ["make_report"]

#: How long (seconds) after an action latencies count as its consequence.
AFTER = 1.0

FAILED = "failed, though a server was there that may serve them"
STALE = "without the visitor's own last write"
PINNED, AWAY = "of visitors who were pinned", "while the master was away"
SERVES = "a returned replica serves"

NOTES = (
    "Reads that nobody could serve: the master was away, and the visitor's pin went by time (the write "
    "before it had met the master's end), or no replica had what the visitor wrote; a replica counts again "
    f"{SETTLED:g} seconds after its return. Whoever is not pinned may be served by any server.",
    f"Latencies: from the first byte sent to the last one received; after an action: up to {AFTER:g} s. "
    "Until a replica serves: from when it accepts connections again to the end of the first page from it, of "
    "any process of the site, and of each.",
)


def make_report(seen: Seen, record: Record, ports: Sequence[int], started: float, about: str) -> Report:
    """The figures, the targets, and what was done.

    Arguments:
        seen: what visitors saw.
        record: what happened to the servers.
        ports: the processes of the site.
        started: when the load started (`time.monotonic`).
        about: what load it was, and on what.
    """
    failed = [read for read in seen.reads if not read.succeeded]
    wrongly = [read for read in failed if record.may_be_served(read)]
    stale = [read for read in seen.reads if read.is_stale]
    rows = [
        Row("requests", "all", len(seen.reads) + len(seen.writes), "requests"),
        *_served(seen.reads, record),
        Row("reads", FAILED, len(wrongly), "reads"),
        Row("reads", "failed, nobody could serve them", len(failed) - len(wrongly), "reads"),
        Row("reads", STALE, len(stale), "reads"),
        Row("writes", "acknowledged", sum(write.succeeded for write in seen.writes), "writes"),
        Row("writes", "failed", sum(not write.succeeded for write in seen.writes), "writes"),
        *_latencies(seen.reads, record),
        *_returns(seen.reads, record, ports),
    ]
    targets = [Target(f"reads {FAILED}", len(wrongly), 0), Target(f"reads {STALE}", len(stale), 0)]
    actions = ", ".join(f"{one.began - started:.1f} {one.verb} {one.member}" for one in record.done)
    notes = [about, *NOTES, f"What was done, by the second: {actions}."]
    for text, reads in ((FAILED, wrongly), (STALE, stale)):
        notes += [f"{text}: {_describe(read, started)}" for read in reads[:5]]
    return Report("Reads while servers fail", rows, targets, notes)


def _served(reads: Sequence[Read], record: Record) -> Iterator[Row]:
    served = [read for read in reads if read.succeeded]
    for member, number in sorted(Counter(read.member for read in served).items()):
        yield Row("reads", f"served by {member}", number, "reads")
    pinned = [read for read in served if read.pin]
    away = [read for read in served if record.up_since(MASTER, read.began, read.ended) is None]
    both = [read for read in away if read.pin]
    for whose, chosen in ((PINNED, pinned), (AWAY, away), (f"{PINNED}, {AWAY}", both)):
        yield Row("reads", f"served, {whose}", len(chosen), "reads")


def _latencies(reads: Sequence[Read], record: Record) -> Iterator[Row]:
    served = [read for read in reads if read.succeeded]
    quiet = [read for read in served if record.is_quiet(read, AFTER)]
    busy = [read for read in served if not record.is_quiet(read, AFTER)]
    for when, chosen in (("in quiet times", quiet), ("after an action", busy)):
        taken = [(read.ended - read.began) * 1000 for read in chosen]
        if len(taken) > 1:
            yield Row(f"latency {when}", "median", median(taken), "ms")
            yield Row(f"latency {when}", "99th percentile", quantiles(taken, n=100)[98], "ms")


def _returns(reads: Sequence[Read], record: Record, ports: Sequence[int]) -> Iterator[Row]:
    """How long replicas that were started again had to wait for their first reads."""
    first, each = [], []
    for action in record.done:
        if action.verb != "start" or action.member not in REPLICAS:
            continue
        alias = f"default-{REPLICAS.index(action.member)}"
        ends = [
            min(
                (
                    read.ended
                    for read in reads
                    if read.succeeded
                    and read.member == alias
                    and read.port == port
                    and read.began >= action.began
                ),
                default=float("inf"),
            )
            for port in ports
        ]
        # One that was let in while it was being started has not waited at all.
        waits = [max(0.0, end - action.ended) for end in ends if end != float("inf")]
        if waits:
            first.append(min(waits))
            each.extend(waits)
    for whose, found in (("in the first process", first), ("in each process", each)):
        if found:
            yield Row(SERVES, f"{whose}, median", median(found), "s")
            yield Row(SERVES, f"{whose}, worst", max(found), "s")


def _describe(read: Read, started: float) -> str:
    return (
        f"from {read.began - started:.3f} to {read.ended - started:.3f} s, {read.member or 'no member'}, "
        f"process {read.port}, pin {read.pin or 'none'}, wrote {read.written}, saw {read.shown}"
        + (f"\n{read.error}" if read.error else "")
    )
