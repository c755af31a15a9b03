"""A router that is wrong: it shows that the demo notices."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

import pindb

__all__ = ["ReplicasOnlyRouter"]


class ReplicasOnlyRouter(pindb.GreedyPinDbRouter):
    """Reads notices from replicas even where their set is pinned."""

    @staticmethod
    def db_for_read(model: type[Model], **hints: Any) -> str:
        if model._meta.app_label == "board":
            return pindb.get_replica("default")
        return pindb.GreedyPinDbRouter.db_for_read(model, **hints)
