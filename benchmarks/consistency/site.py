"""The site that is measured, in the process of one strategy."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings

from benchmarks.consistency.servers import MASTER, REPLICAS
from benchmarks.consistency.stopwatch import TimedRouter
from benchmarks.consistency.strategies import STRATEGIES

__all__ = ["configure"]


def configure(strategy: str, databases: dict[str, dict[str, Any]]) -> None:
    """Configure Django for a strategy, by its name."""
    more = dict(STRATEGIES[strategy])
    if "PINDB_CONSISTENCY" in more:
        more["MASTER_DATABASES"] = {MASTER: databases[MASTER]}
        more["DATABASE_SETS"] = {MASTER: [databases[alias] for alias in REPLICAS]}
    settings.configure(
        DATABASES=databases,
        ROOT_URLCONF="benchmarks.consistency.views",
        DATABASE_ROUTERS=[TimedRouter(more.pop("ROUTER"))],
        MIDDLEWARE=[
            "benchmarks.consistency.stopwatch.begin",
            *more.pop("MIDDLEWARE", ()),
            "benchmarks.consistency.stopwatch.end",
        ],
        SECRET_KEY="a key for benchmarks",
        ALLOWED_HOSTS=["*"],
        **more,
    )
    django.setup()
