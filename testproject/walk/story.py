"""The walk: what the visitors do, and what should come of it."""

from __future__ import annotations

import time
from contextlib import ExitStack

from testproject.walk.crowd import Crowd
from testproject.walk.report import MASTER, REFUSED, Report, make_console
from testproject.walk.stage import DELAY, LAGGING, LAGGING_INDEX, PINNING_SECONDS, TIMEOUT, Site, Stage
from testproject.walk.visitors import Visitor

__all__ = ["tell"]

PROMPT = "default-0"
PROMPT_INDEX = 1 - LAGGING_INDEX
GREEDY, STRICT = "pindb.GreedyPinDbRouter", "pindb.StrictPinDbRouter"

#: How long the crowd goes on reading after a replica was killed, in seconds.
AFTERMATH = 1.0


def tell(broken: str | None = None) -> int:
    """Walk through the site: first with pins that go by time, then with positions.

    Arguments:
        broken: what of the site's routing to break: ``"middleware"``, ``"router"`` or nothing.

    Returns:
        The exit status: 0 where everything was as it should be.
    """
    console = make_console()
    report = Report(console)
    with ExitStack() as stack:
        with console.status("") as status:
            stage = stack.enter_context(Stage.set_up(broken, lambda text: status.update(f"{text} ...")))
            status.update("Starting the site, once with each router ...")
            # It has the whole first act to start in.
            by_position = stage.start_site(GREEDY, "position")
            greedy, strict = stage.open_sites(GREEDY, STRICT)
        console.print(
            f"A notice board on PostgreSQL: [yellow]default[/] is the master, [cyan]{PROMPT}[/] follows it "
            f"at once, [cyan]{LAGGING}[/] {DELAY:g} seconds later. A pin lasts {PINNING_SECONDS:g} seconds. "
            "Sessions and users stay on the master."
        )
        report.head()
        reader = Visitor("reader", stage, greedy)
        writer = Visitor("writer", stage, greedy)
        stack.callback(reader.close)
        stack.callback(writer.close)
        _greedy(report, stage, reader, writer)
        _strict(report, stage, reader, writer, strict)

        with console.status("Starting the second act ..."):
            by_position.wait_until_up()
            stage.end_lag()
        console.print(
            "\nThe same site with PINDB_CONSISTENCY = 'position': a pin ends when the replicas have what was "
            f"written. [cyan]{LAGGING}[/] follows at once now, unless it is paused."
        )
        reader = Visitor("reader", stage, by_position)
        writer = Visitor("writer", stage, by_position)
        stack.callback(reader.close)
        stack.callback(writer.close)
        _positions(report, stage, reader, writer)
        _crash(report, stage, reader)
    return report.conclude()


def _greedy(report: Report, stage: Stage, reader: Visitor, writer: Visitor) -> None:
    with report.chapter("An anonymous reader gets the replicas in turn."):
        for replica in (PROMPT, LAGGING, PROMPT):
            report.add(reader.get("/"), database=replica)

    with report.chapter("A writer posts, and sees the post at once: the write pinned them to the master."):
        report.add(writer.log_in(), database=None, status=302)
        posted = writer.post("/new/", title="Lost: one glove", body="Left hand, green wool.")
        written = time.monotonic()
        report.add(posted, database=MASTER, pinned=True, status=302)
        report.add(writer.get("/"), database=MASTER, pinned=True)

    with report.chapter("The reader goes on reading replicas, and one of them does not have the post yet."):
        report.add(reader.get("/"), database=LAGGING)
        stage.wait_for_prompt_replica()
        report.add(reader.get("/"), database=PROMPT)

    with report.chapter("The writer stays on the master for as long as the pin lasts, then returns."):
        with report.waiting("The writer reloads the page until the pin has ended ..."):
            pinned = [writer.get("/")]
            while True:
                answer = writer.get("/")
                if not any(query.pinned for query in answer.of_notices):
                    break
                pinned.append(answer)
                if time.monotonic() > written + PINNING_SECONDS + 5:
                    break
                time.sleep(0.3)
        report.add(*pinned, database=MASTER, pinned=True)
        report.add(answer, database=LAGGING)
        report.add(writer.get("/"), database=PROMPT)


