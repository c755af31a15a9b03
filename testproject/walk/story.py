"""The walk: what the visitors do, and what should come of it."""

from __future__ import annotations

import time
from contextlib import ExitStack

from testproject.walk.report import MASTER, REFUSED, Report, make_console
from testproject.walk.stage import DELAY, LAGGING, PINNING_SECONDS, Site, Stage
from testproject.walk.visitors import Visitor

__all__ = ["tell"]

PROMPT = "default-0"
GREEDY, STRICT = "pindb.GreedyPinDbRouter", "pindb.StrictPinDbRouter"


def tell(broken: str | None = None) -> int:
    """Walk through the site.

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
