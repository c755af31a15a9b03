"""Reads of the demo site while its database servers are killed, stopped, paused and started again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.chaos.load import SEED, unleash

if TYPE_CHECKING:
    from benchmarks.report import Report

__all__ = ["run"]


def run(quick: bool, seed: int = SEED) -> Report:
    """Measure; `quick` is some seconds with one failure of each kind.

    Arguments:
        quick: a short schedule.
        seed: what the schedule is made from.
    """
    return unleash(quick, seed)
