"""Reads inside of ``transaction.atomic()``, which go to the master (``PINDB_ATOMIC_READS_MASTER``)."""

from __future__ import annotations

from typing import Any

from pindb.conf import conf
from pindb.pins.context import PinningContext
from pindb.sets.connections import get_connection

__all__ = ["reads_master"]


def reads_master(context: PinningContext, alias: str) -> bool:
    """Return whether reads of a set go to the master because the site's code has opened a transaction there.

    They must see the transaction's own writes. The blocks that Django opens around a test (``TestCase``) and
    around a view (``ATOMIC_REQUESTS``) do not count: otherwise nothing there would be read from replicas.

    Arguments:
        context: the current context.
        alias: the master's alias.
    """
    master: Any = get_connection(alias)
    if not (master.in_atomic_block and conf.PINDB_ATOMIC_READS_MASTER):
        return False
    blocks = [block for block in master.atomic_blocks if not block._from_testcase]
    return len(blocks) > (alias in context.request_blocks)
