"""Runs programs of `tests.breaking` with a driver, its argument; their names come in, one in a line."""

from __future__ import annotations

import faulthandler
import sys
import traceback
from typing import Any

import django

#: How long (seconds) a program may take; one that hangs says where.
LIMIT = 30


def main(driver: str) -> None:
    if driver == "psycopg2":
        # Django takes psycopg 3 wherever it can be imported.
        modules: dict[str, Any] = sys.modules
        modules["psycopg"] = None
    django.setup()
    from django.db import connections
    from django.test import override_settings

    import pindb
    from tests import breaking

    for line in iter(sys.stdin.readline, ""):
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        # Nothing is known of any server, and none is tried again.
        with pindb.pinning_context(), override_settings(PINDB_REPLICA_DOWNTIME=600):
            try:
                getattr(breaking, line.strip())()
            except Exception:
                traceback.print_exc()
                print("failed", flush=True)
            else:
                print("ok", flush=True)
            connections.close_all()
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(sys.argv[1])
