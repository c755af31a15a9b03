"""What routing a query costs, and what a request costs, beside the other routers for Django."""

from __future__ import annotations

from benchmarks.report import Report, Target
from benchmarks.router import site
from benchmarks.timing import measure

__all__ = ["run"]

ROUNDS = 31
SECONDS = 0.015

MULTIDB = "django-multidb-router"
MULTIDB_SITE = "django-multidb-router, site router"

#: (case, reference): pindb, with everything on, is to take no longer than the reference.
TARGETS = (
    ("read, unpinned", MULTIDB_SITE),
    ("read, unpinned", MULTIDB),
    ("read, pinned", MULTIDB_SITE),
    ("read, pinned", MULTIDB),
    ("first read of a request", MULTIDB_SITE),
    ("first read of a request", MULTIDB),
    ("request, no cookie", MULTIDB),
)

NOTES = (
    f"ratio: to {MULTIDB}, the median of the rounds' ratios. The loop is subtracted; so is, of a first "
    "read or write, the start of the request.",
    "pindb: everything on (a delegate router, unpinned models, the atomic check, a pin on another set). "
    "'site router': the same router before the peer's. 'plain': no delegate, no unpinned models, no pin.",
)


def run(quick: bool) -> Report:
    """Measure; `quick` runs everything and proves nothing."""
    site.configure()
    # These import models and peers, which need settings.
    from benchmarks.router import queries, requests

    cases = [*queries.cases(), *requests.cases()]
    measured = measure(cases, 3 if quick else ROUNDS, 0.001 if quick else SECONDS)
    targets = [
        Target(f"{case}: pindb / {reference}", measured.ratio(case, "pindb", reference), 1.0)
        for case, reference in TARGETS
    ]
    return Report("Routing a query, serving a request", measured.rows(), targets, NOTES)