def _strict(report: Report, stage: Stage, reader: Visitor, writer: Visitor, site: Site) -> None:
    reader.site = writer.site = site
    with report.chapter("The same site with the Strict router refuses a write that was not declared."):
        refused = writer.post("/new/", title="Found: one glove", body="Right hand, green wool.")
        report.add(refused, database=None, status=REFUSED)
    report.quote(refused.page.refusal)

    mine = max(refused.committed)
    with report.chapter("Declared with pindb.pin(), it is accepted, and the writer is pinned."):
        fields = {"title": "Found: one glove", "body": "It was in the coat."}
        report.add(writer.post(f"/{mine}/edit/", **fields), database=MASTER, pinned=True, status=302)
        report.add(writer.get("/"), database=MASTER, pinned=True)

    with report.chapter("A block of pindb.master() writes, reads back what it wrote, and pins nothing."):
        report.add(reader.post(f"/{mine}/thanks/"), database=MASTER, pinned=True, status=302)
        stage.wait_for_prompt_replica()
        report.add(reader.get("/"), database=PROMPT)


def _positions(report: Report, stage: Stage, reader: Visitor, writer: Visitor) -> None:
    writer.log_in()
    with report.chapter("Both replicas are paused. A writer posts, and reads the master."):
        stage.pause(PROMPT_INDEX, LAGGING_INDEX)
        posted = writer.post("/new/", title="Wanted: a left hand", body="For a glove.")
        report.add(posted, database=MASTER, pinned=True, status=302)
        report.add(writer.get("/"), writer.get("/"), database=MASTER, pinned=True)
        report.add(reader.get("/"), database=PROMPT)

    with report.chapter(f"{LAGGING} is resumed: the writer reads it at once, and never the other one."):
        stage.resume(LAGGING_INDEX)
        report.add(writer.get("/"), writer.get("/"), writer.get("/"), database=LAGGING, pinned=True)
        report.add(reader.get("/"), database=PROMPT)
    report.check("The writer has pindb's cookie.", writer.holds_pin)

    with report.chapter(f"{PROMPT} is resumed too: nobody is behind the write any more, and the pin ends."):
        # It takes a turn, so that the writer's is that of the replica that is resumed.
        reader.get("/")
        stage.resume(PROMPT_INDEX)
        report.add(writer.get("/"), database=PROMPT, pinned=True)
        report.add(writer.get("/"), database=LAGGING)
    report.check("The writer's cookie is gone.", not writer.holds_pin)


def _crash(report: Report, stage: Stage, reader: Visitor) -> None:
    with report.chapter(f"A crowd reads. {LAGGING} is killed (SIGKILL), and nobody notices."):
        with report.waiting("A crowd reads ..."), Crowd(reader.site, stage.committed()) as crowd:
            _wait_until_read(crowd, LAGGING)
            stage.databases.kill(LAGGING_INDEX)
            time.sleep(AFTERMATH)
        report.add(reader.get("/"), reader.get("/"), database=PROMPT)
    by = ", ".join(f"{alias}: {count}" for alias, count in sorted(crowd.answered.items()))
    what = "".join(f" ({count} times {wrong})" for wrong, count in crowd.failures.items())
    failures = crowd.failures.total()
    report.check(
        f"reads: {crowd.answered.total() + failures} ({by}), failures: {failures}{what}", not failures
    )

    with report.chapter(f"{LAGGING} is started again, and serves again."):
        with report.waiting("The reader reloads the page until it does ..."):
            stage.databases.start(LAGGING_INDEX)
            passed, deadline = [], time.monotonic() + TIMEOUT
            while True:
                answer = reader.get("/")
                if time.monotonic() > deadline or LAGGING in {query.database for query in answer.queries}:
                    break
                passed.append(answer)
                time.sleep(0.1)
        if passed:
            report.add(*passed, database=PROMPT)
        report.add(answer, database=LAGGING)


def _wait_until_read(crowd: Crowd, alias: str) -> None:
    """Wait until a crowd has read something from a database; not for ever."""
    deadline = time.monotonic() + 5
    while crowd.answered_by(alias) < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
