"""What came of the load and the events, as figures."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.redis_chaos.clients import CONTROL, MAPS, Call, Seen
from benchmarks.redis_chaos.stages import TIMEOUTS, Done
from benchmarks.report import Report, Row, Target

__all__ = [
    "DOUBLES",
    "LOST",
    "PLANNED_ERRORS",
    "RECOVERY",
    "UNTOUCHED",
    "UNTOUCHED_ERRORS",
    "WRONG",
    "Outcome",
    "make_report",
]

WRONG = "wrong values"
DOUBLES = "INCRs that ran more often than they were acknowledged or failed"
PLANNED_ERRORS = "errors in planned operations"
LOST = "acknowledged writes lost in planned operations"
OTHER_LOST = "acknowledged writes lost at other times"
UNTOUCHED_ERRORS = "errors on shards that nothing was done to, and in quiet times"
RECOVERY = "from a new owner to the first success, worst client"
SLOWEST = "slowest command on a shard that nothing was done to"
UNTOUCHED = "throughput of shards that nothing was done to"

#: All kinds of events together.
ALL = "all events"

#: How long errors count as consequences of a failure after its shard could be used again, in seconds.
RECOVERED = 1.0

#: The least time that throughput is measured over, in seconds.
WINDOW = 1.0

NOTES = (
    "Planned operations: slots moved to another shard and back, and CLUSTER FAILOVER. Kinds of events: kill "
    "(SIGKILL), pause (SIGSTOP until a replica was elected; plain: some seconds), hiccup (0.3 s of SIGSTOP), "
    "restart (SIGTERM, and started again), fail back (CLUSTER FAILOVER to a master that has just come back).",
    "A new owner: all running nodes say cluster_state:ok and name a master that is not the old one; plain: "
    "the server answers again.",
    f"Timeouts of sockets: {TIMEOUTS['socket_timeout']:g} s. Throughput: successes in comparison with those "
    "before the first event, and with those of a server apart to which nothing happens (the rest of the "
    "machine may be busy); commands have a steady pace.",
)


@dataclass(frozen=True)
class Outcome:
    """What happened in a stage.

    Attributes:
        stage: its name.
        seen: what each thread has seen.
        done: the events.
        began, quiet, ended: when the load began, when the first event might begin, and when all was over.
    """

    stage: str
    seen: Sequence[Seen]
    done: Sequence[Done]
    began: float
    quiet: float
    ended: float

    def event_of(self, call: Call) -> Done | None:
        """Return the event during which a call was made on a shard that it concerns; None: there was none."""
        found = [done for done in self.done if call.shard in done.shards and _is_during(call, done)]
        # A failure excuses an error, a planned operation does not.
        return min(found, key=lambda done: done.is_planned, default=None)

    def lost(self, is_planned: bool) -> Iterator[tuple[int, str]]:
        """Yield acknowledged writes that were lost while no server failed, or at other times."""
        for seen in self.seen:
            for loss in seen.findings.losses:
                failures = [
                    done
                    for done in self.done
                    if loss.shard in done.shards
                    and not done.is_planned
                    and done.kind != "hiccup"
                    and done.began <= loss.seen
                    and loss.acknowledged <= done.ended
                ]
                if is_planned == (not failures):
                    yield loss.number, f"{loss.about}, at {loss.seen - self.began:.2f} s"


def make_report(outcomes: Sequence[Outcome], seed: int) -> Report:
    """The figures of all stages, the targets, and what was done."""
    rows: list[Row] = []
    targets: list[Target] = []
    notes = [f"Seed {seed}.", *NOTES]
    for outcome in outcomes:
        more_rows, more_targets, more_notes = _of_stage(outcome)
        rows += more_rows
        targets += more_targets
        notes += more_notes
    return Report("Redis servers that fail and change under load", rows, targets, notes)


def _of_stage(outcome: Outcome) -> tuple[list[Row], list[Target], list[str]]:
    stage, seen = outcome.stage, outcome.seen
    failed = [(one.name, call) for one in seen for call in one.calls if call.error]
    events = [(name, call, outcome.event_of(call)) for name, call in failed]
    planned = [(name, call) for name, call, done in events if done is not None and done.is_planned]
    unexcused = [(name, call) for name, call, done in events if done is None]
    wrong = [text for one in seen for text in one.findings.wrong]
    doubles = [text for one in seen for text in one.findings.doubles]
    lost, other = list(outcome.lost(is_planned=True)), list(outcome.lost(is_planned=False))
    figures = {
        WRONG: len(wrong),
        DOUBLES: len(doubles),
        PLANNED_ERRORS: len(planned),
        LOST: sum(number for number, _ in lost),
        UNTOUCHED_ERRORS: len(unexcused),
    }
    case = f"{stage}: counts"
    rows = [
        Row(case, "commands", sum(one.commands for one in seen), "commands"),
        *(Row(case, subject, value, "") for subject, value in figures.items()),
        Row(case, OTHER_LOST, sum(number for number, _ in other), ""),
    ]
    errors = Counter(call.error for _, call in failed)
    rows += [Row(f"{stage}: errors", kind, number, "calls") for kind, number in sorted(errors.items())]
    recoveries = {kind: list(found) for kind, found in _recoveries(outcome)}
    for kind, found in recoveries.items():
        rows.append(Row(f"{stage}: {RECOVERY}", kind, max(found), "s"))
        rows.append(Row(f"{stage}: median of clients", kind, median(found), "s"))
    shares = dict(_shares(outcome))
    rows += [
        Row(f"{stage}: {UNTOUCHED}, {name}", kind, 100 * value, "%") for (name, kind), value in shares.items()
    ]
    slowest = _slowest(outcome)
    rows += [Row(f"{stage}: {SLOWEST}", name, _length(call), "s") for name, call in slowest.items()]
    targets = [Target(f"{stage}: {text}", value, 0) for text, value in figures.items()]
    if recoveries:
        targets.append(Target(f"{stage}: {RECOVERY} (s)", max(map(max, recoveries.values())), RECOVERED))
    for (name, kind), value in shares.items():
        # A map waits for all of its shards.
        if kind == ALL and name != MAPS:
            text = f"{stage}: missing {UNTOUCHED}, {name} (%)"
            targets.append(Target(text, max(0.0, 100 - 100 * value), 5))
    done = ", ".join(
        f"{one.began - outcome.began:.1f} {one.kind} {'/'.join(map(str, one.shards))}" for one in outcome.done
    )
    notes = [f"{stage}, what was done, by the second: {done}."]
    for text, some in ((WRONG, wrong), (DOUBLES, doubles), (LOST, [about for _, about in lost])):
        notes += [f"{stage}, {text}: {each}" for each in some[:5]]
    for text, calls in ((PLANNED_ERRORS, planned), (UNTOUCHED_ERRORS, unexcused)):
        notes += [f"{stage}, {text}: {_describe(name, call, outcome)}" for name, call in calls[:8]]
    notes += [f"{stage}, {SLOWEST}: {_describe(name, call, outcome)}" for name, call in slowest.items()]
    return rows, targets, notes


def _is_during(call: Call, done: Done) -> bool:
    end = done.ended if done.is_planned else done.well + RECOVERED
    return call.began <= end and call.ended >= done.began


def _recoveries(outcome: Outcome) -> Iterator[tuple[str, Iterator[float]]]:
    """By kind of failure, how long after the new owner each client of the shard had its first success."""
    kinds = dict.fromkeys(done.kind for done in outcome.done if not done.is_planned)
    for kind in kinds:
        yield (
            kind,
            (
                min((call.ended for call in _successes(one, shard) if call.ended >= done.well), default=end)
                - done.well
                for done in outcome.done
                if done.kind == kind
                for shard in done.shards
                for end in [outcome.ended]
                for one in outcome.seen
                if any(call.shard == shard for call in one.calls)
            ),
        )


def _shares(outcome: Outcome) -> Iterator[tuple[tuple[str, str], float]]:
    """By kind of client and of event, the share of the throughput before that untouched shards had."""
    for name in dict.fromkeys(one.name for one in outcome.seen if one.name != CONTROL):
        for kind in dict.fromkeys([*(done.kind for done in outcome.done), ALL]):
            windows = [
                (done, done.began, max(done.ended, done.began + WINDOW))
                for done in outcome.done
                if kind in (done.kind, ALL)
            ]
            mine = _share(outcome, name, windows)
            control = _share(outcome, CONTROL, windows)
            if mine and control:
                yield (name, kind), mine / control


def _share(outcome: Outcome, name: str, windows: Sequence[tuple[Done, float, float]]) -> float:
    """The successes of one kind of client in some times, in relation to those before the first event."""
    had = expected = 0.0
    for one in outcome.seen:
        if one.name != name:
            continue
        for shard in {call.shard for call in one.calls}:
            ends = [call.ended for call in _successes(one, shard)]
            rate = _between(ends, outcome.began, outcome.quiet) / (outcome.quiet - outcome.began)
            for done, begin, end in windows:
                if shard not in done.shards:
                    had += _between(ends, begin, end)
                    expected += rate * (end - begin)
    return had / expected if expected else 0.0


def _slowest(outcome: Outcome) -> dict[str, Call]:
    """By kind of client, its slowest call during events that did not concern its shard."""
    found: dict[str, Call] = {}
    for one in outcome.seen:
        calls = [
            call
            for call in one.calls
            if any(
                call.shard not in done.shards and done.began <= call.ended and call.began <= done.ended
                for done in outcome.done
            )
        ]
        slowest = max(calls, key=_length, default=None)
        if slowest is not None and (one.name not in found or _length(slowest) > _length(found[one.name])):
            found[one.name] = slowest
    return found


def _length(call: Call) -> float:
    return call.ended - call.began


def _successes(seen: Seen, shard: int) -> list[Call]:
    return [call for call in seen.calls if call.shard == shard and not call.error]


def _between(ends: Sequence[float], begin: float, end: float) -> int:
    return bisect_left(ends, end) - bisect_left(ends, begin)


def _describe(name: str, call: Call, outcome: Outcome) -> str:
    times = f"{call.began - outcome.began:.3f} to {call.ended - outcome.began:.3f} s"
    what = f"{call.error}: {call.text}" if call.error else "succeeded"
    return f"{times}, shard {call.shard}, {name}: {what}"
