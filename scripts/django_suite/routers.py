"""The router of the mode in which nothing is ever pinned."""

from __future__ import annotations

from typing import Any

import pindb

__all__ = ["UnpinnedRouter"]


class UnpinnedRouter(pindb.GreedyPinDbRouter):
    """Writes do not pin: each read outside of a transaction goes to a replica.

    Only for replicas that share their master's connection. A test that writes before it reads holds nothing
    from a replica otherwise, while a site's request often reads first.
    """

    def pin_for_write(self, *args: Any) -> None:
        pass
