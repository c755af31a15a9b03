"""Reads inside of ``transaction.atomic()``, which go to the master (``PINDB_ATOMIC_READS_MASTER``).

They must see the block's own writes.
"""

from __future__ import annotations

from typing import Any

from pindb.pins.context import PinningContext

__all__ = ["is_in_atomic_block"]


def is_in_atomic_block(master: Any, context: PinningContext, alias: str) -> bool:
    """Return whether the site's code has opened a transaction on a master.

    The blocks that Django opens around a test (``TestCase``) and around a view (``ATOMIC_REQUESTS``) do not
    count: otherwise nothing there would be read from replicas.

    Arguments:
        master: this thread's connection to the master, which has an open transaction.
        context: the current context.
        alias: the master's alias.
    """
    blocks = [block for block in master.atomic_blocks if not block._from_testcase]
    return len(blocks) > (alias in context.request_blocks)
