"""The settings of the demo site, as a site has them that is to survive its servers."""

from __future__ import annotations

import os

from testproject.settings import *  # noqa: F403

PINDB_CONSISTENCY = "position"
PINDB_REPLICA_DOWNTIME = float(os.environ.get("PINDB_CHAOS_DOWNTIME", "1"))

ROOT_URLCONF = "benchmarks.chaos.urls"

# With it, Django keeps every query.
DEBUG = False
LOGGING_CONFIG = None
