"""The routers that are compared, each with what puts it into the states that are measured."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db.utils import ConnectionRouter
from django.test.utils import override_settings
from django_replicated.router import ReplicationRouter
from multidb import PinningReplicaRouter
from multidb.pinning import pin_this_thread, unpin_this_thread

import pindb
from benchmarks.router.site import REPLICAS, SiteRouter

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["Subject", "everything_on", "subjects"]


def nothing() -> None:
    pass


@dataclass(frozen=True)
class Subject:
    """A way to route queries.

    Attributes:
        name: its name in the figures.
        routers: what ``DATABASE_ROUTERS`` would hold.
        reading: start a request that reads; None where there is nothing to do.
        writing: start a request that writes.
        pinned: be in a request that is pinned to the master, after a write.
        settings: pindb's settings, around each round.
        writes: whether a first write is allowed.
    """

    name: str
    routers: list[Any]
    reading: Callable[[], object] | None = None
    writing: Callable[[], object] | None = None
    pinned: Callable[[], object] = nothing
    settings: Callable[[], AbstractContextManager[object]] = nullcontext
    writes: bool = True
    router: ConnectionRouter = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "router", ConnectionRouter(self.routers))


class RandomRouter:
    """The primary/replica router of Django's documentation on multiple databases."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return random.choice(REPLICAS)

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        return "default"


def everything_on() -> override_settings:
    """A delegate router and unpinned models; the atomic check is on by default."""
    return override_settings(
        PINDB_DELEGATE_ROUTERS=[SiteRouter()], PINDB_UNPINNED_MODELS=["sessions.Session"]
    )


def _start_with_a_pin() -> None:
    pindb.unpin_all()
    pindb.pin("other", count_as_new=False)


def _write_with_a_pin() -> None:
    _start_with_a_pin()
    pindb.pin("default")


def _write_plain() -> None:
    pindb.unpin_all()
    pindb.pin("default")


def _multidb(name: str, *before: Any) -> Subject:
    return Subject(
        name,
        [*before, PinningReplicaRouter()],
        reading=unpin_this_thread,
        writing=pin_this_thread,
        pinned=pin_this_thread,
    )


def _replicated() -> Subject:
    router = ReplicationRouter()
    write = partial(router.init, "master")
    return Subject("django_replicated", [router], partial(router.init, "slave"), write, write)


def subjects() -> list[Subject]:
    """All of them; ``django-multidb-router`` is the reference and ``pindb`` is pindb with everything on."""
    return [
        Subject("no router", []),
        Subject("random router", [RandomRouter()]),
        _multidb("django-multidb-router"),
        _multidb("django-multidb-router, site router", SiteRouter()),
        _replicated(),
        Subject("pindb, plain", [pindb.GreedyPinDbRouter()], pindb.unpin_all, pindb.unpin_all, _write_plain),
        Subject(
            "pindb, strict",
            [pindb.StrictPinDbRouter()],
            _start_with_a_pin,
            _start_with_a_pin,
            _write_with_a_pin,
            everything_on,
            writes=False,
        ),
        Subject(
            "pindb",
            [pindb.GreedyPinDbRouter()],
            _start_with_a_pin,
            _start_with_a_pin,
            _write_with_a_pin,
            everything_on,
        ),
    ]
